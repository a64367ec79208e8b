"""Judges one operation in one state: with a user's model, or with the model of registers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from qcore.sim.linearizability import sequential_register
from qcore.sim.linearizability.operation import Value
from qcore.sim.oracles.model.model_operation import ModelOperation
from qcore.sim.oracles.model.sequential_model import ModelRunner
from qcore.sim.oracles.user_function import BrokenOracle


class StateJudge(Protocol):
    """What the witness and the search ask."""

    def initial(self) -> object:
        """The state of each key before the first operation."""
        ...

    def step(self, state: object, op: ModelOperation) -> tuple[bool, object]:
        """Whether the answer fits, and the state after it. Raises `BrokenOracle`."""
        ...

    def describe(self, state: object) -> str:
        """The state as a text."""
        ...

    def answer(self, state: object, op: ModelOperation) -> str | None:
        """The answer that would fit; None if unknown."""
        ...


class UserModelJudge:
    """Judges with a user's model.

    Args:
        model: the model.
    """

    def __init__(self, model: ModelRunner) -> None:
        self._model = model

    def initial(self) -> object:
        """See `StateJudge`."""
        return self._model.initial()

    def step(self, state: object, op: ModelOperation) -> tuple[bool, object]:
        """See `StateJudge`. An operation that was answered without a text took effect, with any answer."""
        fits, after = self._model.step(state, op.request, op.answer)
        if op.answer is None and not fits:
            raise BrokenOracle(
                f"Model.step rejected a request without an answer, {op.describe()}: with `answer` None any answer is "
                "possible, so return (True, new_state)"
            )
        return fits, after

    def describe(self, state: object) -> str:
        """See `StateJudge`."""
        return self._model.describe(state)

    def answer(self, state: object, op: ModelOperation) -> str | None:
        """See `StateJudge`."""
        return self._model.answer(state, op.request)


class RegisterJudge:
    """Judges operations on registers; the key is the name of the register."""

    def initial(self) -> object:
        """See `StateJudge`."""
        return sequential_register.INITIAL

    def step(self, state: object, op: ModelOperation) -> tuple[bool, object]:
        """See `StateJudge`."""
        assert op.register is not None
        value: Value = state if isinstance(state, str | int | float) else None
        return sequential_register.step(value, op.register)

    def describe(self, state: object) -> str:
        """See `StateJudge`."""
        return repr(state)

    def answer(self, state: object, op: ModelOperation) -> str | None:
        """See `StateJudge`."""
        assert op.register is not None
        if op.is_read:
            return repr(state)
        if isinstance(op.register.input, tuple):
            return repr(state == op.register.input[0])
        return None


@dataclass(slots=True, frozen=True)
class KeyedStates:
    """The state of each key. It never changes: `changed` returns another one."""

    values: Mapping[object, object]

    @classmethod
    def before(cls, judge: StateJudge, operations: Sequence[ModelOperation]) -> KeyedStates:
        """The states before the first operation, in the order in which the keys occur."""
        return cls({op.key: judge.initial() for op in operations})

    def of(self, key: Hashable) -> object:
        """The state of a key."""
        return self.values[key]

    def changed(self, key: Hashable, state: object) -> KeyedStates:
        """These states with another one for a key."""
        if self.values[key] is state:
            return self
        return KeyedStates({**self.values, key: state})
