"""Writes docs/reference/metrics.md from a scrape of real nodes: `python -m tests.deploy.metrics_reference`.

`make fix` runs it, and a test compares the page with a scrape.
"""

from __future__ import annotations

from argparse import ArgumentParser

from prometheus_client.core import Metric

from tests.checkout import DOCS
from tests.deploy.scrape import families, leader_page

PAGE = DOCS / "reference" / "metrics.md"

#: Labels whose values are the same in every cluster.
FIXED_LABELS = {"kind", "outcome", "queue", "role"}

INTRODUCTION = """# Metrics

Every metric of `/metrics`, in the order of the page. `python -m tests.deploy.metrics_reference` writes this page from
a scrape of a leader.

Times are in seconds and sizes in bytes. Counters begin with 0 when the process starts. A histogram `NAME` has the
series `NAME_bucket` (with the label `le`), `NAME_sum` and `NAME_count`. What only a leader knows has no sample on
other nodes. The figures of process and disk are at most five seconds old.

The source has [alert rules and a dashboard](../operate/deploy.md#prometheus-and-grafana).
[Monitor the cluster](../operate/operations.md#monitor-the-cluster) explains the most important metrics.

| metric | type | labels | meaning |
|---|---|---|---|
"""


def page(text: str) -> str:
    """The text of the page for a scrape."""
    return INTRODUCTION + "".join(map(row, families(text)))


def row(family: Metric) -> str:
    """The line of a metric."""
    name = family.name + ("_total" if family.type == "counter" else "")
    values: dict[str, dict[str, None]] = {}  # label -> its values, in order
    for sample in family.samples:
        for label, value in sample.labels.items():
            values.setdefault(label, {})[value] = None
    values.pop("le", None)
    labels = [
        f"`{label}`" + (f" ({', '.join(found)})" if label in FIXED_LABELS else "")
        for label, found in values.items()
    ]
    return f"| `{name}` | {family.type} | {', '.join(labels) or '–'} | {family.documentation} |\n"


if __name__ == "__main__":
    ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page(leader_page()), encoding="utf-8")
