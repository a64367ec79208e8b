"""The metrics of a gateway. `docs/reference/gateway.md` lists them."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

#: Upper bounds of the times of requests, seconds.
_TIMES_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class GatewayMetrics:
    """Counts what a gateway does.

    Attributes:
        watches: how many watches there are.
        streams: how many streams there are.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "qcore_gateway_requests",
            "Requests by path and status. A stream counts when it ends.",
            ("path", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "qcore_gateway_request_seconds",
            "Time of a request that is no stream.",
            ("path",),
            buckets=_TIMES_S,
            registry=self._registry,
        )
        self.watches = Gauge(
            "qcore_gateway_watches", "Watches that clients have.", registry=self._registry
        )
        self.streams = Gauge(
            "qcore_gateway_streams", "Streams that are open.", registry=self._registry
        )

    def answered(self, path: str, status: int, seconds: float | None) -> None:
        """Count a response; `seconds` is None for a stream."""
        self._requests.labels(path, str(status)).inc()
        if seconds is not None:
            self._seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        """The metrics in the text format of Prometheus."""
        return generate_latest(self._registry)
