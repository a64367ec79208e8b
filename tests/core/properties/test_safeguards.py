"""Switching off any rule of the safety argument breaks a property, and the checkers here detect it.

A checker that never complains proves nothing (P19). Every script below runs twice. With the rule nothing
happens; without it the named property is violated.
"""

from __future__ import annotations

from dataclasses import fields

import pytest

from qcore.core import RaftConfig, Safeguards
from qcore.core.effects import ReadReady
from qcore.core.events import ReadRequested, Tick, WriteDurable
from qcore.core.messages import AppendEntries, AppendEntriesResponse
from tests.core.support.random_walk import Walk, all_on_except
from tests.core.support.safety_checks import Safety, SafetyViolation
from tests.core.support.script_language import Script
from tests.core.support.single_core import LATER, become, receive, restored

#: P1: server 2 votes for 1, crashes before the vote is durable, and votes for 3 in the same term.
UNSYNCED_VOTE = """
    nodes 3 pre_vote=off {rule}
    campaign 1
    durable 1
    deliver 1->2
    deliver 2->1
    crash 2
    restart 2
    drop 1->2
    drop 1->3
    campaign 3
    durable 3
    deliver 3->2
    durable 2
    deliver 2->3
"""

#: Servers 1 and 3 campaign in one term, and 2 hears from both.
TWO_CANDIDATES = """
    nodes 3 pre_vote=off {rule}
    campaign 1
    campaign 3
    durable 1
    durable 3
    deliver 1->2
    deliver 3->2
    durable 2
    deliver 2->1
    deliver 2->3
"""

#: Nodes 1 and 2 committed entries that node 3 lacks. Node 3 campaigns.
STALE_LOG = """
    nodes 3 pre_vote=off {rule}
    campaign 1
    stabilize 1 2
    drop 1->3
    advance 150
    campaign 3
    campaign 3
    stabilize 2 3
"""

#: P9, P17: the entry is acknowledged, but on no disk.
UNSYNCED_APPEND = """
    nodes 3 {rule}
    campaign 1
    stabilize
    propose 1 x
    deliver 1->2
    deliver 2->1
    crash 1
    crash 2
    restart 1
    restart 2
    stabilize
"""

#: P7, the paper's figure 8.
FIGURE_8 = """
    nodes 5 noop_on_election=off {rule}
    restore 1 term=3 log=1,2
    restore 2 term=3 log=1,2
    restore 3 term=3 log=1
    restore 4 term=3 log=1
    restore 5 term=3 log=1,3
    campaign 1
    stabilize 1 2 3
    crash 1
    advance 150
    campaign 5
    stabilize 3 4 5
    timeout 5
    stabilize 3 4 5
"""

#: Server 1 is cut off, 2 and 3 elect another leader and commit, and 1 gets a linearizable read.
UNCONFIRMED_READ = """
    nodes 3 {rule}
    lead 1
    isolate 1
    advance 150
    campaign 3
    stabilize 2 3
    propose 3 x
    stabilize 2 3
    read 1
    stabilize
"""


def run(script: str, rule: str, *, on: bool, watch_votes: bool = True) -> list[str]:
    """The violations that the checkers find in the script."""
    interpreter = Script()
    found: list[str] = []
    for line in script.format(rule="" if on else f"{rule}=off").strip().splitlines():
        printed = interpreter.run(line.strip())
        found += [text for text in printed if text.startswith("VIOLATION")]
        if line.strip().startswith("nodes"):
            interpreter.cluster.safety = Safety(watch_votes=watch_votes)
    return found


CASES = [
    ("vote_durable_before_reply", UNSYNCED_VOTE, "election safety"),
    ("one_vote_per_term", TWO_CANDIDATES, "election safety"),
    ("log_freshness_check", STALE_LOG, "leader completeness"),
    ("append_durable_before_ack", UNSYNCED_APPEND, "commit rule"),
    ("commit_own_term_only", FIGURE_8, "leader completeness"),
    ("read_confirmation", UNCONFIRMED_READ, "stale read"),
]


