"""Writes docs/reference/metrics.md from the metrics themselves."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client.core import Metric

from aval.http.metrics_view import HttpMetrics, database_families
from aval.storage.metrics import STAGES

PAGE = Path(__file__).parent / "reference" / "metrics.md"
INTRODUCTION = """\
# Metrics

Generated from `src/aval/http/metrics_view.py` by `make docs`; do not edit.

`GET /metrics` answers in the Prometheus text format, in production on `AVAL_OPS_PORT`. Numbers of requests are those
of the process that answers; all others are read from the database and are the same from every process, so take them
from one. Without a database only `aval_database_up` is told, as 0.

| Metric | Kind | Labels | Meaning |
|---|---|---|---|
"""
WATCH = """
## What to watch

| Look at | Because |
|---|---|
| `aval_database_up` is 0, or `/readyz` answers 503 | nothing can be approved |
| `aval_queue_age_seconds{queue="settlements"}` above 60 | approved money does not leave |
| `aval_queue_age_seconds{queue="messages"}` above 30 | tokens live 300 seconds, and these wait |
| `aval_parked` above 0 | a person has to decide: the reason is in `last_error` of the row |
| `aval_audit_seal_lag_seconds` above 5 | no worker seals the audit, or a transaction in this PostgreSQL does not end |
| `aval_guess_risk_year` above 1e-4 | somebody guesses; the budgets act, and you want to know who |
| `sum(aval_wrong_tokens_24h)` from 12,000 on | `platform_guess_alarm` in the log; it pauses at 25,000 |
| `aval_wrong_tokens_24h{alphabet="crockford32"}` from 168 on | `integrator_guess_warning`; it pauses at 240 |
| `aval_http_requests_total` with status 5xx | a fault of Aval: report it |
"""
NAMED = {
    "aval_database_up": ("gauge", "–", "1 if the database answered this scrape."),
}


class OneOfEach:
    """A connection that answers every query with one row, so that every metric has a sample with its labels."""

    async def fetch(self, _query: str, *_arguments: object) -> list[dict[str, Any]]:
        """One row that suits every query."""
        row = {"kind": "ted", "method": "sms", "queue": "messages", "age_s": 1.0, "parked": 1, "wrong": 1}
        row |= {"budgeted": 1, "seal_lag_s": 1.0}
        return [row | {"integrator_id": "…", "alphabet": "digits"} | dict.fromkeys(STAGES, 1)]


def families() -> list[Metric]:
    """Every metric but `aval_database_up`."""
    of_process = HttpMetrics()
    of_process.count_request("GET", "/", 200, 0.1)
    return [*of_process.registry.collect(), *asyncio.run(database_families(OneOfEach()))]  # type: ignore[arg-type]


def render() -> str:
    """The page: a row for each metric."""
    return INTRODUCTION + "".join(row for _, row in sorted(_rows())) + WATCH


def _rows() -> Iterator[tuple[str, str]]:
    for name, (kind, labels, meaning) in NAMED.items():
        yield name, f"| `{name}` | {kind} | {labels} | {meaning} |\n"
    for family in families():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(f"`{label}`" for label in family.samples[0].labels if label != "le") or "–"
        yield name, f"| `{name}` | {family.type} | {labels} | {family.documentation} |\n"


def pages() -> dict[Path, str]:
    """What this generator writes."""
    return {PAGE: render()}
