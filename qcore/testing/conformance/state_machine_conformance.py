"""The conformance suite that every `StateMachine` must pass. Needs `hypothesis`.

Subclass `StateMachineConformance` in a test module, override `make`, `commands` and `queries`, and let pytest
collect it:

    class TestMyMachine(StateMachineConformance):
        def make(self) -> StateMachine:
            return MyMachine()

        def commands(self) -> SearchStrategy[str]:
            return st.sampled_from(['{"name": "a", "by": 1}', '{"name": "b", "by": 2}'])

        def queries(self) -> Sequence[str]:
            return ["a", "b", "c"]

The suite runs in one process, so it cannot test that the same commands give the same state under any
`PYTHONHASHSEED`. Replicas whose states differ have different state hashes (`qcore cluster hash`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from qcore.errors import StoreError
from qcore.machines.interface import (
    ApplyContext,
    Change,
    StateMachine,
    SupportsChanges,
    SupportsCommandCheck,
    SupportsGradualRestore,
    SupportsWorkCost,
    version_support,
)
from qcore.testing.conformance.expectation_checks import require, require_sendable, require_text

#: One command: its text, and by how much its index and its time in µs exceed those of the previous command.
MachineStep = tuple[str, int, int]
Steps = list[MachineStep]

#: Texts that are unlikely to be commands of any machine.
_UNEXPECTED = ("", "null", "[]", "{}", "\0", "{", "\ud7ff", '{"a": ' * 50, "9" * 5000, "\U0001f600")


#: The largest chunk of a snapshot, in characters. A node takes a chunk in one step and answers no request meanwhile.
MAX_CHUNK_CHARS: Final = 4 * 1024 * 1024

#: A lone surrogate, which JSON can express and UTF-8 cannot.
_SURROGATE: Final = "\ud800"
_DIGEST: Final = re.compile(r"[0-9a-fA-F]+")


class StateMachineConformance:
    """The tests that every `StateMachine` must pass. Override `make`, `commands` and `queries`."""

    #: How many random histories each test runs.
    examples = 30
    #: Whether to shrink a failing history as far as possible, which may take several seconds.
    shrink = True
    #: The active version of the machine while a test applies commands.
    _version = 1

    def make(self) -> StateMachine:
        """Return a new machine without state."""
        raise NotImplementedError("override make() and return a new machine")

    def commands(self) -> st.SearchStrategy[str]:
        """Return a strategy of valid and invalid commands that often affect the same data."""
        raise NotImplementedError("override commands() and return a strategy of commands")

    def queries(self) -> Sequence[str]:
        """Return queries whose answers together distinguish states."""
        raise NotImplementedError("override queries() and return some queries")

    def prelude(self) -> Sequence[str]:
        """Return commands to apply before every history, if most others have no effect without them."""
        return ()

    def test_name_and_versions_are_declared(self) -> None:
        """A cluster records both, and `apply` takes a command and a context."""
        version_support(self.make())

    def test_an_upgrade_keeps_the_earlier_state(self) -> None:
        """Apply commands with the first version, then with the last. A node may start from a snapshot in between."""
        first, last = self.make().versions

        def check(steps: Steps, more: Steps) -> None:
            one, other, late = self.make(), self.make(), self.make()
            for machine in (one, other):
                self._version = first
                self._apply(machine, steps)
            late.restore(["".join(one.snapshot())])
            self._version = last
            results = [self._apply(machine, more, 1000) for machine in (one, other, late)]
            _assert_results(results[1], results[0])
            _assert_results(results[2], results[0])
            self._assert_same(one, other)
            self._assert_same(one, late)

        self._for_histories(check)

    def test_same_commands_give_the_same_state(self) -> None:
        """Results, answers and hash depend only on commands, indexes and times."""

        def check(steps: Steps) -> None:
            one, other = self.make(), self.make()
            results = self._apply(one, steps)
            _assert_results(self._apply(other, steps), results)
            self._assert_same(one, other)

        self._for_histories(check)

    def test_results_can_be_sent(self) -> None:
        """A result has no lone surrogate and at most `MAX_RESULT_BYTES`, even if the command has a lone surrogate.

        JSON can express a lone surrogate (`"\\ud800"`), and a client may send one. A machine that reads JSON and
        returns such a text must also write it as JSON.
        """

        def check(steps: Steps) -> None:
            machine = self.make()
            for position, result in enumerate(self._apply(machine, _with_surrogates(steps))):
                require_sendable(result, f"the result of command {position + 1}")

        self._for_histories(check)

    def test_answers_can_be_sent(self) -> None:
        """The same holds for `query` and for the text of a `StoreError`."""

        def check(steps: Steps) -> None:
            machine = self.make()
            self._apply(machine, _with_surrogates(steps))
            for query in self.queries():
                try:
                    answer: object = machine.query(query)
                except StoreError as error:
                    answer = str(error)
                require_sendable(answer, f"the answer to the query {query!r}")

        self._for_histories(check)

    def test_the_hash_is_hexadecimal(self) -> None:
        def check(steps: Steps) -> None:
            machine = self.make()
            self._apply(machine, steps)
            digest: object = machine.state_hash()
            if not isinstance(digest, str):
                raise AssertionError(
                    f"state_hash() gave {digest!r} of the type {type(digest).__name__}; expected hexadecimal text"
                )
            require(
                _DIGEST.fullmatch(digest),
                f"state_hash() gave {digest!r}; expected hexadecimal text",
            )
            again = machine.state_hash()
            require(
                again == digest,
                f"state_hash() gave {again!r} the second time; expected {digest!r} as before",
            )

        self._for_histories(check)

    def test_snapshots_can_be_stored(self) -> None:
        """Chunks are text without lone surrogates, and a node can take each one in one step."""

        def check(steps: Steps) -> None:
            machine = self.make()
            self._apply(machine, _with_surrogates(steps))
            chunks: object = machine.snapshot()
            if isinstance(chunks, str):
                raise AssertionError(
                    "snapshot() gave a text; expected chunks of text: a small machine gives a list of one chunk"
                )
            if not isinstance(chunks, Iterable):
                raise AssertionError(
                    f"snapshot() gave {type(chunks).__name__}; expected chunks of text"
                )
            for number, chunk in enumerate(chunks, start=1):
                what = f"chunk {number} of the snapshot"
                require_text(chunk, what)
                require(
                    len(chunk) <= MAX_CHUNK_CHARS,
                    f"{what} has {len(chunk)} characters; expected at most {MAX_CHUNK_CHARS}: a node takes a chunk in "
                    "one step and answers no request meanwhile, so cut the state into chunks of about 64 KiB",
                )

        self._for_histories(check)

    def test_restored_machine_equals_the_original_and_stays_equal(self) -> None:
        """Any state that the machine holds before `restore` must disappear."""

        def check(steps: Steps, others: Steps, more: Steps) -> None:
            original, used = self.make(), self.make()
            self._apply(original, steps)
            self._apply(used, others)
            used.restore(list(original.snapshot()))
            self._assert_same(original, used)
            expected = self._apply(original, more, 1000)
            _assert_results(self._apply(used, more, 1000), expected)
            self._assert_same(original, used)

        self._for_histories(check)

    def test_chunks_may_be_cut_anywhere(self) -> None:
        """A snapshot travels as one text, so `restore` may get it in other chunks."""

        def check(steps: Steps) -> None:
            original, whole, cut = self.make(), self.make(), self.make()
            self._apply(original, steps)
            text = "".join(original.snapshot())
            whole.restore([text])
            cut.restore(text[at : at + 7] for at in range(0, len(text), 7))
            self._assert_same(original, whole)
            self._assert_same(original, cut)

        self._for_histories(check)

    def test_snapshot_keeps_the_state_of_its_call(self) -> None:
        """The node applies commands while it takes the chunks."""

        def check(steps: Steps, more: Steps) -> None:
            machine, then = self.make(), self.make()
            self._apply(machine, steps)
            self._apply(then, steps)
            chunks = iter(machine.snapshot())
            drawn: list[str] = []
            for number, step in enumerate(more):
                self._apply(machine, [step], 1000 + 10 * number)
                drawn += [chunk for _, chunk in zip(range(1), chunks, strict=False)]
            restored = self.make()
            restored.restore([*drawn, *chunks])
            self._assert_same(then, restored)

        self._for_histories(check)

    def test_different_answers_mean_different_hashes(self) -> None:
        def check(steps: Steps, others: Steps) -> None:
            one, other = self.make(), self.make()
            self._apply(one, steps)
            self._apply(other, others)
            if self._answers(one) != self._answers(other):
                require(
                    one.state_hash() != other.state_hash(),
                    f"two states with different answers have the hash {one.state_hash()!r}; expected two hashes",
                )

        self._for_histories(check)

    def test_queries_change_nothing(self) -> None:
        def check(steps: Steps) -> None:
            machine = self.make()
            self._apply(machine, steps)
            before = machine.state_hash(), "".join(machine.snapshot())
            first, again = self._answers(machine), self._answers(machine)
            require(
                again == first,
                f"the second time, the answers are {again!r}; expected {first!r} as before",
            )
            after = machine.state_hash(), "".join(machine.snapshot())
            require(
                after == before,
                f"after queries, hash and snapshot are {after!r}; expected {before!r} as before them",
            )

        self._for_histories(check)

    def test_reported_cost_and_recognition_have_valid_types(self) -> None:
        """For machines with `last_cost` or `recognises`: an integer, and a bool for any text."""
        machine = self.make()
        for index, text in enumerate(_UNEXPECTED, start=1):
            if isinstance(machine, SupportsCommandCheck):
                known = machine.recognises(text)
                if not isinstance(known, bool):
                    raise AssertionError(
                        f"recognises gave {known!r} for {text!r}; expected True or False"
                    )
            machine.apply(text, ApplyContext(index, index))
            if isinstance(machine, SupportsWorkCost):
                cost: object = machine.last_cost
                if not isinstance(cost, int):
                    raise AssertionError(f"last_cost is {cost!r}; expected an integer")
                require(cost >= 0, f"last_cost is {cost}; expected 0 or more")

    def test_unexpected_texts_are_answered_without_raising(self) -> None:
        """A command gives a result whatever its text. A query may raise `StoreError`. Anything else stops a node."""
        machine = self.make()
        for index, text in enumerate(_UNEXPECTED, start=1):
            require_sendable(
                machine.apply(text, ApplyContext(index, index)),
                f"the result of the command {text!r}",
            )
            try:
                answer = machine.query(text)
            except StoreError as error:
                answer = str(error)
                require(
                    answer,
                    f"the StoreError for the query {text!r} has no text; expected one with the reason",
                )
            require_sendable(answer, f"the answer to the query {text!r}")

    def test_gradual_restore_equals_restore(self) -> None:
        """For machines with `restore_gradually`. It may also be begun, abandoned and begun again."""
        if not isinstance(self.make(), SupportsGradualRestore):
            return

        def check(steps: Steps, others: Steps) -> None:
            original, used = self.make(), self.make()
            self._apply(original, steps)
            self._apply(used, others)
            text = "".join(original.snapshot())
            assert isinstance(used, SupportsGradualRestore)
            for _ in zip(range(1), used.restore_gradually([text]), strict=False):
                pass
            for _ in used.restore_gradually([text]):
                pass
            self._assert_same(original, used)

        self._for_histories(check)

    def test_changes_depend_only_on_the_commands(self) -> None:
        """For machines with `last_changes`: equal in all machines with the same state, and none after a failure.

        A query leaves them as they are, and later commands do not turn them into others.
        """
        if not isinstance(self.make(), SupportsChanges):
            return

        def check(steps: Steps, more: Steps) -> None:
            one, other, late = self.make(), self.make(), self.make()
            self._apply(one, steps)
            self._apply(other, steps)
            late.restore(["".join(one.snapshot())])
            kept: list[tuple[int, Sequence[Change], list[object]]] = []
            for number, step in enumerate(more, start=1):
                after = 1000 + 10 * number
                for machine in (one, other, late):
                    self._apply(machine, [step], after)
                made, named = _changes_of(one)
                self._answers(one)
                for machine, what in (
                    (one, "after queries"),
                    (other, "in a second machine"),
                    (late, "in a machine restored from a snapshot"),
                ):
                    got = _changes_of(machine)[1]
                    require(
                        got == named,
                        f"after command {number} of the last ones, last_changes() gave {got!r} {what}; expected "
                        f"{named!r}",
                    )
                kept.append((number, made, named))
            for number, made, named in kept:
                got = [_change_values(change) for change in made]
                require(
                    got == named,
                    f"later commands turned the changes of command {number} into {got!r}; expected {named!r} as before",
                )
            one.apply(_UNEXPECTED[5], self._context(5000, 1_700_000_000_000_000 + 5000 * 10**9))
            left = _changes_of(one)[1]
            require(
                left == [],
                f"after the command {_UNEXPECTED[5]!r}, last_changes() gave {left!r}; expected nothing",
            )

        self._for_histories(check)

    # -- inside ----------------------------------------------------------------------------------

    def _for_histories(self, check: Callable[..., None]) -> None:
        """Run `check` with random histories, one for each argument, under the first and the last version."""
        first, last = self.make().versions

        def check_drawn(drawn: tuple[Steps, ...]) -> None:
            for self._version in sorted({first, last}):
                check(*drawn)

        step = st.tuples(self.commands(), st.integers(1, 3), st.integers(0, 10**9))
        histories = st.lists(step, max_size=12)
        count = check.__code__.co_argcount
        tried = settings(
            max_examples=self.examples,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[
                phase for phase in Phase if self.shrink or phase in (Phase.explicit, Phase.generate)
            ],
        )
        tried(given(st.tuples(*[histories] * count))(check_drawn))()

    def _apply(
        self, machine: StateMachine, steps: Iterable[MachineStep], after: int = 0
    ) -> list[str]:
        if after == 0:
            for after, command in enumerate(self.prelude(), start=1):
                machine.apply(command, self._context(after, 1_700_000_000_000_000))
        index, time_us = after, 1_700_000_000_000_000 + after * 10**9
        results = []
        for command, index_gap, time_gap in steps:
            index, time_us = index + index_gap, time_us + time_gap
            results.append(machine.apply(command, self._context(index, time_us)))
        return results

    def _context(self, index: int, time_us: int) -> ApplyContext:
        """The context of a command. The cluster clock keeps pace with the wall clock here."""
        return ApplyContext(index, time_us, self._version, time_us - 1_600_000_000_000_000)

    def _answers(self, machine: StateMachine) -> list[str]:
        answers = []
        for query in self.queries():
            try:
                answers.append(machine.query(query))
            except StoreError as error:
                answers.append(f"error: {error}")
        return answers

    def _assert_same(self, one: StateMachine, other: StateMachine) -> None:
        answers, expected = self._answers(other), self._answers(one)
        for query, got, wanted in zip(self.queries(), answers, expected, strict=True):
            require(
                got == wanted, f"the query {query!r} is answered by {got!r}; expected {wanted!r}"
            )
        digest, wanted = other.state_hash(), one.state_hash()
        require(
            digest == wanted,
            f"the answers are equal, and state_hash() gave {digest!r}; expected {wanted!r}",
        )


def _changes_of(machine: StateMachine) -> tuple[Sequence[Change], list[object]]:
    """The last changes of a machine, and their attributes, which are valid."""
    assert isinstance(machine, SupportsChanges)
    changes = tuple(machine.last_changes())
    return changes, [_change_values(change) for change in changes]


def _change_values(change: Change) -> object:
    topics, body = tuple(change.topics), change.body
    for topic in topics:
        require_text(topic, "a topic of a change")
    require(
        len({*topics}) == len(topics),
        f"a change has the topics {topics!r}; expected each once, because a watch receives a change for each",
    )
    require_sendable(body, f"the body of the change of {topics!r}")
    try:
        json.loads(body)
    except ValueError:
        raise AssertionError(
            f"the body of the change of {topics!r} is {body!r}; expected JSON text"
        ) from None
    size: object = change.size_bytes
    if not isinstance(size, int):
        raise AssertionError(
            f"size_bytes of the change of {topics!r} is {size!r}; expected an integer"
        )
    require(size >= 0, f"size_bytes of the change of {topics!r} is {size}; expected 0 or more")
    return topics, body


def _with_surrogates(steps: Steps) -> Steps:
    """Return the steps. After each JSON command insert variants, each with a lone surrogate in place of one text."""
    found: Steps = []
    for command, index_gap, time_gap in steps:
        found.append((command, index_gap, time_gap))
        try:
            value: object = json.loads(command)
        except (ValueError, RecursionError):
            continue
        found += [(json.dumps(other), 1, 0) for other in _replaced(value)]
    return found


def _replaced(value: object) -> Iterator[object]:
    """Yield the JSON value with one field name replaced, for each name, then with one text replaced, for each text."""
    if isinstance(value, str):
        yield _SURROGATE
    elif isinstance(value, list):
        for at, item in enumerate(value):
            for other in _replaced(item):
                yield [*value[:at], other, *value[at + 1 :]]
    elif isinstance(value, dict):
        for key in value:
            yield {_SURROGATE if name == key else name: item for name, item in value.items()}
        for key, item in value.items():
            for other in _replaced(item):
                yield {**value, key: other}


def _assert_results(got: list[str], expected: list[str]) -> None:
    for number, (one, other) in enumerate(zip(got, expected, strict=True), start=1):
        require(one == other, f"the result of command {number} is {one!r}; expected {other!r}")
