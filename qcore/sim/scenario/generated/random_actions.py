"""Actions that each seed chooses: one of several, and actions whose values are drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import islice, product
from random import Random

from pydantic import Field, ValidationError

from qcore.sim.scenario.actions.registry import ACTIONS, Action, read_action
from qcore.sim.scenario.frozen_model import keys_of, known_keys_text, problem_text
from qcore.sim.scenario.values import Spec

#: The most combinations of drawn values that are checked when a scenario is read.
_MAX_CHECKED = 64


def action_of(key: object, value: object, other_keys: Sequence[str] = ()) -> Action:
    """Read one action.

    Args:
        key, value: as the scenario file gives them.
        other_keys: the keys that the error names beside the actions.

    Raises:
        ValueError: there is no such action, or the value does not fit it.
    """
    if not isinstance(key, str) or key not in ACTIONS:
        times = f"; times are {', '.join(other_keys)}" if other_keys else ""
        near = get_close_matches(str(key), [*ACTIONS, *other_keys], n=1)
        hint = f"did you mean {near[0]}? Actions" if near else "actions"
        raise ValueError(f"{key}: unknown key; {hint} are {', '.join(ACTIONS)}{times}")
    try:
        return read_action(key, value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in keys_of(first))
        message = problem_text(first)
        if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
            message += known_keys_text(ACTIONS[key], where)
        inner = f".{where}" if where not in ("", key) else ""
        raise ValueError(f"{key}{inner}: {message}") from None


class RandomAction(Spec):
    """Actions that the seed decides.

    Attributes:
        choices: one of these is drawn. Each is a JSON object of actions, in which `{draw: [low, high]}` stands for a
            drawn number, and `{one_of: [...]}` for one of several values.
    """

    choices: tuple[str, ...] = Field(
        description="The blocks of actions, as texts of JSON, of which one is drawn."
    )

    @classmethod
    def read(cls, choices: Sequence[object], other_keys: Sequence[str] = ()) -> RandomAction:
        """Read the blocks of actions from which one is drawn.

        Raises:
            ValueError: there is none, a block is not a map of actions, or an action is invalid with some values.
        """
        if not choices:
            raise ValueError("one_of: an empty list offers no action; name those to choose from")
        for block in choices:
            if not isinstance(block, dict) or not block:
                raise ValueError(
                    f"one_of: {block!r} is not an action; write for example {{crash: leader}}"
                )
            for variant in islice(_variants(block), _MAX_CHECKED):
                assert isinstance(variant, dict)
                for key, value in variant.items():
                    action_of(key, value, other_keys)
        return cls(choices=tuple(json.dumps(block) for block in choices))

    def blocks(self) -> list[object]:
        """The choices as a scenario file gives them."""
        return [json.loads(text) for text in self.choices]

    def possible(self) -> list[Action]:
        """Every action that may be drawn, with the bounds of drawn numbers."""
        return [
            action_of(key, value)
            for block in self.blocks()
            for variant in islice(_variants(block), _MAX_CHECKED)
            if isinstance(variant, dict)
            for key, value in variant.items()
        ]

    def draw(self, rng: Random) -> list[Action]:
        """Draw the actions of one firing."""
        block = self.blocks()[int(rng.random() * len(self.choices))]
        drawn = _drawn(block, rng)
        assert isinstance(drawn, dict)
        return [action_of(key, value) for key, value in drawn.items()]


def has_choices(value: object) -> bool:
    """Whether a value of a scenario file leaves something to the seed."""
    if isinstance(value, list):
        return any(has_choices(item) for item in value)
    if not isinstance(value, dict):
        return False
    return _is_choice(value) or any(has_choices(item) for item in value.values())


def _is_choice(value: dict[object, object]) -> bool:
    return set(value) in ({"draw"}, {"one_of"})


def _range(value: object) -> tuple[float, float]:
    """The ends of `{draw: [low, high]}`.

    Raises:
        ValueError: the value is not a pair of numbers in ascending order.
    """
    if (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(end, int | float) and not isinstance(end, bool) for end in value)
        and value[0] <= value[1]
    ):
        return value[0], value[1]
    raise ValueError(f"draw: {value!r}; write [low, high], two numbers in ascending order")


def _offers(value: dict[object, object]) -> list[object]:
    """The values between which a choice decides; the ends of a range."""
    if "draw" in value:
        return list(_range(value["draw"]))
    offers = value["one_of"]
    if not isinstance(offers, list) or not offers:
        raise ValueError(f"one_of: {offers!r}; write a list of the values to choose from")
    return offers


def _variants(value: object) -> Iterator[object]:
    """The value with its choices made in every way; a drawn number takes the ends of its range."""
    if isinstance(value, list):
        yield from (list(items) for items in product(*map(_all_variants, value)))
    elif isinstance(value, dict) and _is_choice(value):
        for offer in _offers(value):
            yield from _variants(offer)
    elif isinstance(value, dict):
        keys = list(value)
        for items in product(*(_all_variants(value[key]) for key in keys)):
            yield dict(zip(keys, items, strict=True))
    else:
        yield value


def _all_variants(value: object) -> list[object]:
    return list(islice(_variants(value), _MAX_CHECKED))


def _drawn(value: object, rng: Random) -> object:
    if isinstance(value, list):
        return [_drawn(item, rng) for item in value]
    if not isinstance(value, dict):
        return value
    if "draw" in value and _is_choice(value):
        low, high = _range(value["draw"])
        if isinstance(low, int) and isinstance(high, int):
            return rng.randint(low, high)
        return round(rng.uniform(low, high), 4)
    if _is_choice(value):
        offers = _offers(value)
        return _drawn(offers[int(rng.random() * len(offers))], rng)
    return {key: _drawn(item, rng) for key, item in value.items()}
