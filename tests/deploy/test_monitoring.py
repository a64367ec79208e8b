"""The metrics of real nodes, their page in the documents, the alert rules and the dashboard agree."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from qcore.node.process.process_figures import CertificateFigure, bytes_below, disk_figures
from qcore.node.tls_config import TlsConfig
from tests.checkout import CHECKOUT
from tests.deploy.metrics_reference import PAGE, page
from tests.deploy.scrape import families, leader_page

FOLDER = CHECKOUT / "deploy" / "monitoring"
ALERTS, DASHBOARD = FOLDER / "alerts.yaml", FOLDER / "dashboard.json"

#: Prometheus adds these to every sample of a node.
LABELS_OF_PROMETHEUS = {"job", "instance"}
#: These labels have any values.
OPEN_LABELS = {"job", "instance", "peer", "version", "cluster_id", "machine"}

#: The words of PromQL in our queries. What else stands there as a name is a metric or a label.
KEYWORDS = {
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "sum",
    "max",
    "min",
    "count",
    "avg",
}
FUNCTIONS = {"rate", "increase", "delta", "abs", "histogram_quantile", "predict_linear", "time"}


@dataclass(frozen=True, slots=True)
class Series:
    """What a query uses.

    Attributes:
        name: the name of the series; empty for a label that is not within braces.
        label: a label, or empty.
        operator: how its value is compared; empty if it is not.
        value: the value.
    """

    name: str
    label: str = ""
    operator: str = ""
    value: str = ""


def used(query: str) -> Iterator[Series]:
    """The series of a query, and their labels."""
    for match in re.finditer(r"\b(?:by|without|on|ignoring) ?\(([^)]*)\)", query):
        yield from (Series("", label.strip()) for label in match[1].split(","))
    rest = re.sub(r"\b(?:by|without|on|ignoring) ?\([^)]*\)", " ", query)
    for match in re.finditer(r"([a-z_:]\w*)\s*(?:\{([^}]*)\})?", re.sub(r"\[\w+\]", "", rest)):
        name, braces = match[1], match[2]
        if name in KEYWORDS | FUNCTIONS:
            continue
        yield Series(name)
        for label, operator, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', braces or ""):
            yield Series(name, label, operator, value)


def alert_queries() -> dict[str, str]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def dashboard_queries() -> dict[str, str]:
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard()["panels"]
        for target in panel.get("targets", ())
    }


@pytest.fixture(scope="module")
def scraped() -> str:
    return leader_page()


@pytest.fixture(scope="module")
def series(scraped: str) -> dict[str, dict[str, set[str]]]:
    """Name of a series -> label -> its values."""
    found: dict[str, dict[str, set[str]]] = {}
    for family in families(scraped):
        if family.type == "gauge":
            found[family.name] = {}  # it may have no sample yet
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


def test_the_page_of_metrics_is_that_of_real_nodes(scraped: str) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(scraped), "run `make fix`"


def test_the_metrics_follow_the_conventions(scraped: str) -> None:
    for family in families(scraped):
        assert family.documentation, family.name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)
        assert not re.search(r"_(ms|us|milliseconds|kb|mb|total|count|sum)$", family.name)
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    done = promtool("check", "metrics", text=scraped)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "queries", [alert_queries(), dashboard_queries()], ids=["alerts", "panels"]
)
def test_each_metric_and_label_of_a_query_exists(
    queries: dict[str, str], series: dict[str, dict[str, set[str]]]
) -> None:
    assert len(queries) > 20
    known = {**series, "up": dict[str, set[str]]()}  # Prometheus makes `up` itself
    all_labels = {label for labels in known.values() for label in labels} | LABELS_OF_PROMETHEUS
    for what, query in queries.items():
        found = list(used(query))
        assert any(each.name for each in found), what
        for each in found:
            if not each.name:
                assert each.label in all_labels, (what, each)
                continue
            assert each.name in known, (what, each)
            labels = known[each.name]
            if each.label:
                assert each.label in labels or each.label in LABELS_OF_PROMETHEUS, (what, each)
            if each.operator == "=" and each.label not in OPEN_LABELS:
                assert each.value in labels[each.label], (what, each)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("rate(a_total[5m]) > 0.1", [Series("a_total")]),
        ("sum by (job, le) (a)", [Series("", "job"), Series("", "le"), Series("a")]),
        ('a{le="0.1"} - ignoring (le) b', [Series("", "le"), Series("a"), Series("a", "le", "=", "0.1"), Series("b")]),
        ('up{job=~"x.*"} == 0', [Series("up"), Series("up", "job", "=~", "x.*")]),
    ],
)  # fmt: skip
def test_the_names_in_a_query_are_found(query: str, found: list[Series]) -> None:
    assert list(used(query)) == found


def test_each_alert_says_what_to_do() -> None:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    for rule in group["rules"]:
        assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]


def test_the_panels_have_distinct_ids_and_places() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        taken = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= taken


def promtool(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    return subprocess.run(
        ["promtool", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=FOLDER,
        input=text,
    )


@pytest.mark.long
def test_promtool_accepts_the_rules_and_their_tests() -> None:
    for command in (("check", ALERTS), ("test", FOLDER / "alerts.test.yaml")):
        done = promtool(command[0], "rules", str(command[1]))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "SUCCESS" in done.stdout


def test_promtool_accepts_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": query}
        for number, query in enumerate(dashboard_queries().values())
    ]
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = promtool("check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_end_of_the_certificate_is_a_figure(tmp_path: Path) -> None:
    end = datetime(2038, 1, 1, tzinfo=UTC)
    pem, key = tmp_path / "pem", tmp_path / "key"
    assert CertificateFigure(TlsConfig()).take().samples == []
    figure = CertificateFigure(TlsConfig(tls_cert=pem, tls_key=key))

    def value() -> float:
        (sample,) = figure.take().samples
        return sample.value

    assert value() == 0  # the files are missing
    authority = trustme.CA()
    made, other = (authority.issue_cert("node", not_after=end) for _ in range(2))
    made.private_key_pem.write_to_path(str(key))
    made.cert_chain_pems[0].write_to_path(str(pem))
    assert value() == end.timestamp()
    other.cert_chain_pems[0].write_to_path(str(pem))
    assert (
        value() == 0
    )  # the key belongs to another certificate, so the node goes on with the old one
    pem.write_text("damaged")
    assert value() == 0
    made.cert_chain_pems[0].write_to_path(str(pem))
    assert value() == end.timestamp()


def test_the_figures_of_the_disk_are_those_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"x" * 10_000)
    with (tmp_path / "holes").open("wb") as holes:
        holes.truncate(1 << 30)
    assert 10_000 <= bytes_below(tmp_path) < 1 << 20
    values = {family.name: family.samples[0].value for family in disk_figures(tmp_path)}
    assert 0 < values["qcore_disk_free_bytes"] <= values["qcore_disk_size_bytes"]
    assert values["qcore_data_dir_bytes"] == bytes_below(tmp_path)
    assert disk_figures(tmp_path / "missing") == []
