"""Sessions under rules 2: a model, snapshots on both sides of the entry that raises the rules, ticks."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from qcore.core import DurableState, Entry, HardState, Membership, RaftConfig, Snapshot
from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot
from qcore.core.entry import EntryKind
from qcore.core.events import Tick, WriteDurable
from qcore.core.version import ClusterVersion
from qcore.errors import SessionExpired, StoreError
from qcore.machines.register import RegisterMachine
from qcore.replica import Replica, ReplicaConfig
from qcore.replica.events import ClientRequest, TransferLeader, TriggerSnapshot
from qcore.replica.messages import PeerMessage
from qcore.replica.sessions.session_table import (
    LIFETIME_MIN_MS,
    MAX_SESSIONS,
    SESSION_TICK,
    SessionTable,
    close_session_payload,
    keep_session_payload,
    open_session_payload,
    session_command_payload,
)
from qcore.replica.sessions.ticks import EXPIRY_GRANULARITY_US, MAX_CLOCK_GAP_US
from tests.driver.replicas import ReplicaCluster
from tests.replica.support.client_sessions import apply, restored, text_of
from tests.replica.support.state_model import Model

ADD = json.dumps({"op": "add", "key": "n", "amount": 1})
SECOND_US = 1_000_000
VERSION_2 = ClusterVersion(2, "register", 1)


def entry(index: int, data: str, clock_us: int, kind: EntryKind = "session") -> Entry:
    return Entry(index, 1, kind, data, 1_000_000 + index, clock_us)


def open_sessions(table: SessionTable) -> dict[int, tuple[int, int]]:
    """Lifetime in ms and last use by session, as in a snapshot."""
    return {row[0]: (row[1], row[2]) for row in json.loads(text_of(table, 2))}


# -- a model ----------------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.sampled_from(["open", "keep", "close", "tick", "run", "reload", "garbage"]),
        st.integers(0, 40),
        st.one_of(st.integers(0, 2 * SECOND_US), st.integers(0, 100 * SECOND_US)),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(steps)
def test_table_equals_a_model_that_checks_every_session(
    actions: list[tuple[str, int, int]],
) -> None:
    table, machine = SessionTable(), RegisterMachine()
    table.begin_rules_2(0)
    model: dict[int, tuple[int, int]] = {}
    clock_us = 0
    for index, (what, which, passed) in enumerate(actions, start=1):
        if what == "reload":
            table = restored(text_of(table, 3), 2)
            continue
        clock_us += passed
        session = list(model)[which % len(model)] if model else 999
        model = {key: held for key, held in model.items() if clock_us - held[1] <= held[0] * 1000}
        data = {
            "open": open_session_payload(1000 * (1 + which)),
            "keep": keep_session_payload(session),
            "close": close_session_payload(session),
            "run": session_command_payload(session, index, index - 1, ADD),
            "tick": SESSION_TICK,
            "garbage": "[]",
        }[what]
        _, error = apply(table, entry(index, data, clock_us), machine, rules=2)
        if what == "open":
            model[index] = (1000 * (1 + which), clock_us)
        elif what in ("keep", "run", "close"):
            assert isinstance(error, SessionExpired) == (session not in model)
            if session in model:
                model[session] = (model[session][0], clock_us)
            if what == "close":
                model.pop(session, None)
        assert open_sessions(table) == model
        ends = [last + lifetime * 1000 + 1 for lifetime, last in model.values()]
        assert table.next_expiry_us() == min(ends, default=None)


def test_long_lived_session_shields_no_other() -> None:
    """Under rules 1 it does, as in 0.1.0: sessions are checked from the least recently used on."""
    left = {}
    for rules in (1, 2):
        table, machine = SessionTable(), RegisterMachine()
        made = [open_session_payload(60_000), open_session_payload(1000), SESSION_TICK]
        for index, data in enumerate(made, start=1):
            at = index * SECOND_US * (2 if data == SESSION_TICK else 1)
            apply(table, Entry(index, 1, "session", data, at, at), machine, rules=rules)
        left[rules] = len(table)
    assert left == {1: 2, 2: 1}


def test_sessions_closed_immediately_leave_nothing_behind() -> None:
    table, machine = SessionTable(), RegisterMachine()
    table.begin_rules_2(0)
    for index in range(1, 5000, 2):
        apply(table, entry(index, open_session_payload(86_400_000), index), machine, rules=2)
        apply(table, entry(index + 1, close_session_payload(index), index), machine, rules=2)
    assert len(table) == 0
    assert len(table._expiries) <= 70


def test_the_bound_on_sessions_holds_under_rules_2() -> None:
    table, machine = SessionTable(), RegisterMachine()
    for index in range(1, MAX_SESSIONS + 3):
        apply(table, entry(index, open_session_payload(1000), index), machine, rules=2)
    assert len(table) == MAX_SESSIONS
    assert 1 not in open_sessions(table)


def test_a_tick_is_not_a_request_under_rules_1() -> None:
    _, error = apply(SessionTable(), entry(1, SESSION_TICK, 0), RegisterMachine(), rules=1)
    assert isinstance(error, StoreError)


# -- the raise --------------------------------------------------------------------------------------


def history() -> list[Entry]:
    """Sessions under rules 1, the raise, and the same sessions under rules 2."""
    membership = Membership(voters=(1, 2, 3), cluster_id="test").to_json()
    log: list[Entry] = [Entry(1, 1, "membership", membership, 0)]

    def add(kind: EntryKind, data: str, time_s: int, clock_s: float) -> None:
        at = len(log) + 1
        log.append(Entry(at, 1, kind, data, time_s * SECOND_US, int(clock_s * SECOND_US)))

    add("session", open_session_payload(5_000), 100, 0)  # 2: used until the end
    add("session", open_session_payload(60_000), 101, 0)  # 3: expires under rules 2
    add(
        "session", open_session_payload(1_000), 102, 0
    )  # 4: has expired at the raise, behind session 3
    add("session", session_command_payload(2, 1, 0, ADD), 104, 0)
    add("session", session_command_payload(3, 1, 0, ADD), 104, 0)
    add("version", VERSION_2.to_json(), 900, 0)  # 7: by log time all would have expired
    add("session", session_command_payload(3, 2, 1, ADD), 901, 1)
    add("session", session_command_payload(2, 2, 0, ADD), 902, 4)
    add("command", ADD, 990, 5)
    add("session", keep_session_payload(2), 990, 8)
    add("session", SESSION_TICK, 991, 61.5)
    add("session", open_session_payload(7_000), 992, 62)
    return log


def replica_with(durable: DurableState) -> Replica:
    config = ReplicaConfig(RaftConfig(3), keep_entries=0)
    replica = Replica(config, RegisterMachine(), durable, rng=random.Random(1), now=0)
    replica.step([], 0, 1)
    return replica


def snapshot_at(index: int) -> Snapshot:
    log = history()[:index]
    replica = replica_with(DurableState(HardState(1, None, index), None, log))
    (stored,) = [
        effect
        for effect in replica.step([TriggerSnapshot()], 0, 1)
        if isinstance(effect, StoreSnapshot)
    ]
    return stored.snapshot


def test_snapshots_on_both_sides_of_the_raise_lead_to_one_state() -> None:
    log = history()
    outcomes = []
    for index in range(len(log) + 1):
        snapshot = snapshot_at(index) if index else None
        durable = DurableState(HardState(1, None, len(log)), snapshot, log[index:])
        replica = replica_with(durable)
        assert replica.applied_index == len(log)
        outcomes.append((text_of(replica.sessions), replica.machine.state_hash()))
    assert len(set(outcomes)) == 1
    assert open_sessions(restored(outcomes[0][0])) == {13: (7_000, 62 * SECOND_US)}


def test_model_agrees_with_the_session_table_at_the_raise() -> None:
    model, table, machine = Model(), SessionTable(), RegisterMachine()
    rules = 1
    for held in history():
        model.apply(held)
        if held.kind == "version":
            table.begin_rules_2(held.clock_us)
            rules = 2
        elif held.kind == "session":
            result, error = apply(table, held, machine, rules=rules)
            expected_outcome = model.outcomes[held.index]
            assert (result or "", None if error is None else type(error)) == (
                expected_outcome.result,
                expected_outcome.error,
            )
        left = [key for key, session in model.sessions.items() if session.open]
        assert set(open_sessions(table)) <= set(left)


def test_every_lifetime_restarts_when_the_rules_rise() -> None:
    """Also that of session 4, which had expired behind a longer-lived session and was still in the table."""
    replica = replica_with(DurableState(HardState(1, None, 7), None, history()[:7]))
    assert open_sessions(replica.sessions) == {
        2: (5_000, 0),
        3: (60_000, 0),
        4: (1_000, 0),
    }


# -- ticks ------------------------------------------------------------------------------------------


def with_session(lifetime_ms: int = 30_000, **settings: int) -> tuple[ReplicaCluster, int]:
    cluster = ReplicaCluster(rules=2, **settings)  # type: ignore[arg-type] # numbers only
    leader = cluster.elect(1)
    leader.step(ClientRequest(1, "session", open_session_payload(lifetime_ms), 1000))
    cluster.settle()
    assert leader.replies[-1].result is not None
    return cluster, int(leader.replies[-1].result)


def ticks_in(cluster: ReplicaCluster) -> list[Entry]:
    log = cluster.leader().replica.core.log_entries()
    return [entry for entry in log if entry.data == SESSION_TICK]


def test_next_deadline_is_the_next_due_tick() -> None:
    cluster, _ = with_session(LIFETIME_MIN_MS)
    driver = cluster.drivers[1]
    core = driver.replica.core
    due_clock = core.clock_us + LIFETIME_MIN_MS * 1000 + 1
    due_clock = -(-due_clock // EXPIRY_GRANULARITY_US) * EXPIRY_GRANULARITY_US
    while driver.replica._session_ticks.next_deadline() > cluster.now:
        expected = cluster.now + due_clock - core.clock_us
        assert driver.replica._session_ticks.next_deadline() == expected
        assert driver.replica.next_deadline() <= expected
        cluster.pass_time(50)
        if ticks_in(cluster):
            break
    assert len(ticks_in(cluster)) == 1
    assert ticks_in(cluster)[0].clock_us >= due_clock
    assert len(driver.replica.sessions) == 0
    assert cluster.drivers[2].replies == [], "a tick is not a client's request"


def test_without_a_session_there_is_no_tick() -> None:
    cluster = ReplicaCluster(rules=2)
    leader = cluster.elect(1)
    before = leader.replica.core.last_log_index
    cluster.pass_time(120_000)
    assert leader.replica.core.last_log_index == before


def test_clock_is_logged_regularly_while_a_session_is_open() -> None:
    cluster, _ = with_session(86_400_000)
    cluster.pass_time(60_000)
    assert len(ticks_in(cluster)) == 60_000_000 // MAX_CLOCK_GAP_US


def test_under_rules_1_there_is_no_tick() -> None:
    cluster = ReplicaCluster(rules=1)
    leader = cluster.elect(1)
    leader.step(ClientRequest(1, "session", open_session_payload(1000), 1000))
    cluster.pass_time(60_000)
    assert ticks_in(cluster) == []
    assert len(leader.replica.sessions) == 1


def test_leader_appends_one_tick_at_a_time() -> None:
    """The followers do not respond. A leader without check quorum would otherwise append tick after tick."""
    cluster, _ = with_session(1000, raft=RaftConfig(1, check_quorum=False))  # type: ignore[arg-type] # see there
    cluster.pass_time(900)
    cluster.network.isolated = {1}
    cluster.pass_time(10_000)
    cluster.heal()
    cluster.pass_time(2_000)
    assert len(ticks_in(cluster)) == 1
    assert len(cluster.drivers[1].replica.sessions) == 0


def test_tick_rejected_during_a_transfer_is_proposed_later() -> None:
    cluster, _ = with_session(1000)
    cluster.pass_time(950)
    cluster.network.isolated = {2}
    cluster.drivers[1].step(TransferLeader(7, 2, 1000))
    assert cluster.drivers[1].replica.core.transferring
    cluster.now += 150_000
    cluster.drivers[1].step()
    assert ticks_in(cluster) == []
    assert cluster.drivers[1].replica._session_ticks.next_deadline() > cluster.now, (
        "it does not try in a loop"
    )
    cluster.pass_time(1000)
    assert len(ticks_in(cluster)) == 1


def test_session_used_before_a_tick_is_applied_stays() -> None:
    """Which sessions a tick ends is decided when it is applied, by its clock."""
    table, machine = SessionTable(), RegisterMachine()
    apply(table, entry(1, open_session_payload(1000), 0), machine, rules=2)
    apply(table, entry(2, keep_session_payload(1), 900_000), machine, rules=2)
    assert apply(table, entry(3, SESSION_TICK, 1_000_001), machine, rules=2) == ("null", None)
    assert len(table) == 1


@pytest.mark.parametrize("payload", [SESSION_TICK, '[ "tick" ]'])
def test_tick_from_a_client_ends_no_session_early(payload: str) -> None:
    """A client's request cannot become a tick; if it did, it would do no harm."""
    cluster, session = with_session(1000)
    cluster.drivers[1].step(ClientRequest(2, "session", payload, 1000))
    cluster.settle()
    assert session in open_sessions(cluster.drivers[1].replica.sessions)


