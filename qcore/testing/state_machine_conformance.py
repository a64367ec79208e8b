"""What every `StateMachine` must do, as a suite that any implementation can run. Needs `hypothesis`.

Subclass `StateMachineConformance` in a test module, override `make`, `commands` and `queries`, and let pytest
collect it:

    class TestMyMachine(StateMachineConformance):
        def make(self) -> StateMachine:
            return MyMachine()

        def commands(self) -> SearchStrategy[str]:
            return st.sampled_from(['{"name": "a", "by": 1}', '{"name": "b", "by": 2}'])

        def queries(self) -> Sequence[str]:
            return ["a", "b", "c"]

What the suite cannot try is another process: that the same commands give the same state under any
`PYTHONHASHSEED`. Replicas that differ show it as different state hashes (`qcore cluster hash`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from qcore.errors import StoreError
from qcore.store.interface import ApplyContext, RestoresGradually, StateMachine, support_of

#: One command as the log would have it: its text, how far its index is from the one before, the same of its time in µs.
Step = tuple[str, int, int]
Steps = list[Step]

#: Texts that are commands of nobody's, probably.
_STRANGE = ("", "null", "[]", "{}", "\0", "{", "\ud7ff", '{"a": ' * 50, "9" * 5000, "\U0001f600")


class StateMachineConformance:
    """Override `make`, `commands` and `queries`."""

    #: How many random histories each test tries.
    examples = 30
    #: Whether a history that fails is made as short as can be, which may take some seconds.
    shrink = True
    #: The active version of the machine, where a test applies commands.
    _version = 1

    def make(self) -> StateMachine:
        """A new machine without state."""
        raise NotImplementedError("override make() and return a new machine")

    def commands(self) -> st.SearchStrategy[str]:
        """Commands, good ones and bad ones, that meet each other often."""
        raise NotImplementedError("override commands() and return a strategy of commands")

    def queries(self) -> Sequence[str]:
        """Queries whose answers together tell states apart."""
        raise NotImplementedError("override queries() and return some queries")

    def prelude(self) -> Sequence[str]:
        """Commands before every history, without which most others mean nothing."""
        return ()

    def test_name_and_versions_are_declared(self) -> None:
        """What a cluster records of its machine; `apply` takes a command and a context."""
        support_of(self.make())

    def test_an_upgrade_in_the_middle_keeps_what_came_before(self) -> None:
        """The first version's commands, then the last version's; a node may begin at a snapshot in between."""
        first, last = self.make().versions

        def check(steps: Steps, more: Steps) -> None:
            one, other, late = self.make(), self.make(), self.make()
            for machine in (one, other):
                self._version = first
                self._apply(machine, steps)
            late.restore(["".join(one.snapshot())])
            self._version = last
            results = [self._apply(machine, more, 1000) for machine in (one, other, late)]
            assert results[0] == results[1] == results[2]
            self._assert_same(one, other)
            self._assert_same(one, late)

        self._for_histories(check)

    def test_same_commands_give_the_same(self) -> None:
        """Results, answers and hash: nothing but commands, indexes and times may matter."""

        def check(steps: Steps) -> None:
            one, other = self.make(), self.make()
            results = self._apply(one, steps)
            assert self._apply(other, steps) == results
            self._assert_same(one, other)

        self._for_histories(check)

    def test_results_are_text_and_the_hash_is_hexadecimal(self) -> None:
        def check(steps: Steps) -> None:
            machine = self.make()
            assert all(isinstance(result, str) for result in self._apply(machine, steps))
            assert int(machine.state_hash(), 16) >= 0
            assert machine.state_hash() == machine.state_hash()

        self._for_histories(check)

    def test_restored_machine_equals_and_goes_on_equally(self) -> None:
        """Also where the machine that restores had another state, which must be gone."""

        def check(steps: Steps, others: Steps, more: Steps) -> None:
            original, used = self.make(), self.make()
            self._apply(original, steps)
            self._apply(used, others)
            used.restore(list(original.snapshot()))
            self._assert_same(original, used)
            assert self._apply(used, more, 1000) == self._apply(original, more, 1000)
            self._assert_same(original, used)

        self._for_histories(check)

    def test_chunks_may_be_cut_anywhere(self) -> None:
        """A snapshot travels as one text, so `restore` may get it in other pieces."""

        def check(steps: Steps) -> None:
            original, whole, cut = self.make(), self.make(), self.make()
            self._apply(original, steps)
            text = "".join(original.snapshot())
            whole.restore([text])
            cut.restore(text[at : at + 7] for at in range(0, len(text), 7))
            self._assert_same(original, whole)
            self._assert_same(original, cut)

        self._for_histories(check)

    def test_snapshot_is_as_of_the_call_while_commands_go_on(self) -> None:
        """Its chunks are drawn in between the commands that come after."""

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
                assert one.state_hash() != other.state_hash(), "the hash overlooks a difference"

        self._for_histories(check)

    def test_queries_change_nothing(self) -> None:
        def check(steps: Steps) -> None:
            machine = self.make()
            self._apply(machine, steps)
            before = machine.state_hash(), "".join(machine.snapshot())
            assert self._answers(machine) == self._answers(machine)
            assert (machine.state_hash(), "".join(machine.snapshot())) == before

        self._for_histories(check)

    def test_strange_texts_are_answered_and_not_raised(self) -> None:
        """A command gives a result whatever it is; a query may raise `StoreError`. Anything else stops a node."""
        machine = self.make()
        for index, text in enumerate(_STRANGE, start=1):
            assert isinstance(machine.apply(text, ApplyContext(index, index)), str)
            try:
                assert isinstance(machine.query(text), str)
            except StoreError as error:
                assert str(error)  # noqa: PT017 - this suite also runs without pytest

    def test_restoring_gradually_is_restoring(self) -> None:
        """Only for machines that have `restore_gradually`; also begun, dropped and begun again."""
        if not isinstance(self.make(), RestoresGradually):
            return

        def check(steps: Steps, others: Steps) -> None:
            original, used = self.make(), self.make()
            self._apply(original, steps)
            self._apply(used, others)
            text = "".join(original.snapshot())
            assert isinstance(used, RestoresGradually)
            for _ in zip(range(1), used.restore_gradually([text]), strict=False):
                pass
            for _ in used.restore_gradually([text]):
                pass
            self._assert_same(original, used)

        self._for_histories(check)

    # -- inside ----------------------------------------------------------------------------------

    def _for_histories(self, check: Callable[..., None]) -> None:
        """Try `check` with random histories, one for each of its arguments, under the first and the last version."""
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

    def _apply(self, machine: StateMachine, steps: Iterable[Step], after: int = 0) -> list[str]:
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
        """The cluster clock goes on with the wall clock here."""
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
        assert self._answers(one) == self._answers(other)
        assert one.state_hash() == other.state_hash()
