"""Applies the commands of a run on one copy of the machine, and notes digests of everything that it gives.

Both processes run this code. A `Plan` travels to the second process, and a `Trail` back.
"""

from __future__ import annotations

import json
import pickle
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from io import BytesIO
from typing import Final, Literal

from qcore.errors import StoreError
from qcore.machines.interface import Change, StateMachine, SupportsChanges, SupportsGradualRestore
from qcore.sim.determinism.circumstances.shadows import Shadows
from qcore.sim.determinism.circumstances.shared_state import changed_names, outside_values
from qcore.sim.determinism.run_history import AppliedCommand, History, as_text

#: How a snapshot reaches `restore`: in the chunks of the machine, as one text, in small pieces, or gradually.
Delivery = Literal["as taken", "whole", "pieces", "gradual"]

#: A text in a window is cut here, characters. It bounds what the second process sends.
_MAX_TEXT: Final = 2_000_000
#: Of a longer attribute, a digest is compared, characters.
_MAX_ATTRIBUTE: Final = 200
#: At least this many pieces, of at least one character.
_PIECES: Final = 40


@dataclass(slots=True)
class Plan:
    """What one copy does. Positions count commands from 0; -1 is the state before the first.

    Attributes:
        through: the last position to apply.
        start: the copy begins after this position, from `snapshot`; with -1, as a fresh machine.
        snapshot: the chunks from which it begins.
        held_until: the copy first applies all commands up to here, then `snapshot` replaces that state (also with a
            `start` of -1); None if the copy is fresh.
        delivery: how the snapshot is delivered.
        marks: positions after which the state hash is noted.
        snapshot_marks: positions after which also the snapshot is noted.
        window: first and last position for which whole texts are noted, in addition.
        asks_from: the queries of the run are asked from this position on.
        watched: positions at which the state hash is compared before and after each query.
        kept: positions after which the text of the snapshot is kept.
        late: position -> how many more commands are applied before a second snapshot of that position is read.
        variant: the values of the shadows.
        probed: positions after which `probes` are asked, in addition to the queries of the run.
        probes: more queries.
        second: whether another copy did the same before, in the same process.
        names_shared: whether the variables that the copy changes outside itself are named.
    """

    through: int
    start: int = -1
    snapshot: list[str] = field(default_factory=list)
    held_until: int | None = None
    delivery: Delivery = "whole"
    marks: list[int] = field(default_factory=list)
    snapshot_marks: list[int] = field(default_factory=list)
    window: tuple[int, int] | None = None
    asks_from: int = -1
    watched: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    late: list[tuple[int, int]] = field(default_factory=list)
    variant: dict[str, int] = field(default_factory=dict)
    probed: list[int] = field(default_factory=list)
    probes: list[str] = field(default_factory=list)
    second: bool = False
    names_shared: bool = False

    @property
    def is_restored(self) -> bool:
        """Whether the copy begins from a snapshot."""
        return self.start >= 0 or self.held_until is not None


@dataclass(slots=True)
class Moment:
    """Everything that a copy gave at one position, as whole texts.

    Attributes:
        result: of the command; None right after a restore, or before the first command.
        queries, answers, state_hash, snapshot: these.
        calls: the sources that the machine used meanwhile; see `Shadows.calls`.
        attributes: the attributes of the machine, as texts.
        changes: what watches receive of the command, as a text; empty for a machine without changes.
    """

    result: str | None
    queries: list[str]
    answers: list[str]
    state_hash: str
    snapshot: str
    calls: list[tuple[str, str]] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)
    changes: str = ""


