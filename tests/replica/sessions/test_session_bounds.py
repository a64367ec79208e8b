"""The session table: both forms in snapshots, what its bounds count, and that no entry visits all sessions."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from qcore.core.entry import Entry
from qcore.core.events import Tick
from qcore.core.version import LATEST_RULES, VersionSupport
from qcore.errors import ResultInvalid, ResultTooLarge, SequenceRefused, SessionExpired, StoreError
from qcore.replica.events import ClientRequest, PeerVersionSupport, TriggerSnapshot
from qcore.replica.machine_results import Result
from qcore.replica.sessions import session_table
from qcore.replica.sessions.client_session import REPLY_OVERHEAD_BYTES, Session
from qcore.replica.sessions.session_table import (
    MAX_EXPIRED_PER_ENTRY,
    MAX_REPLIES,
    SESSION_TICK,
    SessionTable,
    close_session_payload,
    keep_session_payload,
    open_session_payload,
    session_command_payload,
)
from qcore.replica.sessions.session_text import PART_CHARS
from tests.driver.replicas import ReplicaCluster, ReplicaDriver
from tests.replica.sessions.test_byte_bounds import Echo
from tests.replica.support.client_sessions import apply, restored, text_of

if TYPE_CHECKING:
    from _typeshed import TraceFunction

#: The form that 0.1.0 reads.
OLD_TABLE = TypeAdapter(list[tuple[int, int, int, int, list[tuple[int, str]]]])


def entry(index: int, data: str) -> Entry:
    return Entry(index, 1, "session", data, index, index)


class Log:
    """Applies entries of these rules to a table."""

    def __init__(self, rules: int = 3) -> None:
        self.table = SessionTable()
        self.rules = rules
        self.index = 0

    def apply(self, data: str) -> session_table.ApplyOutcome:
        self.index += 1
        return apply(self.table, entry(self.index, data), Echo(), rules=self.rules)

    def open(self) -> int:
        return int(self.apply(open_session_payload(3_600_000))[0] or 0)


# -- the two forms ------------------------------------------------------------------------------------

results: st.SearchStrategy[Result] = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["x" * 70_000, "\x01" * 30_000, "é\U0001f600" * 30_000]),
    st.builds(ResultInvalid, st.text(max_size=5)),
    st.builds(ResultTooLarge, st.just("large")),
)
tables = st.lists(
    st.tuples(st.integers(0, 10**12), st.dictionaries(st.integers(1, 400), results, max_size=6)),
    max_size=6,
)


def table_with(drawn: list[tuple[int, dict[int, Result]]]) -> SessionTable:
    table = SessionTable()
    for key, (used, replies) in enumerate(drawn, start=3):
        table._add(key, Session.restored(1000 + key, used, key, [*replies.items()]))
    return table


def content(table: SessionTable) -> list[object]:
    return [
        (
            key,
            s.lifetime_ms,
            s.last_used_us,
            s.acknowledged_through,
            [(n, repr(r)) for n, r in s.replies.items()],
        )
        for key, s in table._sessions.items()
    ]


@settings(max_examples=25)
@given(tables, st.sampled_from([1, 2, 3]))
def test_both_formats_keep_everything_in_bounded_parts(
    drawn: list[tuple[int, dict[int, Result]]], rules: int
) -> None:
    table = table_with(drawn)
    parts = [*table.dump(rules)]
    text = "".join(parts)
    other = restored(text, rules)
    assert content(other) == content(table)
    assert (other._characters, other._size_bytes) == (table._characters, table._size_bytes)
    assert [*other._with_replies] == [*table._with_replies]
    longest = max(
        (len(json.dumps(str(r))) for _, replies in drawn for r in replies.values()), default=0
    )
    assert max(map(len, parts)) <= PART_CHARS + longest + 200
    assert min(map(len, parts[:-1]), default=PART_CHARS) >= PART_CHARS
    if rules < 3:
        assert text.count("\n") == 1
        kept = OLD_TABLE.validate_json(text)
        assert [row[0] for row in kept] == [*table._sessions]
        assert json.dumps(json.loads(text), separators=(",", ":")) + "\n" == text
        assert [{n: s for n, s in row[4] if n > 0} for row in kept] == [
            {n: str(r) for n, r in held.replies.items()} for held in table._sessions.values()
        ]
    else:
        bound = table._size_bytes + 120 * len(drawn) + 30
        assert len(text.encode()) <= bound, "the bounds count what a snapshot holds"


def test_a_table_is_restored_in_bounded_parts() -> None:
    drawn: list[tuple[int, dict[int, Result]]] = [
        (0, dict.fromkeys(range(1, 257), "r" * 1000))
    ] * 20
    for rules, at_least in ((3, 60), (2, 15)):  # of 5 MB; under rules 2, one session at a time
        table, text = SessionTable(), text_of(table_with(drawn), rules)
        assert sum(1 for _ in table.load(text)) >= at_least
        assert len(table) == 20


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[]",
        "[[1,2,3,4]]\n",
        '[[1,2,3,4,[[1,"a"],[-2,"ResultInvalid"]]]]\n',
        "{}\n",
        '{"sessions":1}\n',
        '{"sessions":1}\n[1,2,3,4]\n',
        '{"sessions":1}\n[1,2,3,4,1]\n',
        '{"sessions":1}\n[1,2,3,4,1]\n[]\n',
        '{"sessions":1}\n[1,2,3,4,1]\n[[1,"a"],[2,"b"]]\n',
        '{"sessions":1}\n[1,2,3,4,1]\n[[1,"a","Strange"]]\n',
        "no table\n",
    ],
)
def test_invalid_table_is_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        restored(text)


def test_lone_surrogate_recorded_by_0_1_0_becomes_an_error() -> None:
    """0.1.0 itself cannot read such a snapshot. This program can."""
    table = restored('[[5,60000,7,0,[[1,"a\\udc00"],[2,"b"]]]]\n', 2)
    result, error = apply(
        table, entry(9, session_command_payload(5, 1, 0, "again")), Echo(), rules=2
    )
    assert result is None
    assert isinstance(error, ResultInvalid)
    assert "took effect" in str(error)
    assert (
        apply(table, entry(10, session_command_payload(5, 2, 0, "again")), Echo(), rules=2)[0]
        == "b"
    )
    restored(text_of(table, 3))


def test_dump_shows_the_table_at_its_call() -> None:
    log = Log()
    names = [log.open() for _ in range(40)]
    for name in names:
        for number in (1, 2):
            log.apply(session_command_payload(name, number, 0, f"{name}.{number}" + "r" * 2000))
    for rules in (1, 3):
        expected, parts = text_of(log.table, rules), log.table.dump(rules)
        drawn = [next(parts)]
        draw = random.Random(rules)
        for _ in range(100):
            name = draw.choice(names)
            number = draw.randrange(3, 50)
            log.apply(
                draw.choice(
                    [
                        session_command_payload(name, number, number - 1, "other" * 100),
                        keep_session_payload(name),
                        close_session_payload(name),
                        open_session_payload(5000),
                    ]
                )
            )
        assert "".join([*drawn, *parts]) == expected
        assert text_of(log.table, rules) != expected


# -- what the bounds count -----------------------------------------------------------------------------


def test_from_rules_3_on_the_bounds_count_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Escaped characters and those of several bytes count in bytes."""
    reply = "\x01" * 50  # 300 bytes as JSON, and quotes
    size = 302 + REPLY_OVERHEAD_BYTES
    left = {}
    for rules in (2, 3):
        monkeypatch.setattr(session_table, "MAX_REPLY_BYTES", 4 * size)
        log = Log(rules)
        for name in [log.open() for _ in range(20)]:
            assert log.apply(session_command_payload(name, 1, 0, reply))[0] == reply
        left[rules] = len(log.table)
        assert log.table._characters == 50 * left[rules]
        assert log.table._size_bytes == size * left[rules]
    assert left == {2: 20, 3: 4}
    monkeypatch.setattr(session_table, "MAX_SESSION_REPLY_BYTES", 2 * size)
    log = Log(3)
    name = log.open()
    for number in (1, 2):
        log.apply(session_command_payload(name, number, 0, reply))
    text = str(log.apply(session_command_payload(name, 3, 0, reply))[1])
    assert f"2 replies of {2 * size} bytes" in text
    assert log.apply(session_command_payload(name, 3, 1, reply))[0] == reply


