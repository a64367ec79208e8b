"""`qcore cluster health`: the problems and warnings that it finds in the members' metrics."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from typer.testing import CliRunner

from qcore.cli.cluster import cluster as cluster_cli
from qcore.cli.cluster import health
from qcore.cli.cluster.health_checks import clock_warnings, member_problems, priority_warnings
from qcore.cli.cluster.node_metrics import MetricsOrError
from qcore.cli.exits import ExitCode
from qcore.errors import TransportError

MEMBERS = {"a:1": 1, "b:1": 2}
LEADER: dict[str, Any] = {
    "id": 1,
    "state": "Leader",
    "current_leader": 1,
    "current_term": 4,
    "running_state": {"Ok": None},
    "membership_config": {"membership": {"configs": [[1, 2]]}},
    "qcore": {
        "commit_index": 50_000,
        "applied_index": 50_000,
        "disk_full": False,
        "cluster_id": "c",
    },
}
FOLLOWER = {**LEADER, "id": 2, "state": "Follower"}


def changed(answer: dict[str, Any], **extra: Any) -> dict[str, Any]:
    other = copy.deepcopy(answer)
    other["qcore"].update(extra)
    return other


def test_a_healthy_cluster_has_no_problem() -> None:
    assert member_problems(MEMBERS, [LEADER, FOLLOWER]) == []


def test_each_problem_names_the_member() -> None:
    cases: list[tuple[MetricsOrError, str]] = [
        (TransportError("refused"), "b:1 does not answer: refused"),
        (changed(FOLLOWER, disk_full=True), "b:1 has no space on its disk"),
        (
            changed({**LEADER, "id": 2}, leader_ready=False),
            "b:1 leads and has not committed an entry of its term yet",
        ),
        ({**FOLLOWER, "id": 7}, "b:1 is node 7, not node 2"),
        (changed(FOLLOWER, cluster_id="d"), "do not belong to one cluster (a:1: c, b:1: d)"),
        (changed(FOLLOWER, applied_index=10), "b:1 is 49990 entries behind"),
        ({**FOLLOWER, "running_state": {"Err": "sync failed"}}, "b:1 has failed: sync failed"),
        ({**FOLLOWER, "current_leader": 2}, "do not agree on the leader (a:1: 1, b:1: 2)"),
        ({**FOLLOWER, "current_term": 5}, "do not agree on the term (a:1: 4, b:1: 5)"),
        (
            {**FOLLOWER, "membership_config": {"membership": {"configs": [[1, 2], [1]]}}},
            "b:1 is in the middle of a membership change",
        ),
    ]
    for answer, expected in cases:
        (problem,) = member_problems(MEMBERS, [LEADER, answer])
        assert expected in problem


def test_a_cluster_without_a_leader_is_unhealthy() -> None:
    assert member_problems(MEMBERS, [{**FOLLOWER, "id": 1}, FOLLOWER]) == ["no member leads"]


def test_members_at_each_others_addresses_are_still_members() -> None:
    wrong = ["a:1 is node 2, not node 1", "b:1 is node 1, not node 2"]
    found = member_problems(MEMBERS, [FOLLOWER, LEADER])
    assert [text.partition(": ")[0] for text in found] == wrong
    stranger = changed(LEADER, cluster_id="d")
    *_, last = member_problems({**MEMBERS, "c:1": 3}, [FOLLOWER, stranger, {**FOLLOWER, "id": 3}])
    assert last == "no member leads", "the leader of another cluster"


def with_priorities(*priorities: int, leader: int | None = 1) -> list[dict[str, Any]]:
    """The metrics of nodes 1 to n, which have these priorities."""
    voters = list(range(1, len(priorities) + 1))
    answers = []
    for node, priority in zip(voters, priorities, strict=True):
        answer = changed(LEADER if node == leader else FOLLOWER, priority=priority)
        answer.update(id=node, current_leader=leader)
        answer["membership_config"]["membership"]["configs"] = [voters]
        answers.append(answer)
    return answers


def test_too_many_voters_of_priority_0_are_a_warning() -> None:
    assert priority_warnings([*with_priorities(1, 0, 1)]) == []
    (warning,) = priority_warnings([*with_priorities(1, 0, 0)])
    assert warning.startswith("[2, 3] of the voters [1, 2, 3] have priority 0 and never lead")
    (warning,) = priority_warnings([*with_priorities(1, 0)])
    assert "[2] of the voters [1, 2]" in warning
    assert priority_warnings([LEADER, FOLLOWER]) == [], "0.1.0 reports no priority"


def test_the_leader_reports_the_priority_of_a_silent_node() -> None:
    leader, follower, _ = with_priorities(1, 0, 0)
    leader["qcore"]["priorities"] = {"1": 1, "2": 0, "3": 0}
    assert len(priority_warnings([leader, follower, TransportError("refused")])) == 1
    leader["qcore"]["priorities"] = {"1": 1, "2": 0, "3": 1}
    assert priority_warnings([leader, follower, TransportError("refused")]) == []


def test_no_voter_that_may_lead_differs_from_a_lost_leader() -> None:
    members = {"a:1": 1, "b:1": 2, "c:1": 3}
    one, two, three = with_priorities(1, 0, 0, leader=None)
    assert member_problems(members, [one, two, three]) == ["no member leads"]
    gone, lost, why = member_problems(members, [TransportError("refused"), two, three])
    assert (gone, lost) == ("a:1 does not answer: refused", "no member leads")
    assert why.startswith("no voter may lead: all voters that answer ([2, 3]) have priority 0: ")
    assert "start one of [1]" in why
    *_, why = member_problems(members, [*with_priorities(0, 0, 0, leader=None)])
    assert "have priority 0: restart one of them" in why


def removed_node(nodes: dict[str, Any]) -> dict[str, Any]:
    """The metrics of a node that was removed or never added."""
    membership = {"configs": [[]], "nodes": nodes}
    return {**FOLLOWER, "membership_config": {"membership": membership}}


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ({"1": {"addr": "a:1"}, "2": {"addr": "b:1"}}, "a:1 - unreachable"),
        ({"1": {"addr": "a:1"}, "3": {"addr": "c:1"}}, "c:1 - it answers, but reports no index"),
        ({}, "the node belongs to no cluster"),
    ],
)
def test_states_that_no_member_reports_are_not_equal(
    monkeypatch: pytest.MonkeyPatch, nodes: dict[str, Any], expected: str
) -> None:
    async def metrics_of_all(endpoints: list[str], timeout_s: float) -> list[MetricsOrError]:
        knows = removed_node(nodes)
        return [knows if one == "c:1" else TransportError("refused") for one in endpoints]

    monkeypatch.setattr(health, "metrics_of_all", metrics_of_all)
    arguments = ["hash", "--endpoints", "c:1", "--timeout", "0.1"]
    done = CliRunner().invoke(cluster_cli.app, arguments)
    assert done.exit_code == ExitCode.UNHEALTHY
    assert expected in re.sub(" +", " ", done.output)


def with_clock(**clock: Any) -> dict[str, Any]:
    """The metrics of the leader of three voters."""
    defaults = {
        "wall_skew_us": 0,
        "max_wall_skew_us": 1_000_000,
        "log_time_ahead_us": None,
        "peer_wall_offsets_us": {"2": 0, "3": 0},
    }
    leader = changed(LEADER, clock={**defaults, **clock})
    leader["membership_config"]["membership"]["configs"] = [[1, 2, 3]]
    return leader


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        ({}, []),
        ({"wall_skew_us": 900_000, "peer_wall_offsets_us": {"2": -900_000, "3": None}}, []),
        (
            {
                "wall_skew_us": 3_600_000_000,
                "peer_wall_offsets_us": {"2": -3_600_000_000, "3": -3_600_000_000},
            },
            ["a:1: its wall clock is 3600.0 s ahead of a quorum's"],
        ),
        (
            {"peer_wall_offsets_us": {"2": -5_000_000, "3": 0}},
            ["b:1: its wall clock is 5.0 s behind a quorum's"],
        ),
        (
            # Node 3 is silent, so the leader's clock may be right.
            {"wall_skew_us": -5_000_000, "peer_wall_offsets_us": {"2": 5_000_000, "3": None}},
            ["the wall clocks of a:1, b:1 are up to 5.0 s apart, and no quorum"],
        ),
        ({"peer_wall_offsets_us": {"2": None, "3": None}}, []),
        ({"wall_skew_us": None, "log_time_ahead_us": None}, []),
        (
            {"log_time_ahead_us": 9_000_000},
            ["the newest time stamp in the log is 9.0 s ahead of a quorum's clocks"],
        ),
    ],
)
def test_clocks_that_are_far_apart_cause_a_warning(
    clock: dict[str, Any], expected: list[str]
) -> None:
    responses: list[MetricsOrError] = [with_clock(**clock), FOLLOWER]
    warnings = clock_warnings(MEMBERS, responses)
    assert len(warnings) == len(expected)
    for warning, start in zip(warnings, expected, strict=True):
        assert warning.startswith(start)
    assert member_problems(MEMBERS, responses) == [], "a clock is not a problem yet"


def test_nodes_that_report_no_clock_cause_no_warning() -> None:
    """These are nodes of 0.1.0, and clusters without a leader."""
    assert clock_warnings(MEMBERS, [LEADER, FOLLOWER]) == []
    assert clock_warnings(MEMBERS, [FOLLOWER, TransportError("refused")]) == []


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        (
            {"cluster_id": None},
            "a:1: the node belongs to no cluster: begin one with `qcore cluster init`",
        ),
        ({"removed": True}, "a:1: the node was removed from its cluster: stop it, or add it again"),
        ({}, "the nodes do not follow one leader in one term: `qcore cluster health` says why"),
    ],
)
def test_status_says_what_to_do_about_unhealthy_nodes(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], advice: str
) -> None:
    async def metrics_of_all(endpoints: list[str], timeout_s: float) -> list[MetricsOrError]:
        del endpoints, timeout_s
        lost = changed(FOLLOWER, **{"state_hash": "", **changes})
        return [{**lost, "current_leader": None}]

    monkeypatch.setattr(cluster_cli, "metrics_of_all", metrics_of_all)
    done = CliRunner().invoke(cluster_cli.app, ["status", "--endpoints", "a:1"])
    assert done.exit_code == ExitCode.UNHEALTHY
    assert done.stderr.startswith(f"error: {advice}")
    assert len(done.stderr.splitlines()) == 1
