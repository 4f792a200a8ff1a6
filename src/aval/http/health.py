"""Is the process up, may it be sent calls, and what do its numbers say."""

from collections.abc import Sequence

import msgspec

from aval.domain.keyring import KeyMissing, Purpose
from aval.http.edge import Answer, Call, Route, json_answer
from aval.http.metrics_view import CONTENT_TYPE, render_metrics
from aval.http.parts import Parts
from aval.storage.database import DatabaseUnavailable, PostgresError
from aval.storage.migrations import read_migrations
from aval.storage.readiness import has_migrations


class Health(msgspec.Struct):
    """The process answers."""

    status: str


class Readiness(msgspec.Struct):
    """Whether calls can be served; each part is `ok` or what is wrong with it."""

    status: str
    database: str
    schema: str
    keys: str


def health_routes(parts: Parts) -> list[Route]:
    """Make the routes of health and metrics."""
    versions = [migration.version for migration in read_migrations()]

    async def healthz(_call: Call) -> Answer:
        """GET /healthz."""
        return json_answer(200, Health("ok"))

    async def readyz(_call: Call) -> Answer:
        """GET /readyz."""
        database, schema = await _database_state(parts, versions)
        keys = _keys_state(parts)
        is_ready = database == schema == keys == "ok"
        state = Readiness("ok" if is_ready else "unavailable", database, schema, keys)
        return json_answer(200 if is_ready else 503, state)

    async def metrics(_call: Call) -> Answer:
        """GET /metrics."""
        return Answer(200, await render_metrics(parts.metrics, parts.db), {"content-type": CONTENT_TYPE})

    return [
        Route("GET", "/healthz", healthz, None, "public", "qit", 200, "Is the process up", response=Health),
        Route("GET", "/readyz", readyz, None, "public", "qit", 200, "May calls be sent here", response=Readiness),
        Route("GET", "/metrics", metrics, None, "public", "qit", 200, "Numbers in the Prometheus text format"),
    ]


async def _database_state(parts: Parts, versions: Sequence[str]) -> tuple[str, str]:
    try:
        async with parts.db.connection() as connection:
            is_current = await has_migrations(connection, versions)
    except (DatabaseUnavailable, PostgresError):
        return "unavailable", "unknown"
    return "ok", "ok" if is_current else "behind"


def _keys_state(parts: Parts) -> str:
    try:
        keyring = parts.keyring.current()
        for purpose in Purpose:
            keyring.current(purpose)
    except (KeyMissing, OSError):
        return "missing"
    return "ok"
