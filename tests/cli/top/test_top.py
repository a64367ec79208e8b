"""`qcore top`: its figures, its screen, and the command against a node."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pexpect
import pytest
from rich.console import Console

from qcore.cli.top.top_layout import PANELS, screen
from qcore.cli.top.top_samples import (
    ClusterFigures,
    ClusterSampler,
    MemberRow,
    NodeAnswers,
    Rates,
    bucket_percentile_ms,
    newest_events,
    rates_of,
)
from qcore.client.client import Client
from qcore.node.node import Node
from qcore.processes import ProcessCluster
from tests.client.test_sync_client import node
from tests.node.embedded.embedded_nodes import config_of
from tests.process.conftest import ARGUMENTS, initialise
from tests.process.support.commands import run_here
from tests.transport.support.endpoints import async_test

BOUNDS = (0.001, 0.01, 0.1)


def drawn(figures: ClusterFigures, width: int = 100, **options: Any) -> list[str]:
    console = Console(width=width, height=30, markup=False, highlight=False, emoji=False)
    with console.capture() as capture:
        console.print(screen(figures, width=width, **options))
    return [line.rstrip() for line in capture.get().splitlines()]


def figures(**more: Any) -> ClusterFigures:
    members = [
        MemberRow(
            1,
            "10.0.0.1:8080",
            "leader",
            term=7,
            commit=12_345_678,
            applied=12_345_678,
            waiting=0,
            disk_free_bytes=80 * 2**30,
            memory_bytes=90 * 2**20,
            clients=3,
            uptime_s=90_000,
            is_up=True,
            state="up",
        ),
        MemberRow(
            2, "10.0.0.2:8080", "unknown", lag_entries=4, lag_ms=20, state="down: " + "x" * 90
        ),
    ]
    lines = [
        {
            "t_us": 1_700_000_000_000_000 - number,
            "node": 1,
            "level": "warning",
            "text": f"[bold]line {number}[/bold]\x1b[2J",
            "fields": {"why": "a\nb", "seconds": 0.12345},
        }
        for number in range(40)
    ]
    values = {"leaders": [], "changes": [], "lines": lines, "lines_hidden": False, **more}
    return ClusterFigures("c0ffee00aa", 1, 7, members, Rates(reads=1234.5), **values)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_the_screen_fits_and_keeps_state_and_role(width: int) -> None:
    lines = drawn(figures(), width, shows_keys=True, height=30)
    assert len(lines) == 30
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("cluster c0ffee00 · node 1 leads term 7 · 1 of 2 members up")
    assert {"NODE", "ROLE", "LAG", "STATE"} <= set(lines[2].split())
    assert re.search(r"^2 .*4 \(20 ms\).* down: x", lines[4])


def test_texts_of_nodes_stay_texts() -> None:
    (line, *_) = [line for line in drawn(figures(), 160) if "line 0" in line]
    assert r"[bold]line 0[/bold]\x1b[2J why=a\nb seconds=0.123" in line


def test_each_panel_can_be_left_out() -> None:
    for panel, sign in zip("mrl", ("NODE", "PER SECOND", "line 0"), strict=True):
        shown = "\n".join(drawn(figures(), panels=[each for each in PANELS if each != panel]))
        assert sign not in shown
        assert sign in "\n".join(drawn(figures()))
    assert "may manage" in "\n".join(drawn(figures(lines=[], lines_hidden=True)))
    assert "paused" in drawn(figures(), is_paused=True)[0]


def test_what_only_others_say_is_marked() -> None:
    lines = drawn(figures(leader_says=2, older=[2, 3]))
    assert "node 1 leads term 7, says node 2" in lines[0]
    assert lines[1].endswith("without rates, leaders and log lines: node 2, 3")


def test_a_log_line_names_the_role_if_there_is_room() -> None:
    line = {**figures().lines[0], "term": 3, "role": "follower"}
    for width, is_shown in ((80, False), (120, True)):
        shown = "\n".join(drawn(figures(lines=[line]), width))
        assert ("term 3 follower" in shown) is is_shown


def test_a_change_names_the_old_voters() -> None:
    change = {"t_us": 0, "index": 9, "voters": [1, 2], "voters_outgoing": [1], "learners": [3]}
    shown = "\n".join(drawn(figures(changes=[change])))
    assert "voters 1, 2; with the old voters 1; learners 3 (index 9)" in shown


def test_the_share_of_a_bucket_is_interpolated() -> None:
    assert bucket_percentile_ms([0, 0, 0, 0], BOUNDS, 0.5) is None
    assert bucket_percentile_ms([0, 10, 0, 0], BOUNDS, 0.5) == pytest.approx(5.5)
    assert bucket_percentile_ms([5, 0, 5, 0], BOUNDS, 0.99) == pytest.approx(98.2)
    assert bucket_percentile_ms([0, 0, 0, 3], BOUNDS, 0.5) == pytest.approx(100)


def test_rates_are_differences_in_time() -> None:
    def activity(now_us: int, ok: int, refused: int) -> dict[str, Any]:
        counts = {"bounds": BOUNDS, "counts": [0, ok, 0, 0]}
        return {
            "now_us": now_us,
            "counters": {
                "requests": {
                    "read": {"ok": 0, "refused": refused, "unknown": 0},
                    "write": {"ok": ok, "refused": 0, "unknown": 0},
                },
                "request_seconds": {"read": counts, "write": counts},
                "commit_seconds": counts,
            },
        }

    one = NodeAnswers("a", activity=activity(2_000_000, 30, 4), before=activity(0, 10, 0))
    rates = rates_of([one, one])
    assert (rates.writes, rates.reads, rates.failed) == (20, 0, 4)
    assert rates.write_p50 == pytest.approx(5.5)


@async_test
async def test_events_of_dead_nodes_stay(tmp_path: Path) -> None:
    async with Node(config_of(1, tmp_path)) as alone:
        await alone.client.init()
        client = Client([alone.address])
        sampler = ClusterSampler(client, [alone.address])
        await sampler.ask()
        before = sampler.figures()
    await sampler.ask()
    after = sampler.figures()
    sampler.close()
    await client.close()
    assert "node 1 leads term" in drawn(before)[0]
    assert after.cluster_id == before.cluster_id
    assert (after.leaders, after.changes) == (before.leaders, before.changes)
    assert after.lines == before.lines != []
    assert "no node answers" in drawn(after)[0]
    assert after.rates == Rates()
    assert [(each.node, each.is_up) for each in after.members] == [(1, False)]


def test_lines_do_not_displace_changes() -> None:
    change: dict[str, Any] = {"kind": "leader", "sequence": 1}
    lines: list[dict[str, Any]] = [{"kind": "line", "sequence": n} for n in range(2, 900)]
    kept = newest_events([change, *lines])
    assert kept[0] == change
    assert kept[-1] == lines[-1]
    assert len(kept) < 300


def test_once_prints_one_screen_and_json_the_same_figures(tmp_path: Path) -> None:
    with node(tmp_path) as address:
        words = ("top", "--once", "--interval", "0.2", "--endpoints", address)
        done = run_here(*words)
        assert done.code == 0, done
        assert "node 1 leads term" in done.stdout
        assert re.search(r"^1 .* leader .* up\s*$", done.stdout, re.MULTILINE)
        body = json.loads(run_here(*words, "-o", "json").stdout)
    assert (body["leader"], [each["node"] for each in body["members"]]) == (1, [1])
    assert body["members"][0]["is_up"] is True
    assert body["leaders"][0]["leader"] == 1
    assert body["rates"]["committed"] == body["rates"]["applied"] == 0
    assert any(line["text"] == "role changed" for line in body["lines"])


@pytest.mark.process
@pytest.mark.long
def test_a_terminal_shows_the_new_leader_and_the_dead_one(tmp_path: Path) -> None:
    with ProcessCluster(tmp_path, size=3, arguments=ARGUMENTS) as cluster:
        cluster.start()
        initialise(cluster)
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
        child = pexpect.spawn(
            "qcore",
            ["top", "--endpoints", ",".join(cluster.endpoints)],
            dimensions=(30, 100),
            env=environment,
            encoding="utf-8",
            timeout=60,
        )
        child.expect(r"node (\d) leads term \d+ · 3 of 3 members up")
        assert isinstance(child.match, re.Match)
        dead = int(child.match[1])
        cluster.nodes[dead].kill()
        child.expect(rf"node (?!{dead})\d leads term \d+ · 2 of 3 members up")
        child.expect(r"down: silent to node \d for \d+ s")
        child.send("?")
        child.send("l")
        child.send("q")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
        assert child.before is not None
        assert "\x1b[?1049l" in child.before  # the screen is as it was
        # A terminal that can only print lines.
        dumb = pexpect.spawn(
            "qcore",
            ["top", "--endpoints", ",".join(cluster.endpoints)],
            dimensions=(30, 100),
            env={**environment, "TERM": "dumb"},
            encoding="utf-8",
            timeout=60,
        )
        dumb.expect(pexpect.EOF)
        dumb.close()
        assert dumb.exitstatus == 0
        assert "2 of 3 members up" in str(dumb.before)
        assert "\x1b" not in str(dumb.before)
