"""A recording holds lives: what each started from, its steps, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.core.config import RaftConfig, Safeguards
from qcore.core.entry import DurableState, Entry, HardState, Membership, Snapshot, SnapshotMeta
from qcore.core.events import Tick
from qcore.errors import ConfigError
from qcore.machines.register import RegisterMachine
from qcore.recording import (
    GeneratorState,
    Life,
    LifeRecorder,
    RecordedStep,
    RecordingEnd,
    StartOfLife,
    is_recording,
    read_lives,
)
from qcore.recording.line_checksum import without_checksum
from qcore.replica.config import ReplicaConfig
from qcore.replica.events import ReplicaEffect, ReplicaEvent
from qcore.replica.replica import Replica

CONFIG = ReplicaConfig(
    raft=RaftConfig(
        node_id=3, heartbeat_ms=20, safeguards=Safeguards(read_confirmation=False), priority=4
    ),
    keep_entries=7,
)


def start(durable: DurableState | None = None, seed: int = 5) -> StartOfLife:
    return StartOfLife(
        config=CONFIG,
        machine="register",
        now=1000,
        wall_us=2_000_000,
        generator=GeneratorState(seed),
        durable=durable or DurableState(),
        source="node",
    )


class StandIn:
    """What the recorder reads of a replica, with other steps."""

    def __init__(self, step: Callable[..., list[ReplicaEffect]]) -> None:
        made = Replica(CONFIG, RegisterMachine(), DurableState(), rng=Random(1), now=0)
        self.digests, self.machine, self.access = made.digests, made.machine, made.access
        self.applied_index, self.restoring = made.applied_index, made.restoring
        self._step = step

    def step(self, events: Sequence[ReplicaEvent], now: int, wall_us: int) -> list[ReplicaEffect]:
        return self._step(events, now, wall_us)


def replica(step: Callable[..., list[ReplicaEffect]] = lambda *_: []) -> StandIn:
    """A replica whose steps are replaced."""
    return StandIn(step)


def recorded(*, steps: int = 2, end: str = "stopped", limit: int = 0) -> bytes:
    content = bytearray()
    recorder = LifeRecorder(start(), content.extend, limit_bytes=limit)
    for number in range(steps):
        recorder.step(replica(), [Tick()], 1000 + number, 2_000_000 + number)
    if end:
        recorder.end(end)
    recorder.flush()
    return bytes(content)


def read(life: Life) -> tuple[list[RecordedStep], RecordingEnd]:
    *steps, end = life.steps()
    assert isinstance(end, RecordingEnd)
    return [step for step in steps if isinstance(step, RecordedStep)], end


texts = st.text(max_size=20) | st.just("\ud800")
entries = st.lists(
    st.builds(
        Entry, st.integers(1, 9), st.integers(1, 9), st.just("command"), texts, st.integers(0, 9)
    )
)
snapshots = st.none() | st.builds(
    Snapshot,
    st.builds(
        SnapshotMeta,
        st.integers(1, 9),
        st.integers(1, 9),
        st.integers(0, 9),
        st.just(Membership((1, 2))),
    ),
    texts.filter(bool) | st.just("x" * 200_000),
)


@settings(max_examples=40)
@given(durable=st.builds(DurableState, st.builds(HardState, st.integers(0, 9)), snapshots, entries))
def test_the_start_of_a_life_is_read_as_it_was(durable: DurableState) -> None:
    begin = start(durable)
    content = "".join(f"{line}\n" for line in begin.lines()).encode("utf-8", "surrogatepass")
    (life,) = read_lives(content)
    assert life.start == begin
    assert read(life)[1].kind == "cut"


def test_a_long_log_is_written_in_several_lines() -> None:
    log = [Entry(index, 1, "command", "x" * 1000, 0) for index in range(1, 500)]
    lines = list(start(DurableState(HardState(1), None, log)).lines())
    assert len(lines) > 5
    assert max(map(len, lines)) < 100_000


def test_a_generator_draws_the_same_after_a_recording() -> None:
    used = Random(4)
    used.random()
    for state in (GeneratorState(9), GeneratorState.of(used)):
        again = GeneratorState.from_json(json.loads(json.dumps(state.to_json())))
        assert again.generator().random() == state.generator().random()
    assert GeneratorState.of(used).generator().random() == used.random()


@pytest.mark.parametrize("value", [None, 1.5, "AAAA", "?"])
def test_a_generator_without_a_state_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        GeneratorState.from_json(value)


def test_steps_are_read_with_their_times() -> None:
    (life,) = read_lives(recorded(steps=3))
    steps, end = read(life)
    assert [(step.number, step.now, step.wall_us) for step in steps] == [
        (1, 1000, 2_000_000),
        (2, 1001, 2_000_001),
        (3, 1002, 2_000_002),
    ]
    assert steps[0].events == [Tick()]
    assert (end.kind, end.steps, end.text) == ("end", 3, "the life ended: stopped")


def test_several_lives_are_read_one_by_one() -> None:
    first, second = read_lives(recorded(steps=1) + recorded(steps=2))
    assert (first.number, len(read(first)[0]), second.number, len(read(second)[0])) == (1, 1, 2, 2)


@pytest.mark.parametrize("cut", [2, 5, 20])
def test_a_life_that_was_cut_off_is_readable_until_there(cut: int) -> None:
    whole = recorded(steps=5, end="")
    torn = whole[:-cut] + b"\n"  # as the next process continues the file
    first, second = read_lives(torn + recorded(steps=1))
    steps, end = read(first)
    assert len(steps) == 4
    assert end.kind == "cut"
    assert len(read(second)[0]) == 1
    (alone,) = read_lives(whole[:-cut])
    assert read(alone)[1].kind == "cut"


def test_nothing_is_read_after_missing_lines() -> None:
    head, rest = recorded(steps=1, end=""), recorded(steps=3).split(b"\n", 1)[1]
    (life,) = read_lives(head + b'["missing",12]\n' + rest)
    steps, end = read(life)
    assert len(steps) == 1
    assert end.kind == "missing"
    assert "12 lines are missing after step 1" in end.text


def test_a_recording_ends_at_its_limit() -> None:
    (life,) = read_lives(recorded(steps=1000, limit=2000))
    steps, end = read(life)
    assert 20 < len(steps) < 100
    assert end.kind == "limit"
    assert "2000 bytes" in end.text


def test_an_event_that_cannot_be_recorded_ends_the_recording() -> None:
    content = bytearray()
    recorder = LifeRecorder(start(), content.extend)
    event: ReplicaEvent = object()  # type: ignore[assignment]  # a bug
    assert recorder.step(replica(), [event], 1001, 2_000_000) == []
    assert recorder.ended
    (life,) = read_lives(bytes(content))
    steps, end = read(life)
    assert (steps, end.kind) == ([], "unrecorded")


def test_the_error_of_a_step_is_recorded_and_raised() -> None:
    content = bytearray()
    recorder = LifeRecorder(start(), content.extend)

    def fails(*_: object) -> list[ReplicaEffect]:
        raise ConfigError("no")

    with pytest.raises(ConfigError):
        recorder.step(replica(fails), [Tick()], 1001, 2_000_000)
    (life,) = read_lives(bytes(content))
    steps, _ = read(life)
    assert steps[0].failed == "ConfigError: no"


def test_the_answers_about_connections_are_recorded() -> None:
    content = bytearray()
    recorder = LifeRecorder(start(), content.extend)
    ask = recorder.answering(lambda peer: f"cut {peer}")

    def asks(*_: object) -> list[ReplicaEffect]:
        ask(2)
        return []

    assert ask(1) == "cut 1", "outside of a step nothing is recorded"
    recorder.step(replica(asks), [Tick()], 1001, 2_000_000)
    recorder.step(replica(), [Tick()], 1002, 2_000_000)
    recorder.flush()
    (life,) = read_lives(bytes(content))
    assert [step.answers for step in read(life)[0]] == [((2, "cut 2"),), ()]


def head_with(**values: object) -> bytes:
    head = json.loads(without_checksum(recorded(steps=0).split(b"\n")[0]))
    return json.dumps({**head, **values}, separators=(",", ":")).encode() + b"\n"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "no recording"),
        (b'{"t_us":0}\n', "no recording"),
        (head_with(recording=3), "format 3, this program reads up to 2"),
        (
            head_with(config={"raft": {"node_id": 1, "new_setting": 2}}),
            "does not know.*new_setting",
        ),
        (
            head_with(entries=3) + b'["end","x",null]\n',
            "the entries of the durable state end after 0 of 3",
        ),
        (head_with(entries=3), "cut off before its first step"),
        (head_with(hard_state=7), "life 1 cannot be read"),
        (head_with(generator=None), "the generator has no state"),
        (b'{"recording":1,"qcore":"x"}\n', "not as this qcore writes it"),
    ],
)
def test_a_bad_start_is_explained(content: bytes, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        read_lives(content)


@pytest.mark.parametrize(
    "line", [b'[1,2,["?"],"",0]', b"[1]", b"{}", b"x", b'[1,2,[["Tick"]],"",0,[]]']
)
def test_a_damaged_step_is_reported_with_its_place(line: bytes) -> None:
    whole = recorded(steps=2, end="")
    (life,) = read_lives(whole + line + b"\n" + b'[1,1,[["Tick"]],"",0]\n')
    with pytest.raises(ConfigError, match="damaged after step 2; stop there with --until-event 2"):
        read(life)


@given(st.data())
def test_a_flipped_bit_is_damage_and_not_a_difference(data: st.DataObject) -> None:
    whole = recorded(steps=4)
    first = whole.index(b"\n") + 1
    place = data.draw(st.integers(first, len(whole) - 2).filter(lambda at: whole[at] != 10))
    changed = bytearray(whole)
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    (life,) = read_lives(bytes(changed))
    with pytest.raises(ConfigError, match="damaged after step"):
        read(life)


def test_a_recording_without_checksums_is_read() -> None:
    lines = [without_checksum(line) for line in recorded(steps=3).splitlines()]
    lines[0] = lines[0].replace(b'"recording":2', b'"recording":1')
    (life,) = read_lives(b"".join(line + b"\n" for line in lines))
    steps, end = read(life)
    assert (len(steps), end.kind) == (3, "end")


def test_a_recording_is_recognised(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(recorded())
    assert is_recording(file)
    assert len(read_lives(str(file))) == 1
    assert not is_recording(tmp_path)
    assert not is_recording(tmp_path / "none")
    with pytest.raises(ConfigError, match="cannot read the recording"):
        read_lives(tmp_path / "none")