def test_messages_under_rules_1_are_valid_for_0_1_0() -> None:
    """A mixed cluster: an election, sessions, a leader change and a snapshot."""
    cluster = ReplicaCluster(rules=1, snapshot_entries=5)
    sent_messages: list[dict[str, object]] = []
    post = cluster.network.send

    def listen(source: int, to: int, message: PeerMessage) -> None:
        sent_messages.append(TypeAdapter(type(message)).dump_python(message))
        post(source, to, message)

    cluster.network.send = listen  # type: ignore[method-assign] # to record the messages
    leader = cluster.elect(1)
    cluster.network.isolated = {3}
    for number in range(1, 20):
        leader.step(ClientRequest(number, "session", open_session_payload(1000), 1000))
        cluster.settle()
    cluster.heal()
    cluster.pass_time(2000)
    cluster.elect(2)
    cluster.pass_time(2000)
    assert cluster.drivers[3].disk.durable.snapshot is not None, "sent to it"
    new = {"wall_us", "rules", "last_included_clock_us", "version", "clock_us"}
    assert len(sent_messages) > 100
    for message in sent_messages:
        assert new.isdisjoint(message), message
        for sent in message.get("entries", []):  # type: ignore[attr-defined] # a list, if it is there
            assert new.isdisjoint(sent), sent