def test_counts_stay_exact_under_all_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_table, "MAX_REPLY_BYTES", 40_000)
    draw = random.Random(7)
    for rules in (1, 2, 3):
        log = Log(rules)
        names = [log.open() for _ in range(30)]
        for _ in range(2000):
            name, number = draw.choice(names), draw.randrange(1, 60)
            request = draw.choices(
                [
                    session_command_payload(
                        name, number, draw.choice([0, 0, number - 1, number]), "é" * 40
                    ),
                    close_session_payload(name),
                    open_session_payload(60_000),
                ],
                [20, 1, 1],
            )[0]
            result, error = log.apply(request)
            assert error is None or isinstance(error, (SequenceRefused, SessionExpired))
            if request.startswith('["open"'):
                names.append(int(result or 0))
        held = log.table._sessions.values()
        replies = [reply for session in held for reply in session.replies.values()]
        assert log.table._characters == sum(len(str(reply)) for reply in replies)
        assert log.table._size_bytes == sum(
            len(json.dumps(str(reply), ensure_ascii=False).encode()) + REPLY_OVERHEAD_BYTES
            for reply in replies
        )
        assert [*log.table._with_replies] == [
            k for k, s in log.table._sessions.items() if s.replies
        ]
        assert replies


def test_from_rules_3_on_numbers_have_63_bits() -> None:
    for rules in (2, 3):
        log = Log(rules)
        name = log.open()
        for number, taken in ((2**63 - 1, True), (2**63, rules < 3)):
            _, error = log.apply(session_command_payload(name, number, 0, "x"))
            assert (error is None) == taken
            assert error is None or isinstance(error, StoreError)
        for data in (f'["open",{2**63}]', f'["run",{name},1,-1,"x"]', '["open",true]'):
            assert isinstance(log.apply(data)[1], StoreError) == (rules >= 3)
        assert isinstance(log.apply(f'["open",{"9" * 500_000}]')[1], StoreError)