@pytest.mark.parametrize(("rule", "script", "violation"), CASES, ids=[case[0] for case in CASES])
def test_without_the_rule_a_property_is_violated(rule: str, script: str, violation: str) -> None:
    assert run(script, rule, on=True, watch_votes=False) == []
    (found, *_) = run(script, rule, on=False, watch_votes=False)
    assert found.startswith(f"VIOLATION {violation}")


@pytest.mark.parametrize(
    ("rule", "script"),
    [("vote_durable_before_reply", UNSYNCED_VOTE), ("one_vote_per_term", TWO_CANDIDATES)],
)
def test_second_vote_is_detected_before_it_elects(rule: str, script: str) -> None:
    (found, *_) = run(script, rule, on=False)
    assert found.startswith("VIOLATION one vote per term: node 2 votes for 1 and 3 in term 2")


@pytest.mark.parametrize("on", [True, False])
def test_without_a_noop_older_entries_and_reads_wait(on: bool) -> None:
    """Dissertation, 6.4: this rule is for progress. Without it the cluster is safe but makes no progress."""
    script = Script()
    setting = "" if on else "noop_on_election=off"
    for line in (
        f"nodes 3 {setting}",
        "restore 1 term=2 log=1,2,2",
        "restore 2 term=2 log=1,2,2",
        "campaign 1",
        "stabilize",
        "read 1",
        "timeout 1",
        "stabilize",
    ):
        script.run(line)
    assert (script.cluster.core(1).commit_index >= 3) == on
    assert bool(script.cluster.drivers[1].reads_ready) == on


@pytest.mark.parametrize("on", [True, False])
def test_drift_margin_rejects_a_lease_that_is_almost_over(on: bool) -> None:
    """Dissertation, 6.4.1: just before the followers' promise expires, a slow clock may be wrong."""
    config = RaftConfig(1, lease_reads=True, safeguards=Safeguards(lease_drift_margin=on))
    core = become(restored(config=config), "leader")
    core.step(WriteDurable(2), LATER)
    receive(core, 2, AppendEntriesResponse(core.term, True, 2, 1, 0, 0, 0, promise_ms=150))
    now = core.next_deadline()
    core.step(Tick(), now)
    renewal = AppendEntriesResponse(core.term, True, 2, 1, 0, 0, 1, promise_ms=150)
    receive(core, 2, renewal, now + 100)
    late = now + config.election_timeout_min_ms * 950
    served = any(isinstance(e, ReadReady) for e in core.step(ReadRequested(9, lease=True), late))
    assert served != on


@pytest.mark.parametrize("on", [True, False])
def test_freshness_check_ignores_a_leader_without_commits(on: bool) -> None:
    """Until a leader has committed in its current term, its messages make no state fresh, not even its own state."""
    config = RaftConfig(1, safeguards=Safeguards(freshness_check=on))
    follower = restored((1, 1), config=config)
    receive(follower, 2, AppendEntries(2, 2, 2, 1, 0, []))
    assert (follower.fresh_as_of(LATER) is None) == on
    leader = become(restored((1, 1), config=config), "leader")
    receive(leader, 2, AppendEntriesResponse(leader.term, True, 2, 2, 0, 0, 0))
    assert leader.commit_index < leader.last_log_index
    assert (leader.fresh_as_of(LATER) is None) == on


def test_every_safeguard_has_a_case() -> None:
    covered = {case[0] for case in CASES}
    covered |= {"noop_on_election", "lease_drift_margin", "freshness_check"}
    assert covered == {field.name for field in fields(Safeguards)}


@pytest.mark.parametrize(
    ("rule", "seeds", "violation"),
    [
        ("append_durable_before_ack", 20, "commit rule"),
        ("log_freshness_check", 60, "leader completeness"),
        ("one_vote_per_term", 20, "one vote per term"),
    ],
)
def test_random_walks_find_a_missing_safeguard(rule: str, seeds: int, violation: str) -> None:
    caught = []
    for seed in range(seeds):
        try:
            Walk(seed, all_on_except(rule)).run(2000)
        except SafetyViolation as error:
            caught.append(str(error))
    assert caught
    assert all(text.startswith(violation) for text in caught), caught