@dataclass(slots=True)
class Trail:
    """What one copy gave: digests by position.

    Attributes:
        results, answers: of each command, and of the queries after it.
        hashes: the state hashes at the marks.
        snapshots: digests of the snapshots' texts at the marks, and of their contents, in which the order of items does
            not count.
        window: whole texts.
        kept: the chunks of snapshots.
        changed_by_query: positions and queries whose state hash was different after the query.
        late: positions whose snapshot was different when it was read late.
        unstable: positions at which two snapshots of the same state were different.
        calls: all sources that the machine used, from its creation on.
        shared: the variables that the copy changed outside itself, if the plan asks for them.
        changes: of each command, for watches; empty for a machine without changes.
    """

    results: dict[int, str] = field(default_factory=dict)
    answers: dict[int, list[str]] = field(default_factory=dict)
    hashes: dict[int, str] = field(default_factory=dict)
    snapshots: dict[int, tuple[str, str]] = field(default_factory=dict)
    window: dict[int, Moment] = field(default_factory=dict)
    kept: dict[int, list[str]] = field(default_factory=dict)
    changed_by_query: list[tuple[int, str]] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    unstable: list[int] = field(default_factory=list)
    calls: dict[tuple[str, str], None] = field(default_factory=dict)
    shared: list[str] = field(default_factory=list)
    changes: dict[int, str] = field(default_factory=dict)


class Copy:
    """One machine whose every call gives a text, whatever the machine does."""

    def __init__(self, make: Callable[[], StateMachine]) -> None:
        self._made: StateMachine | str
        try:
            self._made = make()
        except Exception as error:  # noqa: BLE001  # user code may raise anything
            self._made = raised(error)
        self.has_changes = isinstance(self._made, SupportsChanges)

    def apply(self, command: AppliedCommand) -> str:
        return self._call(lambda machine: machine.apply(command.command, command.context()))

    def changes(self) -> str:
        """What the last command changed, as watches see it."""
        return self._call(_changes_text) if self.has_changes else ""

    def query(self, query: str) -> str:
        return self._call(lambda machine: machine.query(query))

    def state_hash(self) -> str:
        return self._call(lambda machine: machine.state_hash())

    def snapshot(self) -> str:
        return self._call(lambda machine: "".join(_chunks(machine.snapshot())))

    def begin_snapshot(self) -> Iterator[str]:
        """A snapshot of the current state, of which nothing is read yet."""
        if isinstance(self._made, str):
            return iter((self._made,))
        try:
            return _chunks(self._made.snapshot())
        except Exception as error:  # noqa: BLE001  # as above
            return iter((raised(error),))

    def restore(self, taken: list[str], delivery: Delivery) -> None:
        """Replace the state. If that raises, each later call gives the error's text."""
        machine = self._made
        if isinstance(machine, str):
            return
        chunks = iter(taken)
        if delivery != "as taken":
            text = "".join(taken)
            chunks = iter((text,)) if delivery == "whole" else _pieces(text)
        try:
            if delivery == "gradual" and isinstance(machine, SupportsGradualRestore):
                for _ in machine.restore_gradually(chunks):
                    pass
            else:
                machine.restore(chunks)
        except Exception as error:  # noqa: BLE001  # as above
            self._made = f"restore {raised(error)}"

    def attributes(self) -> dict[str, str]:
        """The attributes of the machine, as texts; without those that show the address of an object."""
        found: dict[str, str] = {}
        for name, value in sorted(getattr(self._made, "__dict__", {}).items()):
            try:
                text = repr(value)
            except Exception:  # noqa: BLE001  # user code may raise anything
                continue
            if " at 0x" not in text:
                found[name] = text if len(text) <= _MAX_ATTRIBUTE else digest(text)
        return found

    def _call(self, call: Callable[[StateMachine], object]) -> str:
        if isinstance(self._made, str):
            return self._made
        try:
            return as_text(call(self._made))
        except Exception as error:  # noqa: BLE001  # as above
            return raised(error)


def _changes_text(machine: StateMachine) -> str:
    assert isinstance(machine, SupportsChanges), "asked before"
    return json.dumps([_change_texts(change) for change in machine.last_changes()])


def _change_texts(change: Change) -> tuple[list[str], str]:
    return list(map(as_text, change.topics)), as_text(change.body)


