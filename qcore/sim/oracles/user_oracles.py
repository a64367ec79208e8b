"""`Oracles`: what a user gives to judge runs of a machine, from its file or from Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType

from qcore.errors import ConfigError
from qcore.machines.interface import StateMachine
from qcore.sim.oracles.model.sequential_model import ModelRunner
from qcore.sim.oracles.properties import Property

#: The steps of a model that a search may take. Small models take about 100,000 steps in a second.
DEFAULT_BUDGET = 200_000


@dataclass(slots=True, frozen=True)
class Oracles:
    """Judges of one run. Each part may be left out.

    Attributes:
        invariant: called with the machine object of the node that has just applied an entry or restored a snapshot. It
            fails by returning False or a text, or by raising AssertionError.
        check: called with the history at the end, a sequence of `RequestRecord`. It fails by returning False, a text or
            texts, or by raising AssertionError.
        properties: functions under `@always`, `@sometimes` or `@eventually`.
        model: the class of a `SequentialModel`. Some order of the requests must explain every answer.
        budget: how many steps of the model a search for such an order may take, over all keys. A count and not a time,
            so that a run has the same verdict everywhere; 100,000 steps of a small model take about a second.
    """

    invariant: Callable[..., object] | None = None
    check: Callable[..., object] | None = None
    properties: Sequence[Property] = field(default=())
    model: Callable[[], object] | None = None
    budget: int = DEFAULT_BUDGET

    def __bool__(self) -> bool:
        return any((self.invariant, self.check, self.properties, self.model))


def oracles_in(module: ModuleType | None) -> Oracles:
    """The oracles that a module defines, by their names.

    Raises:
        ConfigError: a name does not mean what it must.
    """
    if module is None:
        return Oracles()
    names = vars(module)
    for name in ("always", "sometimes", "eventually"):
        if inspect.isclass(names.get(name)):
            raise ConfigError(f"{module.__name__}: {name} is a class, not the decorator of qcore")
    found: list[Property] = []
    for value in names.values():
        if isinstance(value, Property) and not any(value is other for other in found):
            found.append(value)
    return Oracles(names.get("invariant"), names.get("check"), tuple(found), names.get("Model"))


def together(from_file: Oracles, given: Oracles | None) -> Oracles:
    """The oracles of both. Where both have a part that can exist only once, the one given in Python counts."""
    if given is None:
        return from_file
    return Oracles(
        given.invariant or from_file.invariant,
        given.check or from_file.check,
        (*from_file.properties, *(p for p in given.properties if p not in from_file.properties)),
        given.model or from_file.model,
        given.budget,
    )


def checked_model(oracles: Oracles, make: Callable[[], StateMachine]) -> ModelRunner | None:
    """Check every part before the run.

    Args:
        oracles: the parts.
        make: makes a machine.

    Returns:
        The model, ready to be asked; None without one.

    Raises:
        ConfigError: a part is unusable. The text names it and says what to write.
    """
    _check_function("invariant", oracles.invariant, "invariant(state)")
    _check_function("check", oracles.check, "check(history)")
    for one in oracles.properties:
        given: object = one
        if not isinstance(given, Property):
            raise ConfigError(
                f"properties: {given!r:.100} is no property: put @always, @sometimes or @eventually above the function"
            )
        _check_function(one.name, one.function, f"{one.name}(state)")
    budget: object = oracles.budget
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
        raise ConfigError(f"the budget of a search is a number of steps from 1 on, not {budget!r}")
    if oracles.model is None:
        return None
    if not callable(oracles.model):
        raise ConfigError(
            f"Model is {oracles.model!r:.100} and not a class: write `class Model` with initial and step"
        )
    return ModelRunner(oracles.model, type(make()))


def _check_function(name: str, function: object, wanted: str) -> None:
    if function is None:
        return
    if not callable(function):
        raise ConfigError(f"{name} is {function!r:.100} and not a function: write `def {wanted}`")
    if inspect.iscoroutinefunction(function):
        raise ConfigError(f"{name} is `async`: write `def {wanted}`")
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise ConfigError(f"{name} cannot be called: {error}; write `def {wanted}`") from None
    except ValueError:
        return  # a built-in function has no signature
