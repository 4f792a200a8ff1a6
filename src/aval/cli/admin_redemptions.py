"""One call on redemptions for a command: how it is asked, and how a refusal is told."""

from collections.abc import Mapping
from typing import Any

import msgspec
import typer

from aval.cli.admin_desk import BROKEN, EXIT_FAILED, UNAVAILABLE, AdminSession
from aval.cli.refusal import CommandRefused
from aval.cli.report import tell

PAGE_ROWS = 100  # spec redemptions.md, conventions
NOT_FOUND = "Nothing was found under the given ids: look at `aval admin campaigns list`, and at what belongs to it."
UNAVAILABLE_STATUS = 503
ID = "1 to 64 letters, digits, dots, underscores and hyphens"
RULES = {
    "id": ID,
    "client_id": ID,
    "name": "1 to 150 visible characters (80 for a campaign, an application, a catalogue or a vendor)",
    "timezone": "an IANA name such as America/Sao_Paulo",
    "jwks_uri": "an https address on port 443 or 8443 that Aval may call",
    "document_number": "a CPF or CNPJ with its right check digits, without punctuation",
    "catalog_id": "a catalogue of the campaign",
    "email": "one plain address such as ana@example.com",
    "birth_date": "a day such as 1990-02-28",
    "points": "a whole number above 0; of an adjustment below 0 too",
    "description": "1 to 200 visible characters",
    "message_template": "at most 160 characters of an SMS with [points], [vendors], [generation], and [token] last",
    "webhook_url": "an https address on port 443 or 8443 that Aval may call",
}


class _Trouble(msgspec.Struct):
    field: str
    reason: str


class _Extra(msgspec.Struct):
    errors: list[_Trouble] = []


class _Problem(msgspec.Struct):
    description: str
    extra_fields: _Extra


class _Page(msgspec.Struct):
    items: list[msgspec.Raw]
    total: int


async def ask(
    session: AdminSession,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    campaign: str | None = None,
    key: str | None = None,
    query: Mapping[str, str] = {},
) -> bytes:
    """The body of a good answer; every other one ends the command with its sentences.

    `campaign` is the one in whose name an application would call, `key` the Idempotency-Key.
    """
    sent = b"" if body is None else msgspec.json.encode(body)
    headers = {"customerid": campaign, "idempotency-key": key}
    given = {name: value for name, value in headers.items() if value is not None}
    status, answer = await session.administer(method, path, query, sent, given)
    if status >= 500:  # noqa: PLR2004
        tell(UNAVAILABLE if status == UNAVAILABLE_STATUS else BROKEN)
        raise typer.Exit(EXIT_FAILED)
    if status >= 400:  # noqa: PLR2004
        raise _refused(status, msgspec.json.decode(answer, type=_Problem))
    return answer


async def every(session: AdminSession, path: str, query: Mapping[str, str] = {}) -> list[msgspec.Raw]:
    """All rows of a list, page by page."""
    rows: list[msgspec.Raw] = []
    while True:
        page = {**query, "offset": str(len(rows)), "limit": str(PAGE_ROWS)}
        found = msgspec.json.decode(await ask(session, "GET", path, query=page), type=_Page)
        rows += found.items
        if not found.items or len(rows) >= found.total:
            return rows


def read_pair(text: str) -> dict[str, str]:
    """One `ID=NAME`, as the wire lists it."""
    key, sign, name = text.partition("=")
    if not (key and sign and name):
        raise typer.BadParameter("must be ID=NAME, such as gold=Ouro.")
    return {"id": key, "name": name}


def _refused(status: int, problem: _Problem) -> CommandRefused:
    if problem.extra_fields.errors:
        return CommandRefused(*map(_sentence, problem.extra_fields.errors))
    return CommandRefused(NOT_FOUND if status == 404 else problem.description)  # noqa: PLR2004


def _sentence(trouble: _Trouble) -> str:
    field = trouble.field.rpartition(".")[2].partition("[")[0]
    option = f"--{field}".replace("_", "-")
    if field in RULES:
        return f"{option} must be {RULES[field]}."
    return f"{option} cannot be taken: {trouble.reason.replace('_', ' ')}."