def _chunks(chunks: Iterable[str]) -> Iterator[str]:
    """The chunks of a snapshot, and at its end the error that reading it raised. A text is one chunk."""
    if isinstance(chunks, str):
        yield chunks
        return
    try:
        yield from map(as_text, chunks)
    except Exception as error:  # noqa: BLE001  # user code may raise anything
        yield raised(error)


def raised(error: Exception) -> str:
    """The text in place of a result."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # user code again
        text = "(no text)"
    kind = "StoreError" if isinstance(error, StoreError) else type(error).__name__
    return f"raised {kind}: {text[:2000]}"


def digest(text: str) -> str:
    """A short digest of a text."""
    return blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def run_plan(
    make: Callable[[], StateMachine], history: History, plan: Plan, shadows: Shadows
) -> Trail:
    """Do what the plan says, on a fresh copy."""
    if plan.second:
        with shadows.begin(plan.variant):
            _Run(make, history, plan, shadows).run()
    before = outside_values(shadows.own_modules) if plan.names_shared else {}
    with shadows.begin(plan.variant):
        trail = _Run(make, history, plan, shadows).run()
    if plan.names_shared:
        trail.shared = changed_names(before, outside_values(shadows.own_modules))
    return trail


class _Run:
    """One execution of a plan."""

    def __init__(
        self, make: Callable[[], StateMachine], history: History, plan: Plan, shadows: Shadows
    ) -> None:
        self._history = history
        self._plan = plan
        self._shadows = shadows
        self._trail = Trail()
        self._marks = frozenset(plan.marks)
        self._snapshot_marks = frozenset(plan.snapshot_marks)
        self._watched = frozenset(plan.watched)
        self._kept = frozenset(plan.kept)
        self._probed = frozenset(plan.probed)
        self._copy = Copy(make)
        self._reading: dict[int, list[tuple[int, str, Iterator[str]]]] = {}

    def run(self) -> Trail:
        plan, copy = self._plan, self._copy
        if plan.is_restored:
            if plan.held_until is not None:
                for command in self._history.commands[: plan.held_until + 1]:
                    copy.apply(command)
            copy.restore(plan.snapshot, plan.delivery)
        self._look(plan.start, None)
        for position in range(plan.start + 1, plan.through + 1):
            result = copy.apply(self._history.commands[position])
            self._trail.results[position] = digest(result)
            changes = copy.changes()
            if copy.has_changes:
                self._trail.changes[position] = digest(changes)
            self._look(position, result, changes)
        for position in sorted(self._reading):
            self._read_late(position)
        self._take_calls()
        return self._trail

    def _look(self, position: int, result: str | None, changes: str = "") -> None:
        """Ask, and note, what the plan wants to know at this position."""
        plan = self._plan
        queries = self._queries_at(position)
        answers = self._ask(position, queries) if queries else []
        if position in self._marks:
            self._mark(position)
        if plan.window is not None and plan.window[0] <= position <= plan.window[1]:
            calls = self._take_calls()
            self._note(position, result, changes, queries, answers, calls)
        if position in self._kept:
            self._keep(position)
        if position in self._reading:
            self._read_late(position)
        if plan.window is not None and position == plan.window[0] - 1:
            self._take_calls()

    def _queries_at(self, position: int) -> list[str]:
        if position < self._plan.asks_from:
            return []
        queries = self._history.queries.get(position, [])
        if position in self._probed:
            queries = [*queries, *(q for q in self._plan.probes if q not in queries)]
        return queries

    def _ask(self, position: int, queries: list[str]) -> list[str]:
        copy, watched = self._copy, position in self._watched
        answers: list[str] = []
        before = copy.state_hash() if watched else ""
        for query in queries:
            answers.append(copy.query(query))
            if watched and (after := copy.state_hash()) != before:
                self._trail.changed_by_query.append((position, query))
                before = after
        self._trail.answers[position] = [digest(answer) for answer in answers]
        return answers

    def _take_calls(self) -> list[tuple[str, str]]:
        """The sources that were used since the last time."""
        calls, self._shadows.calls = self._shadows.calls, {}
        self._trail.calls.update(calls)
        return list(calls)

    def _mark(self, position: int) -> None:
        self._trail.hashes[position] = self._copy.state_hash()
        # A snapshot that is still being read may become invalid when another one is begun.
        if position in self._snapshot_marks and not self._reading:
            text = self._copy.snapshot()
            self._trail.snapshots[position] = digest(text), digest(content_of(text))

    def _note(
        self,
        position: int,
        result: str | None,
        changes: str,
        queries: list[str],
        answers: list[str],
        calls: list[tuple[str, str]],
    ) -> None:
        self._trail.window[position] = Moment(
            None if result is None else result[:_MAX_TEXT],
            queries,
            [answer[:_MAX_TEXT] for answer in answers],
            self._copy.state_hash(),
            self._copy.snapshot()[:_MAX_TEXT],
            calls,
            self._copy.attributes(),
            changes[:_MAX_TEXT],
        )

    def _keep(self, position: int) -> None:
        chunks = self._trail.kept[position] = list(self._copy.begin_snapshot())
        text = "".join(chunks)
        for at, more in self._plan.late:
            if at == position:
                if self._copy.snapshot() != text:
                    self._trail.unstable.append(position)
                due = min(position + more, self._plan.through)
                waiting = self._reading.setdefault(due, [])
                waiting.append((position, text, self._copy.begin_snapshot()))

    def _read_late(self, position: int) -> None:
        for at, text, chunks in self._reading.pop(position):
            if "".join(chunks) != text and at not in self._trail.unstable:
                self._trail.late.append(at)


def content_of(text: str) -> str:
    """A text that is equal for snapshots with the same content: the order of keys, items and lines does not count."""
    try:
        return _sorted_json(json.loads(text))
    except (ValueError, RecursionError):
        lines = text.split("\n")
    pickled = _content_of_pickle(text)
    if pickled is not None:
        return pickled
    found: list[str] = []
    for line in lines:
        try:
            found.append(_sorted_json(json.loads(line)))
        except (ValueError, RecursionError):
            found.append(line)
    return "\n".join(sorted(found))


def _content_of_pickle(text: str) -> str | None:
    """A text that is equal for pickles of equal objects; None if the text is no pickle, plain or in base64 or hex.

    A pickle shows which parts of the state are one object. That differs after a restore, and no machine is wrong by it.
    """
    for decode in (bytes.fromhex, partial(b64decode, validate=True), _latin_bytes):
        try:
            data = decode(text)
            if data.endswith(b"."):
                # The machine's own text, which its `restore` loads, too.
                return _without_sharing(pickle.loads(data))
        except Exception:  # noqa: BLE001  # no pickle, or user code raised anything
            continue
    return None


def _latin_bytes(text: str) -> bytes:
    return text.encode("latin-1")


def _without_sharing(value: object) -> str:
    if isinstance(value, dict):
        pairs = ((_without_sharing(key), _without_sharing(item)) for key, item in value.items())
        return f"{{{','.join(sorted(map(':'.join, pairs)))}}}"
    if isinstance(value, list | tuple | set | frozenset):
        return f"[{','.join(sorted(map(_without_sharing, value)))}]"
    file = BytesIO()
    pickler = pickle.Pickler(file)
    pickler.fast = True  # notes no object that came before
    pickler.dump(value)
    return repr(file.getvalue())


def _sorted_json(value: object) -> str:
    if isinstance(value, dict):
        items = (f"{json.dumps(key)}:{_sorted_json(item)}" for key, item in sorted(value.items()))
        return "{" + ",".join(items) + "}"
    if isinstance(value, list):
        return "[" + ",".join(sorted(map(_sorted_json, value))) + "]"
    return json.dumps(value)


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces of different lengths, and an empty one, as `restore` may get it."""
    size = max(1, len(text) // _PIECES)
    yield ""
    at = 0
    while at < len(text):
        length = size + at % 3
        yield text[at : at + length]
        at += length