@pytest.mark.parametrize("phase_us", range(0, 100_000, 7_001))
def test_one_expiry_causes_one_tick_for_any_disk_speed(phase_us: int) -> None:
    """A tick with an outdated clock would end no session, and the next tick would be due immediately."""
    version = Entry(2, 1, "version", VERSION_2.to_json(), 0)
    alone = Membership(voters=(3,), addresses=((3, "a:1"),), cluster_id="c")
    log = [Entry(1, 1, "membership", alone.to_json(), 0), version]
    replica = replica_with(DurableState(HardState(1, None, 2), None, log))
    now, asked, ticks = 0, False, 0
    effects = replica.step([], now, 0)
    for _ in range(500):
        writes = [
            effect.write_id for effect in effects if isinstance(effect, AppendLog | SaveHardState)
        ]
        for effect in effects:
            if isinstance(effect, AppendLog):
                ticks += sum(entry.data == SESSION_TICK for entry in effect.entries)
        if writes:
            effects = replica.step([WriteDurable(max(writes))], now, now)  # immediately
        elif replica.core.has_committed_in_term and not asked:
            asked = True
            now += phase_us
            effects = replica.step(
                [ClientRequest(1, "session", open_session_payload(LIFETIME_MIN_MS), 1000)], now, now
            )
        else:
            now = max(now, replica.next_deadline())
            effects = replica.step([Tick()], now, now)
    assert now > 3 * SECOND_US
    assert (len(replica.sessions), ticks) == (0, 1)
