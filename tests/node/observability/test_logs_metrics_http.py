"""Log lines, Prometheus exposition and HTTP pages."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus

import pytest
from pydantic import JsonValue

from qcore.errors import ConfigError
from qcore.node.api.http_pages import respond
from qcore.node.observability.logs import JsonFormatter, NodeLog, TextFormatter
from qcore.node.observability.metrics import Histogram
from qcore.node.status.exposition import Exposition


class Capture(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def capture() -> Capture:
    handler = Capture()
    logger = logging.getLogger("qcore.node")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    return handler


def test_a_text_line_names_node_term_and_role_and_stays_one_line(capture: Capture) -> None:
    log = NodeLog(7)
    log.term, log.role = 3, "leader"
    log.info("peer rejected", why='bad "cluster"\nid', peer=2, empty="", gone=None)
    line = TextFormatter(log).format(capture.records[-1])
    assert "INFO    node=7 term=3 role=leader peer rejected why=" in line
    assert line.endswith('why="bad \\"cluster\\"\\nid" peer=2 empty="" gone=null')
    assert "\n" not in line


def test_a_json_line_is_one_object_with_the_same_facts(capture: Capture) -> None:
    log = NodeLog(7)
    log.term, log.role = 3, "follower"
    log.warning("slow disk", seconds=0.25, path="日")
    raw = json.loads(JsonFormatter(log).format(capture.records[-1]))
    assert raw.pop("ts").endswith("Z")
    assert raw == {
        "level": "warning",
        "node": 7,
        "term": 3,
        "role": "follower",
        "event": "slow disk",
        "seconds": 0.25,
        "path": "日",
    }


def test_an_unknown_level_is_rejected() -> None:
    with pytest.raises(ConfigError, match="loud"):
        NodeLog(1).install("text", "loud")


def test_a_histogram_counts_up_to_and_including_its_bounds() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 99.0):
        histogram.observe(value)
    page = Exposition()
    page.histogram("h", "help", [(["write"], histogram)], ["kind"])
    assert page.text().splitlines() == [
        "# HELP h help",
        "# TYPE h histogram",
        'h_bucket{kind="write",le="1"} 2.0',
        'h_bucket{kind="write",le="2"} 3.0',
        'h_bucket{kind="write",le="+Inf"} 4.0',
        'h_count{kind="write"} 4.0',
        'h_sum{kind="write"} 102.0',
    ]


def test_labels_are_escaped() -> None:
    page = Exposition()
    page.gauges("g", "help", ["addr"], [(['a"b\\c\nd'], 1.5)])
    assert page.text().splitlines()[-1] == 'g{addr="a\\"b\\\\c\\nd"} 1.5'


class View:
    reason: str | None = "no leader is known"

    def unready_reason(self) -> str | None:
        return self.reason

    def metrics_object(self) -> dict[str, JsonValue]:
        return {"id": 1}

    def exposition(self) -> str:
        return "x 1\n"


def test_an_unready_node_gives_the_reason() -> None:
    view = View()
    assert respond(view, "/readyz").status == HTTPStatus.SERVICE_UNAVAILABLE
    assert respond(view, "/readyz").text == "no leader is known\n"
    view.reason = None
    assert respond(view, "/readyz?verbose").status == HTTPStatus.OK


def test_http_pages_are_served() -> None:
    view = View()
    assert respond(view, "/livez").status == HTTPStatus.OK
    assert json.loads(respond(view, "/status").text) == {"id": 1}
    assert respond(view, "/metrics").text == "x 1\n"
    missing = respond(view, "/nope\n")
    assert missing.status == HTTPStatus.NOT_FOUND
    assert '"/nope\\n"' in missing.text
