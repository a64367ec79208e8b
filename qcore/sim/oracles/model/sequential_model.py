"""The sequential model: what one copy of the machine, asked one request after the other, may answer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable
from typing import Any, Literal, NamedTuple, Protocol

from qcore.errors import ConfigError
from qcore.sim.oracles.model.canonical_state import canonical
from qcore.sim.oracles.user_function import BrokenOracle, raised_text, shortened

#: So many steps are checked for a change of the state that they were given.
_CHECKED_STEPS = 200


class Request(NamedTuple):
    """A request as the model sees it: `write` with a command, or `read` with a query."""

    kind: Literal["write", "read"]
    text: str


class SequentialModel(Protocol):
    """What a model needs. `class Model` in the file of a machine has these methods; it need not name this class.

    The model is written a second time, from the specification. It must not call the machine, because then it would
    have the machine's bugs.

    Three more methods are optional:

    - `partition(request)` returns a key. Requests of different keys must be independent, and each key has its state. It
      makes the check faster. None means that the request concerns all keys; then nothing is partitioned.
    - `describe(state)` returns a text for explanations, in place of `repr(state)`.
    - `answer(state, request)` returns the answer that a correct machine gives, for explanations.
    """

    # Any: a state is whatever the model likes.
    def initial(self) -> Any:
        """The state before the first request."""
        ...

    def step(self, state: Any, request: Request, answer: str | None) -> tuple[bool, Any]:
        """Judge one request.

        Args:
            state: the state before the request. It must not be changed: return a new one.
            request: its kind and its text.
            answer: what the machine answered. None: the client received no answer, so any answer is possible.

        Returns:
            Whether the answer fits, and the state after the request.
        """
        ...


class ModelRunner:
    """Calls a user's model, and checks what it returns.

    Args:
        make: the class of the model.
        machine_type: the class of the machine.

    Raises:
        ConfigError: the model lacks a method, or it is the machine itself.
    """

    def __init__(self, make: Callable[[], object], machine_type: type | None) -> None:
        self._checks_left = _CHECKED_STEPS
        if inspect.isclass(make):
            _refuse_the_machine(make, machine_type)
        try:
            model = make()
        except Exception as error:  # user code may raise anything
            raise ConfigError(
                f"{raised_text('Model()', error)}: it is made without arguments"
            ) from error
        _refuse_the_machine(type(model), machine_type)
        for method, example in (
            ("initial", ()),
            ("step", (None, None, None)),
            ("partition", (None,)),
            ("describe", (None,)),
            ("answer", (None, None)),
        ):
            _check_method(model, method, example)
        # Any: the methods are checked above, and their results where they are called.
        checked: Any = model
        self._model = checked
        try:
            self._initial: object = checked.initial()
        except Exception as error:
            raise ConfigError(raised_text("Model.initial", error)) from error
        if machine_type is not None and isinstance(self._initial, machine_type):
            raise ConfigError(
                f"Model.initial returns a {machine_type.__name__}: the machine cannot be its own model, because that "
                "would hide its bugs; write the state as plain values"
            )

    def initial(self) -> object:
        """The state before the first request."""
        return self._initial

    def step(self, state: object, request: Request, answer: str | None) -> tuple[bool, object]:
        """Whether the answer fits, and the state after it.

        Raises:
            BrokenOracle: the model raised an error, returned something else, or changed the state that it was given.
        """
        checked = self._checks_left > 0
        before = canonical(state) if checked else None
        try:
            returned: object = self._model.step(state, request, answer)
        except Exception as error:
            raise BrokenOracle(
                f"{raised_text('Model.step', error)}, asked about {_asked(request, answer)}; return (False, state) "
                "if the answer does not fit"
            ) from error
        if checked:
            self._checks_left -= 1
            if canonical(state) != before:
                raise BrokenOracle(
                    f"Model.step changed the state that it was given, for {_asked(request, answer)}: copy the state, "
                    "change the copy, and return it"
                )
        match returned:
            case (bool() as fits, after):
                return fits, after
        raise BrokenOracle(
            f"Model.step returned {returned!r:.100} for {_asked(request, answer)}: return (True, new_state) if the "
            "answer fits, (False, state) if not"
        )

    def partition(self, request: Request) -> Hashable:
        """The key of the request; None if it concerns all keys, or the model has no keys.

        Raises:
            BrokenOracle: the model raised an error.
        """
        if not hasattr(self._model, "partition"):
            return None
        try:
            return canonical(self._model.partition(request))
        except Exception as error:
            raise BrokenOracle(
                f"{raised_text('Model.partition', error)}, asked about {request.kind} {shortened(request.text, 100)!r}"
            ) from error

    def describe(self, state: object) -> str:
        """The state as a text for explanations."""
        try:
            if hasattr(self._model, "describe"):
                return shortened(str(self._model.describe(state)))
            return shortened(repr(state))
        except Exception as error:  # noqa: BLE001 - an explanation must not fail the run
            return f"<{raised_text('describing the state', error)}>"

    def answer(self, state: object, request: Request) -> str | None:
        """What a correct machine answers; None if the model does not know."""
        if not hasattr(self._model, "answer"):
            return None
        try:
            return shortened(str(self._model.answer(state, request)))
        except Exception as error:  # noqa: BLE001 - an explanation must not fail the run
            return f"<{raised_text('Model.answer', error)}>"


def _refuse_the_machine(model: type, machine_type: type | None) -> None:
    if machine_type is not None and issubclass(model, machine_type):
        same = "is" if model is machine_type else "inherits from"
        raise ConfigError(
            f"the Model {same} the machine {machine_type.__name__}: a machine cannot be its own model, because that "
            "would hide its bugs; write what it must answer a second time, as simply as possible"
        )


def _check_method(model: object, name: str, example: tuple[None, ...]) -> None:
    method = getattr(model, name, None)
    if method is None and name not in ("initial", "step"):
        return
    wanted = {
        "initial": "initial(self)",
        "step": "step(self, state, request, answer)",
        "partition": "partition(self, request)",
        "describe": "describe(self, state)",
        "answer": "answer(self, state, request)",
    }[name]
    kind = type(model).__name__
    if not callable(method):
        raise ConfigError(f"the model {kind} has no method {name}: write `def {wanted}`")
    try:
        inspect.signature(method).bind(*example)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{kind}.{name} cannot be called: {error}; write `def {wanted}`"
        ) from None


def _asked(request: Request, answer: str | None) -> str:
    answered = "without an answer" if answer is None else f"answered {shortened(answer, 100)!r}"
    return f"{request.kind} {shortened(request.text, 100)!r}, {answered}"