# -- what one entry costs ------------------------------------------------------------------------------


def lines_run(action: Callable[[], object]) -> int:
    """How many lines of Python the action runs: a measure of its work without a clock."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> TraceFunction:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


def filled(many: int, replies: int) -> Log:
    log = Log()
    log.table.begin_rules_2(0)
    for key in range(1, many + 1):
        numbered: list[tuple[int, Result]] = [(n, "r") for n in range(1, replies + 1)]
        log.table._add(key, Session.restored(3_600_000, 0, 0, numbered))
    log.table.on_restored(3)
    log.index = many
    return log


def costs_with(many: int, replies: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    log = filled(many, replies)
    monkeypatch.setattr(session_table, "MAX_REPLY_BYTES", log.table._size_bytes)

    def cost(data: str) -> int:
        return lines_run(lambda: log.apply(data))

    costs = {
        "run, and one must go": cost(session_command_payload(many, replies + 1, 0, "r")),
        "run, acknowledging one": cost(session_command_payload(many - 1, replies + 1, 1, "r")),
        "again": cost(session_command_payload(many, replies + 1, 0, "r")),
        "open": cost(open_session_payload(60_000)),
        "keep": cost(keep_session_payload(many - 2)),
        "close": cost(close_session_payload(many - 3)),
        "tick": cost(SESSION_TICK),
        "begin of a snapshot": lines_run(lambda: log.table.dump(3)),
    }
    # The snapshot has not been read: sessions are copied before they change.
    costs["run meanwhile"] = cost(session_command_payload(many - 4, replies + 1, 0, "r"))
    return costs


def test_entry_cost_does_not_grow_with_sessions_and_replies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small, large = costs_with(50, 5, monkeypatch), costs_with(500, 50, monkeypatch)
    for name, cost in large.items():
        assert cost <= small[name] + 15, f"{name}: {small[name]} lines, then {cost}"


def test_an_entry_drops_a_bounded_number_of_expired_sessions() -> None:
    log = filled(1000, 1)
    log.index = 10**10
    assert log.apply(SESSION_TICK) == ("null", None)
    assert len(log.table) == 1000 - MAX_EXPIRED_PER_ENTRY
    refused = log.apply(session_command_payload(999, 2, 0, "x"))[1]
    assert isinstance(refused, SessionExpired), "an expired session is not used"
    other = restored(text_of(log.table))
    for table in (log.table, other):
        apply(table, entry(log.index + 1, SESSION_TICK), Echo(), rules=3)
    assert text_of(other) == text_of(log.table), "a replica that restored a snapshot drops the same"


def test_leader_ticks_until_all_expired_sessions_are_gone() -> None:
    cluster = ReplicaCluster(1, max_pending_requests=2000, rules=3)
    driver = cluster.elect(1)
    many = 2 * MAX_EXPIRED_PER_ENTRY + 10
    driver.step(
        *[ClientRequest(n, "session", open_session_payload(1000), 60_000) for n in range(many)]
    )
    while driver.replica.has_apply_backlog:
        driver.step(Tick())
    assert len(driver.replica.sessions) == many
    cluster.pass_time(2000)
    assert len(driver.replica.sessions) == 0


# -- the raise to rules 3 ------------------------------------------------------------------------------


class EchoWithHash(Echo):
    def state_hash(self) -> str:
        return "0"

    def snapshot(self) -> Iterable[str]:
        return ["."]


def test_data_of_rules_2_is_read_and_raised_later() -> None:
    cluster = ReplicaCluster(3, EchoWithHash, rules=2)
    leader = cluster.elect(1)

    def ask(driver: ReplicaDriver, data: str) -> str | None:
        driver.step(ClientRequest(1, "session", data, 60_000))
        cluster.settle()
        return driver.replies[-1].result

    session = int(ask(leader, open_session_payload(60_000)) or 0)
    assert ask(leader, session_command_payload(session, 1, 0, "é\x01")) == "é\x01"
    for driver in cluster.drivers.values():
        cluster.pass_time(50)
        driver.step(TriggerSnapshot())
        assert driver.disk.durable.snapshot is not None
        assert driver.disk.durable.snapshot.data[:2] == "[["
    cluster.max_rules = LATEST_RULES
    for node_id in cluster.drivers:
        cluster.restart(node_id)
    leader = cluster.elect(2)
    assert ask(leader, session_command_payload(session, 1, 0, "lost")) == "é\x01"
    support = VersionSupport(1, LATEST_RULES, "echo", 1, 1)
    for driver in cluster.drivers.values():
        for node_id in cluster.drivers:
            driver.step(PeerVersionSupport(node_id, support))
    cluster.settle()
    cluster.pass_time(100)
    assert {driver.replica.versions.active.rules for driver in cluster.drivers.values()} == {
        LATEST_RULES
    }
    assert ask(leader, session_command_payload(session, 1, 0, "lost")) == "é\x01", (
        "no retry counts twice"
    )
    cluster.pass_time(100)
    for node_id, driver in [*cluster.drivers.items()]:
        driver.step(TriggerSnapshot())
        assert driver.disk.durable.snapshot is not None
        assert driver.disk.durable.snapshot.data[:15] == '{"sessions":1}\n'
        cluster.restart(node_id)
    tables = {text_of(driver.replica.sessions) for driver in cluster.drivers.values()}
    assert len(tables) == 1
    leader = cluster.elect(3)
    assert ask(leader, session_command_payload(session, 1, 0, "lost")) == "é\x01"


def test_each_step_reads_one_part_of_a_large_table() -> None:
    cluster = ReplicaCluster(1, EchoWithHash, rules=3)
    driver = cluster.elect(1)
    table = table_with([(0, dict.fromkeys(range(1, MAX_REPLIES), "r" * 1000))] * 4)
    driver.replica.sessions = table
    driver.replica._session_ticks._sessions = table
    capturing = driver.replica._snapshot_builder
    driver.replica._snapshots._sessions = table
    driver.replica._snapshots._begin(0)
    drawn: list[int] = []
    while capturing.capturing:
        before = capturing._built_bytes
        cluster.now += 1000
        driver.step(Tick())
        drawn.append(capturing._built_bytes - before)
    assert driver.disk.durable.snapshot is not None
    assert len(drawn) >= 15
    assert max(drawn) < 2 * 64 * 1024
