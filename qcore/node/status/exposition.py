"""`Exposition` collects the metrics of one page; `prometheus_client` writes them as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from qcore.node.observability.metrics import Histogram

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

#: The values of the labels, and the number.
Sample = tuple[Sequence[str], float]


class Exposition:
    """The metrics that Prometheus scrapes, with the values that they have now."""

    def __init__(self) -> None:
        self._families: list[Metric] = []

    def families(self, found: Iterable[Metric]) -> None:
        """Add metrics that exist already."""
        self._families += found

    def gauge(self, name: str, text: str, value: float | None) -> None:
        """Add a gauge without labels. None: it has no sample."""
        self._families.append(GaugeMetricFamily(name, text, value))

    def gauges(
        self, name: str, text: str, labels: Sequence[str], samples: Iterable[Sample]
    ) -> None:
        """Add a gauge with labels."""
        self._add(GaugeMetricFamily(name, text, labels=labels), samples)

    def counter(self, name: str, text: str, value: float) -> None:
        """Add a counter without labels; the page adds `_total` to its name."""
        self._families.append(CounterMetricFamily(name, text, value))

    def counters(
        self, name: str, text: str, labels: Sequence[str], samples: Iterable[Sample]
    ) -> None:
        """Add a counter with labels; the page adds `_total` to its name."""
        self._add(CounterMetricFamily(name, text, labels=labels), samples)

    def histogram(
        self,
        name: str,
        text: str,
        series: Iterable[tuple[Sequence[str], Histogram]],
        labels: Sequence[str] = (),
    ) -> None:
        """Add a histogram with its buckets, sum and count."""
        family = HistogramMetricFamily(name, text, labels=labels)
        for values, histogram in series:
            bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
            buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
            family.add_metric(values, buckets, histogram.total)
        self._families.append(family)

    def collect(self) -> list[Metric]:
        """All metrics added until now, for `prometheus_client`."""
        return self._families

    def text(self) -> str:
        """The page built until now."""
        return generate_latest(self).decode()

    def _add(
        self, family: GaugeMetricFamily | CounterMetricFamily, samples: Iterable[Sample]
    ) -> None:
        for values, number in samples:
            family.add_metric(values, number)
        self._families.append(family)
