"""Aims: names of nodes by what they do now, and triggers that name both ends of a message."""

from __future__ import annotations

import json

import pytest

from qcore.errors import ConfigError
from qcore.sim import World, load_scenario, run_scenario
from qcore.trace import TraceWriter
from tests.sim.support.scenario_texts import failures, scenario

Line = dict[str, object]


def traced(timeline: str, seed: int = 1, **parts: str) -> tuple[World, list[Line]]:
    writer = TraceWriter(keep=True)
    until_ms = int(parts.pop("until_ms", "3000"))
    world = World(scenario(timeline, until_ms=until_ms, **parts), seed, writer)
    world.run()
    return world, [json.loads(line) for line in writer.lines()]


def nodes_of(lines: list[Line], fault: str) -> list[int]:
    found: list[int] = []
    for line in lines:
        if line["kind"] == "fault" and line.get("phase") == "begin" and line["fault"] == fault:
            assert isinstance(line["nodes"], list)
            found += line["nodes"]
    return found


def leaders(lines: list[Line]) -> list[int]:
    return [int(str(r["node"])) for r in lines if r["kind"] == "role" and r["role"] == "leader"]


LEASES = "{nodes: 3, lease_reads: true, election_timeout_ms: [400, 500], heartbeat_ms: 40}"


def test_a_frozen_leader_holds_its_lease_until_it_runs_out() -> None:
    """A short time after the freeze `lease_holder` is the frozen node. Much later it is its successor."""
    for delay, index in ((100, 0), (1500, 1)):
        _, lines = traced(
            f"[{{at_ms: 1000, pause: leader}}, {{at_ms: {1000 + delay}, crash: lease_holder}}]",
            cluster=LEASES,
        )
        assert nodes_of(lines, "timeline[1] crash") == [leaders(lines)[index]]


def test_without_leases_an_aim_at_their_holder_waits() -> None:
    world, _ = traced("[{at_ms: 1000, crash: lease_holder}]")
    assert [fault.acted for fault in world.ledger] == [0]


def test_a_candidate_is_one_that_campaigns_now() -> None:
    for seed in range(1, 4):
        _, lines = traced(
            "[{at_ms: 1000, crash: leader}, {at_ms: 1000, pause: candidate, for_ms: 50}]", seed
        )
        (paused,) = nodes_of(lines, "timeline[1] pause")
        begun = next(r for r in lines if r.get("fault") == "timeline[1] pause")
        roles = [r for r in lines if r["kind"] == "role" and r["t_us"] <= begun["t_us"]]  # type: ignore[operator]  # numbers
        assert [r["role"] for r in roles if r["node"] == paused][-1] == "candidate"


def test_voters_and_learners_are_those_of_the_configuration() -> None:
    _, lines = traced(
        "[{at_ms: 500, join: 4}, {at_ms: 700, add_learner: 4}, {at_ms: 1800, pause: learners},"
        " {at_ms: 1900, pause: voters}]"
    )
    assert nodes_of(lines, "timeline[2] pause") == [4]
    assert nodes_of(lines, "timeline[3] pause") == [1, 2, 3]


def test_a_random_pick_draws_from_the_named_nodes() -> None:
    picked = {
        tuple(
            nodes_of(
                traced(f"[{{at_ms: 1000, crash: {{random: 1, of: {pool}}}}}]", seed)[1],
                "timeline[0] crash",
            )
        )
        for pool in ("[1, 3]", "voters")
        for seed in range(1, 7)
    }
    assert {(1,), (3,)} <= picked <= {(1,), (2,), (3,)}


def test_the_first_append_of_a_new_leader_can_crash_its_receiver() -> None:
    for seed in range(1, 6):
        world, lines = traced(
            "[{at_ms: 1000, power_loss: leader}, {at_ms: 1000, when: {event: receive, message: AppendEntries,"
            " from: leader}, crash: receiver, for_ms: 200}, {at_ms: 2500, restart: sender, may_not_act: true}]",
            seed,
        )
        (crashed,) = nodes_of(lines, "timeline[1] crash")
        successor = leaders(lines)[1]
        appends = [
            r
            for r in lines
            if r["kind"] == "recv" and r["message"] == "AppendEntries" and r["from"] == successor
        ]
        assert crashed == appends[0]["node"] != successor
        assert [fault.acted for fault in world.ledger][:2] == [1, 1]


def test_a_trigger_can_name_the_sender_and_the_receiver() -> None:
    for event, victim in (("send", "receiver"), ("receive", "sender")):
        _, lines = traced(
            f"[{{at_ms: 1000, when: {{event: {event}, message: AppendEntriesResponse, from: 3, to: leader}},"
            f" crash: {victim}}}]",
            seed=2,
        )
        assert leaders(lines)[0] != 3
        expected = leaders(lines)[0] if victim == "receiver" else 3
        assert nodes_of(lines, "timeline[0] crash") == [expected]


def test_a_repair_names_the_nodes_of_an_earlier_event() -> None:
    world, _ = traced(
        "[{at_ms: 1000, when: {event: send, message: AppendEntries}, pause: receiver},"
        " {at_ms: 1500, resume: receiver}]"
    )
    assert [fault.acted for fault in world.ledger] == [1, 1]


def test_a_trigger_is_disarmed_after_its_time() -> None:
    waits = "{when: {event: receive, message: PreVote}, at_ms: 1000, crash: receiver%s}"
    for until, acts in (("", 1), (", until_ms: 1800, may_not_act: true", 0)):
        world, _ = traced(f"[{waits % until}, {{at_ms: 2000, crash: leader}}]")
        assert world.ledger.idle() == []
        assert next(fault.acted for fault in world.ledger) == acts


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ("{at_ms: 1, crash: sender}", "sender: the item needs `when` with send or receive"),
        ("{when: {event: role}, crash: receiver}", "needs `when` with send or receive"),
        ("{at_ms: 1, partition: [[event_node], [rest]]}", "needs `when` with an event"),
        ("{when: {event: role, to: 1}, crash: 1}", "`to` goes with send or receive"),
        ("{when: {event: commit, from: 1}, crash: 1}", "`from` goes with send, receive or vote"),
        ("{when: {event: send, to: 7}, crash: 1}", "node 7 is not in the cluster"),
        ("{when: {event: send, to: clients}, crash: 1}", "a client is not a node"),
        ("{at_ms: 1, crash: {random: 1, of: majority}}", "random of majority"),
        ("{at_ms: 1, crash: {random: 1, of: [1, 9]}}", "node 9 is not in the cluster"),
        ("{at_ms: 1, crash: {random: 3, of: [1, 2]}}", "there are 2 nodes"),
        ("{at_ms: 1, crash: lease_owner}", "lease_holder"),
    ],
)
def test_an_impossible_aim_is_rejected_with_its_place(item: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=r"test\.yaml:5:") as caught:
        scenario(f"[{item}]")
    assert problem in str(caught.value)


@pytest.mark.long
@pytest.mark.parametrize("name", ["aimed_faults", "random_faults", "chaos"])
def test_the_shipped_scenarios_pass_on_many_seeds(name: str) -> None:
    shipped = load_scenario(name)
    for seed in range(1, 101):
        result = run_scenario(shipped, seed)
        assert result.ok, (seed, failures(result))
