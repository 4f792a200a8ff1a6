"""The numbers of this process, counted as calls end, and their rendering together with those of the database."""

from collections import defaultdict
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from aval.storage.audit_chain import read_seal_lag
from aval.storage.database import Connection, Database, DatabaseUnavailable, LockNotWon, PostgresError
from aval.storage.metrics import (
    STAGES,
    WrongTokens,
    read_funnel,
    read_parked,
    read_queue_ages,
    read_wrong_tokens,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST

# Finer below 100 ms, where the promises are (promises.md OP9), coarse up to the sync wait of 20 s.
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)


class HttpMetrics:
    """Requests of this process by route and status, and how long they took."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "aval_http_requests",
            "Requests answered by this process.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "aval_http_request_seconds",
            "Time from the head of a request to the end of its answer.",
            ["method", "route"],
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer; `route` is a template, never a path."""
        key = (method, route, status)
        found = self._children.get(key)
        if found is None:
            found = self._requests.labels(method, route, str(status)), self._seconds.labels(method, route)
            self._children[key] = found
        found[0].inc()
        found[1].observe(seconds)


async def render_metrics(metrics: HttpMetrics, db: Database) -> bytes:
    """Render the numbers of this process and the database as text; without a database only `aval_database_up` 0."""
    try:
        async with db.connection() as connection:
            families = [*await database_families(connection), _up(1)]
    except (DatabaseUnavailable, LockNotWon, PostgresError):
        families = [_up(0)]
    registry = CollectorRegistry()
    registry.register(_Snapshot(families))
    return generate_latest(metrics.registry) + generate_latest(registry)


class _Snapshot(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _up(value: int) -> Metric:
    return GaugeMetricFamily("aval_database_up", "1 if the database answered this scrape.", value)


async def database_families(connection: Connection) -> list[Metric]:
    """Every metric that is read from the database, `aval_database_up` aside."""
    funnel = GaugeMetricFamily(
        "aval_operations_last_hour",
        "Operations of the last hour by how far they came.",
        labels=["kind", "channel", "stage"],
    )
    for row in await read_funnel(connection):
        for stage, count in zip(STAGES, row.counts, strict=True):
            funnel.add_metric([row.kind, row.channel, stage], count)
    ages = GaugeMetricFamily("aval_queue_age_seconds", "Wait of the oldest due entry.", labels=["queue"])
    for queue, seconds in await read_queue_ages(connection):
        ages.add_metric([queue], seconds)
    parked = GaugeMetricFamily("aval_parked", "Entries the worker gave up on.", labels=["queue"])
    for queue, count in await read_parked(connection):
        parked.add_metric([queue], count)
    lag = "Wait of the oldest audit row for its seal."
    seal = GaugeMetricFamily("aval_audit_seal_lag_seconds", lag, await read_seal_lag(connection))
    return [funnel, ages, parked, seal, *_risk_families(await read_wrong_tokens(connection))]


def _risk_families(wrong: list[WrongTokens]) -> Iterator[Metric]:
    """Source: promises.md §7; warn at 1e-4."""
    by_integrator: defaultdict[str, float] = defaultdict(float)
    for row in wrong:
        by_integrator[row.integrator_key] += row.risk_year
    text = "Chance that a year of guesses like the last 24 hours' finds a token."
    yield GaugeMetricFamily("aval_guess_risk_year", text, sum(by_integrator.values()))
    each = GaugeMetricFamily(
        "aval_guess_risk_year_integrator", f"{text[:-1]} of one integrator.", labels=["integrator"]
    )
    for integrator_key, risk in by_integrator.items():
        each.add_metric([integrator_key], risk)
    yield each
    counted = GaugeMetricFamily(
        "aval_wrong_tokens_24h", "Wrong tokens of 24 hours that count in budgets.", labels=["integrator", "alphabet"]
    )
    for row in wrong:
        counted.add_metric([row.integrator_key, row.alphabet], row.budgeted)
    yield counted
