"""Scenario files: the design's example, the accepted forms, and the errors for everything that is rejected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qcore.errors import ConfigError
from qcore.sim import load_scenario, parse_scenario
from qcore.sim.scenario.actions.network_actions import Cut, Heal, LinkChange, Partition
from qcore.sim.scenario.actions.node_actions import Restart
from qcore.sim.scenario.actions.operation_actions import OperationAction
from tests.sim.support.scenario_texts import DESIGN_EXAMPLE, scenario


def test_the_design_example_is_parsed() -> None:
    read = parse_scenario(DESIGN_EXAMPLE)
    assert read.cluster.nodes == (1, 2, 3, 4, 5)
    assert read.cluster.election_timeout_ms == (150, 300)
    assert (read.workload.clients, read.workload.rate_per_s) == (3, 50)
    partition = read.timeline[0].actions[0]
    assert isinstance(partition, Partition)
    assert partition.groups is not None
    assert [group.terms for group in partition.groups] == [("leader",), ("rest",)]
    assert read.timeline[1].actions[0] == Heal()
    assert read.expect.new_leader_within_ms == 1000


def test_an_almost_empty_scenario_has_sensible_defaults() -> None:
    read = parse_scenario("cluster: {nodes: 3}", "dir/my scenario.yaml")
    assert read.name == "my_scenario"
    assert read.until_ms == 10_000
    assert read.workload.clients == 3
    assert read.expect.must_be_safe


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("partition: [[1], [2, 3]]", "partition: {groups: [[1], [2, 3]]}"),
        ("partition: [1, rest]", "partition: [[node_1], [the_rest]]"),
        ("cut: [1, 2]", "cut: {between: [1, 2]}"),
        ("cut: {from: 1, to: [2, 3]}", "cut: {from: n1, to: [n2, n3]}"),
        ("crash: leader", "kill: [leader]"),
        ("crash: {nodes: follower}", "crash: follower_1"),
        ("heal: all", "heal:"),
        ("restart: down", "start: crashed"),
        ("loss: 0.3", "network: {loss: 0.3}"),
        ("loss: {rate: 0.3, from: 1, to: 2}", "links: {loss: 0.3, from: 1, to: 2}"),
        ("latency_ms: {uniform: [1, 9]}", "links: {latency_ms: [1, 9]}"),
        ("write: leader", "write: {node: leader}"),
        ("pause: {random: 2}", "pause: random_2"),
        ("disk_slow: {nodes: 1, latency_ms: 5}", "disk_slow: {node: 1, extra_ms: 5}"),
        ("do: {crash: 1}", "crash: 1"),
        ("do: [{crash: 1}, {pause: 2}]", "crash: 1\n    pause: 2"),
    ],
)
def test_equivalent_forms_give_the_same_actions(one: str, other: str) -> None:
    def actions(text: str) -> object:
        return parse_scenario(f"timeline:\n  - at_ms: 1\n    {text}\n").timeline[0].actions

    assert actions(one) == actions(other)


def test_times_may_be_relative_and_items_may_repeat() -> None:
    read = scenario(
        "[{at_ms: 100, crash: 1, for_ms: 50}, {after_ms: 200, pause: 2, for_ms: 10},"
        " {at_ms: 500, crash: 3, for_ms: 10, every_ms: 100, times: 3}]"
    )
    assert [item.after_ms for item in read.timeline] == [None, 200, None]
    assert read.timeline[2].times == 3


def test_each_kind_of_action_is_parsed() -> None:
    read = scenario(
        "[{at_ms: 1, cut: {from: 1, to: rest}}, {at_ms: 1, restart: {nodes: 2, down_ms: 5}},"
        " {at_ms: 1, links: {between: [1, [2, 3]], loss: 0.5}}, {at_ms: 2, read: {node: 1, key: 7}}]"
    )
    cut, restart, change, read_action = (item.actions[0] for item in read.timeline)
    assert isinstance(cut, Cut)
    assert not cut.both
    assert isinstance(restart, Restart)
    assert restart.down_ms == 5
    assert isinstance(change, LinkChange)
    assert change.both
    assert change.changes() == ["loss"]
    assert isinstance(read_action, OperationAction)
    assert read_action.key == "7"


BAD = [
    ("cluster: {nodez: 3}", "1: cluster.nodez: unknown key"),
    ("cluster: {nodes: 0}", "1: cluster.nodes: 0 nodes"),
    ("cluster: {nodes: [1, 1]}", "each id once"),
    ("cluster: {nodes: '3'}", "cluster.nodes"),
    ("cluster: {heartbeat_ms: 500}", "heartbeat_ms (500) must be below"),
    ("cluster: {election_timeout_ms: [300, 150]}", "election_timeout_max_ms (150) is below"),
    ("cluster: {safeguards: {no_op: false}}", "no safeguard is called 'no_op'"),
    ("cluster: {safeguards: {noop_on_election: 0}}", "write true or false, not 0"),
    (
        "cluster: {machine: sql}",
        "no machine is called 'sql'; write register, kv, entity, or a custom one",
    ),
    ("workload: {requests: draw}", "belong together"),
    ("workload: {requests: [{read: x}]}", "belong together"),
    ("workload: {requests: [{read: x, write: y}]}", "either `write` or `read`"),
    ("workload: {requests: [{read: x, weight: 0}]}", "workload.requests[0].weight"),
    ("cluster: {nodes: 3, clocks: {4: {drift_ppm: 1}}}", "node 4 is not in the cluster"),
    ("network: {loss: 1.5}", "1: network.loss: 1.5 is not at most 1"),
    ("network: {latency_ms: {gaussian: 3}}", "is not a distribution"),
    ("network: {links: [{from: leader, to: 2, loss: 0.1}]}", "not known before the run"),
    ("workload: {rate_per_s: -1}", "workload.rate_per_s"),
    ("workload: {read_fraction: 0.8, cas_fraction: 0.4}", "together exceed 1"),
    ("workload: {start_ms: 500, stop_ms: 100}", "is before start_ms"),
    ("timeline:\n  - {crash: 1}", "2: timeline[0]: set its time"),
    (
        "timeline:\n  - {at_ms: 1, crash: 1}\n  - {at_ms: 2}",
        "3: timeline[1]: the item has no action",
    ),
    (
        "timeline:\n  - {at_ms: 1, crush: 1}",
        "2: timeline[0].crush: unknown key; did you mean crash? Actions are partition",
    ),
    (
        "timeline:\n  - {at_ms: 1, crash: 9}",
        "2: timeline[0]: node 9 is not in the cluster [1, 2, 3]",
    ),
    ("timeline:\n  - {at_ms: 1, crash: laeder}", "'laeder' names no node; write node ids"),
    ("timeline:\n  - {at_ms: 1, crash: []}", "an empty list names no nodes"),
    ("timeline:\n  - {at_ms: 1, crash: 0}", "ids start at 1"),
    ("timeline:\n  - {at_ms: 1, crash: true}", "names no node"),
    (
        "timeline:\n  - {at_ms: '1', crash: 1}",
        '2: timeline[0].at_ms: write a number, not "1"',
    ),
    ("timeline:\n  - {at_ms: -1, crash: 1}", "timeline[0].at_ms"),
    ("timeline:\n  - {at_ms: 20000, crash: 1}", "not before the end of the run"),
    ("timeline:\n  - {at_ms: 1, heal: all, for_ms: 5}", "heal has no effect that could end"),
    ("timeline:\n  - {at_ms: 1, crash: 1, times: 3}", "add every_ms"),
    ("timeline:\n  - {at_ms: 1, after_ms: 1, crash: 1}", "both set the time"),
    ("timeline:\n  - {at_ms: 1, cut: 1}", "write {from: 1, to: 2} (one way)"),
    ("timeline:\n  - {at_ms: 1, cut: {from: 1}}", "cut.to: is missing"),
    ("timeline:\n  - {at_ms: 1, cut: {from: rest, to: rest}}", "`rest` on both ends"),
    ("timeline:\n  - {at_ms: 1, network: {}}", "nothing to change"),
    ("timeline:\n  - {at_ms: 1, loss: 2}", "timeline[0].loss: 2 is not at most 1"),
    ("timeline:\n  - {at_ms: 1, heal: everywhere}", "no item has the label 'everywhere'"),
    ("timeline:\n  - {at_ms: 1, clock: 1}", "give offset_ms, drift_ppm, or both"),
    ("timeline:\n  - {when: {event: sent}, crash: 1}", "timeline[0].when.event"),
    (
        "timeline:\n  - {when: {event: send, message: Vote}, crash: 1}",
        "no message is called 'Vote'",
    ),
    (
        "timeline:\n  - {when: {event: role, message: PreVote}, crash: 1}",
        "goes with send or receive",
    ),
    (
        "expect: {saif: true}",
        "1: expect.saif: unknown expectation: did you mean safe? There are safe, linear",
    ),
    (
        'name: "a b"',
        '1: name: "a b": write letters, digits, `_`, `.` and `-`, a letter or digit first',
    ),
    ("expect: {new_leader_within_ms: soon}", "expect.new_leader_within_ms"),
    ("expect: {safe: true, violation: election_safety}", "contradict each other"),
    ("expect: {violation: election_saftey}", "no check is called 'election_saftey'"),
    ("expect: {violation: []}", "1: expect.violation: an empty list names no violation"),
    ("expect: {no_commits_between: []}", "an empty list names no time"),
    ("timeline:\n  - {at_ms: 1, read: {node: 1, outcome: []}}", "an empty list allows no outcome"),
    (
        "timeline:\n  - {at_ms: 1, transfer: {to: 2, outcome: []}}",
        "2: timeline[0].transfer.outcome: an empty list allows no outcome",
    ),
    (
        "timeline:\n  - {at_ms: 1, transfer: {to: 2, outcome: okk}}",
        "no outcome is called 'okk'; there are ok, not_ok, NotLeader",
    ),
    ("expect: {elections: many}", "'many' is not a count"),
    ("expect: {no_commits_between: [5, 3]}", "ends before it begins"),
    (
        "expect: {final_voters: [a, 1]}",
        '1: expect.final_voters[0]: write a whole number, not "a"',
    ),
    ("expect: {final_voters: []}", "give at least one id"),
    ("expect: {final_voters: [1, 1]}", "each id once"),
    ("expect: {final_voters: [1, 9]}", "expect.final_voters: [9] are not in the cluster [1, 2, 3]"),
    ("expect: {final_rules: 9}", "expect.final_rules: 9 is not at most"),
    (
        "expect: {elections: [5, 1]}",
        "no number is at least 5 and at most 1; the lower one comes first",
    ),
    ("expect: {elections: {at_least: 2, at_most: 1}}", "no number is at least 2 and at most 1"),
    ("expect: {sessions_expired: 0}", "expect.sessions_expired is about client sessions"),
    ("expect: {exactly_once: false}", "expect.exactly_once is about client sessions"),
    (
        "expect: {no_commits_between: [10000, 12000]}",
        "[10000, 12000] is after the end of the run, until_ms 10000",
    ),
    (
        "timeline:\n  - {at_ms: 1, write: {node: 1, value: null}}",
        "write.value: null cannot be written",
    ),
    (
        "timeline:\n  - {at_ms: 1, write: {node: 1, value: true}}",
        "write.value: true cannot be written",
    ),
    (
        "timeline:\n  - {at_ms: 1, write: {node: 1, value: [1]}}",
        "write.value: [1] cannot be written; give a text or a whole number",
    ),
    (
        "timeline:\n  - {at_ms: 1, read: {node: 1, expect: 5, outcome: refused}}",
        "a read that ends with refused finds nothing",
    ),
    (
        "timeline:\n  - {at_ms: 1, read: {node: 1, max_staleness_ms: 5}}",
        "max_staleness_ms goes with a stale_read, not with read",
    ),
    (
        "timeline:\n  - {at_ms: 1, read: {node: 1, read_kind: lease_read, max_staleness_ms: 5}}",
        "not with lease_read",
    ),
    (
        "timeline:\n  - {at_ms: 1, drop: {message: PreVote, from: 1, to: [1]}}",
        "from 1 to 1: no link leads from a node to itself",
    ),
    ("timeline:\n  - {at_ms: 1, cut: [1, 1]}", "from 1 to 1: no link leads from a node to itself"),
    ("timeline:\n  - {at_ms: 1, loss: {rate: 0.5, from: 2, to: 2}}", "from 2 to 2: no link leads"),
    ("timeline:\n  - {at_ms: 1, wipe: {random: 9}}", "random_9: there are 3 nodes"),
    (
        "timeline:\n  - {at_ms: 1, crash: {random: 3, of: followers}}",
        "random_3: there are 2 followers",
    ),
    ("timeline:\n  - {at_ms: 1, partition: [follower_9]}", "follower_9: there are 2 followers"),
    (
        "timeline:\n  - {at_ms: 1, power_loss: {nodes: 1, survives: most}}",
        "survives: 'most': write how many writes survive, or none, all or random",
    ),
    (
        "timeline:\n  - {at_ms: 1, power_loss: {nodes: 1, survives: true}}",
        "survives: True: write how many",
    ),
    ("timeline:\n  - {at_ms: 1, power_loss: {nodes: 1, survives: -1}}", "power_loss.survives"),
    (
        "timeline:\n  - {at_ms: 1, hold: PreVote, label: a}\n  - {at_ms: 2, heal: a}",
        "3: timeline[1]: heal ends cuts, clogs and link changes, and the label 'a' is that of hold",
    ),
    (
        "timeline:\n  - {at_ms: 1, isolate: 1, label: a}\n  - {at_ms: 2, release: a}",
        "3: timeline[1]: release ends `hold`, and the label 'a' is that of isolate",
    ),
    (
        "expect:\n  safe: true\n  exactly_once: false",
        "3: expect.exactly_once is about client sessions: set workload.sessions, or leave it out",
    ),
    ("until_ms: 0", "until_ms"),
    ("name: a b", "name"),
    ("nonsense: 1", "1: nonsense: unknown key; the keys here are name, summary, fidelity, cluster"),
    ("- 1", "a scenario is a map"),
    ("", "1: the file is empty"),
    ("name: x\nname: y", "2: key 'name' is given twice, first in line 1: leave one out"),
    ("cluster: {nodes: 3", "not valid YAML"),
    ("source: x", "source: unknown key"),
    ("&a [*a]", "f.yaml"),
    ("? [1]\n: 2", "f.yaml"),
    ("[" * 3000, "f.yaml"),
]


@pytest.mark.parametrize(("text", "error"), BAD, ids=[text[:40] for text, _ in BAD])
def test_a_bad_scenario_is_rejected_with_file_line_and_key(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_scenario(text, "f.yaml")
    message = str(caught.value)
    assert message.startswith("f.yaml:")
    line, separator, rest = error.partition(": ")
    if separator and line.isdigit():
        assert re.search(rf"f\.yaml:{line}:\d+: {re.escape(rest)}", message), message
    else:
        assert error in message


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_scenario("network: {loss: 2}\nworkload: {clients: -1}\n", "f.yaml")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("f.yaml:1:11: network.loss")
    assert lines[1].startswith("f.yaml:2:12: workload.clients")


def test_an_unreadable_file_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.yaml: No such file"):
        load_scenario(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="cannot read"):
        load_scenario(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.yaml:1:1: not UTF-8"):
        load_scenario(binary)
