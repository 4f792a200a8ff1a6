"""The numbers of this process, counted as calls end, and their rendering together with those of the database."""

from prometheus_client import CollectorRegistry, Counter, Histogram

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
            "Time from the head of a request to its answer.",
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
