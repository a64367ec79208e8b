"""The values that scenario files share: times, counts, outcomes, kinds of reads, and selectors of nodes."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from qcore.errors import ConfigError
from qcore.sim.scenario.frozen_model import FrozenModel
from qcore.sim.scenario.validation_scope import current_scope

Milliseconds = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, strict=True)]
NodeId = Annotated[int, Field(ge=1, strict=True)]
Flag = Annotated[bool, Field(strict=True)]

#: The kinds of reads; see `qcore.replica.messages.RequestKind`.
ReadKind = Literal["read", "lease_read", "follower_read", "stale_read"]

#: What the order of the requests that explains all answers must respect: see `expect.consistency`.
ConsistencyLevel = Literal["linearizable", "sequential", "serializable"]

#: How much of a real node runs in the simulator: core and replica, or everything but the operating system.
Fidelity = Literal["replica", "node"]


def one_or_several(value: object) -> object:
    """Accept one value where a list is allowed."""
    if value is None or isinstance(value, tuple):
        return value
    return tuple(value) if isinstance(value, list) else (value,)


def known_outcomes(value: tuple[str, ...] | None, known: tuple[str, ...]) -> tuple[str, ...] | None:
    """Check the outcomes that an item allows; None allows all.

    Raises:
        ValueError: the list is empty, or names an outcome that does not exist.
    """
    if value == ():
        raise ValueError("an empty list allows no outcome; name the allowed ones, or leave it out")
    for name in value or ():
        if name not in known:
            raise ValueError(f"no outcome is called {name!r}; there are {', '.join(known)}")
    return value


#: One kind of read, or several, from which each read draws one.
ReadKinds = Annotated[tuple[ReadKind, ...], BeforeValidator(one_or_several), Field(min_length=1)]


class Spec(FrozenModel):
    """Base of all parts of a scenario. It rejects unknown keys, and nothing changes after loading."""


def microseconds(milliseconds: float) -> int:
    """Convert to microseconds, the time unit of the simulator."""
    return round(milliseconds * 1000)


def check_seed(seed: object) -> None:
    """Check that a seed is an integer.

    Raises:
        ConfigError: it is something else.
    """
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ConfigError(f"a seed is an integer, not {seed!r:.100}")


# -- counts ---------------------------------------------------------------------------------------

_BOUND = re.compile(r"(>=|<=)\s*(\d+(?:\.\d+)?)")
_COMPARISON = re.compile(r"(>=|<=|==?|>|<)\s*(\d+)")


class Count(Spec):
    """The allowed values of a number: `3` exactly, `{at_least: 1, at_most: 5}`, or a text such as `">= 3"`."""

    is_value: ClassVar[bool] = True

    at_least: Annotated[int, Field(ge=0, strict=True)] = Field(
        default=0, description="The smallest allowed number."
    )
    at_most: Annotated[int, Field(ge=0, strict=True)] | None = Field(
        default=None, description="The largest allowed number; no limit if left out."
    )

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: object) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"at_least": value, "at_most": value}
        if isinstance(value, str):
            return _comparison(value)
        if isinstance(value, list) and len(value) == 2:
            return {"at_least": value[0], "at_most": value[1]}
        if isinstance(value, dict):
            names = {"min": "at_least", "max": "at_most"}
            return {names.get(key, key): item for key, item in value.items()}
        raise ValueError(
            f"{value!r} is not a count; write 3, {{at_least: 1, at_most: 5}} or '>= 3'"
        )

    @model_validator(mode="after")
    def _some_number(self) -> Count:
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(
                f"no number is at least {self.at_least} and at most {self.at_most}; the lower one comes first"
            )
        return self

    def holds(self, number: int) -> bool:
        return self.at_least <= number and (self.at_most is None or number <= self.at_most)

    def __str__(self) -> str:
        if self.at_most is None:
            return f"at least {self.at_least}"
        if self.at_least == self.at_most:
            return str(self.at_least)
        if not self.at_least:
            return f"at most {self.at_most}"
        return f"{self.at_least} to {self.at_most}"


def _comparison(text: str) -> dict[str, int]:
    match = _COMPARISON.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a count; write 3, {{at_least: 1, at_most: 5}} or '>= 3'")
    operator, number = match[1], int(match[2])
    match operator:
        case ">=":
            return {"at_least": number}
        case ">":
            return {"at_least": number + 1}
        case "<=":
            return {"at_most": number}
        case "<" if number:
            return {"at_most": number - 1}
        case "<":
            raise ValueError("no count is below 0")
    return {"at_least": number, "at_most": number}


class Ratio(Spec):
    """The allowed values of a ratio: a text such as `"<= 12"` or `">= 0.5"`, or `{at_least: 2, at_most: 12.5}`."""

    at_least: Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)] = Field(
        0.0, description="The lowest allowed value."
    )
    at_most: Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)] | None = Field(
        None, description="The highest allowed value."
    )

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: object) -> object:
        if isinstance(value, dict | Ratio):
            return value
        if isinstance(value, str) and (match := _BOUND.fullmatch(value.strip())):
            return {"at_least" if match[1] == ">=" else "at_most": float(match[2])}
        raise ValueError(
            f"{value!r} is not a bound of a ratio; write '<= 12', '>= 0.5' or {{at_least: 2, at_most: 12.5}}"
        )

    @model_validator(mode="after")
    def _some_number(self) -> Ratio:
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(
                f"no number is at least {self.at_least:g} and at most {self.at_most:g}; the lower one comes first"
            )
        return self

    def holds(self, number: float) -> bool:
        return self.at_least <= number and (self.at_most is None or number <= self.at_most)

    def __str__(self) -> str:
        if self.at_most is None:
            return f"at least {self.at_least:g}"
        return (
            f"{self.at_least:g} to {self.at_most:g}"
            if self.at_least
            else f"at most {self.at_most:g}"
        )


# -- selectors of nodes ---------------------------------------------------------------------------

_NAMES = {
    "leader": "leader",
    "the_leader": "leader",
    "old_leader": "old_leader",
    "followers": "followers",
    "follower": "follower_1",
    "rest": "rest",
    "the_rest": "rest",
    "others": "rest",
    "other": "rest",
    "all": "all",
    "everyone": "all",
    "every": "all",
    "down": "down",
    "crashed": "down",
    "stopped": "down",
    "paused": "paused",
    "majority": "majority",
    "minority": "minority",
    "random": "random",
    "clients": "clients",
    "voters": "voters",
    "learners": "learners",
    "candidate": "candidate",
    "candidates": "candidates",
    "lease_holder": "lease_holder",
    "sender": "sender",
    "receiver": "receiver",
    "event_node": "event_node",
}
#: Names that draw nodes, from which no other name can draw.
_DRAWN = ("random", "majority", "minority", "rest", "candidate")
_REGION_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_NUMBERED = re.compile(r"(node|n|follower|client|random)[_ :-]?(\d+)")
_KINDS = {"follower": "follower_{}", "client": "client_{}", "random": "random_{}"}

NAME_HELP = (
    "node ids such as 1, leader, old_leader, followers, follower_1, rest, all, down, paused, "
    "majority, minority, random, {random: 2, of: followers}, voters, learners, candidate, candidates, lease_holder, "
    "sender, receiver, event_node, clients, client_1"
)


class Selector(Spec):
    """The nodes (or clients) that an action acts on. Symbolic names are resolved when the action fires.

    `terms` are node ids and canonical names. `random_k` means k nodes drawn from those that `pool` names.
    """

    is_value: ClassVar[bool] = True

    terms: tuple[int | str, ...] = Field(description="Ids and canonical names.")
    pool: tuple[int | str, ...] = Field(
        default=("all",), description="The nodes from which `random` draws."
    )

    @property
    def names_rest(self) -> bool:
        return "rest" in self.terms

    def __str__(self) -> str:
        return "+".join(map(str, self.terms))


def parse_selector(value: object) -> object:
    """Read a selector from one of the forms that a scenario file may use."""
    if isinstance(value, Selector):
        return value
    if isinstance(value, dict):
        if set(value) <= {"random", "of"} and "random" in value:
            amount = value["random"]
            if isinstance(amount, bool) or not isinstance(amount, int) or amount < 1:
                raise ValueError(f"random: {amount!r} is not a number of nodes")
            return Selector(terms=(f"random_{amount}",), pool=_pool(value.get("of", "all")))
        raise ValueError(f"{value!r} names no nodes; write {NAME_HELP}")
    items = value if isinstance(value, list | tuple) else [value]
    if not items:
        raise ValueError(f"an empty list names no nodes; write {NAME_HELP}")
    terms: list[int | str] = []
    pool: tuple[int | str, ...] = ("all",)
    for item in items:
        if isinstance(item, dict | Selector):
            inner = parse_selector(item)
            assert isinstance(inner, Selector)
            terms += inner.terms
            pool = inner.pool
        else:
            terms += _terms(item)
    return Selector(terms=tuple(terms), pool=pool)


def _pool(value: object) -> tuple[int | str, ...]:
    """The nodes from which random picks draw."""
    selector = parse_selector(value)
    assert isinstance(selector, Selector)
    for term in selector.terms:
        if isinstance(term, str) and term.partition("_")[0] in (*_DRAWN, "client", "clients"):
            raise ValueError(
                f"random of {term}: draw from names that are not drawn themselves, such as followers, voters or [1, 2]"
            )
    return selector.terms


def check_region_name(name: str) -> None:
    """Check that a region's name means nothing else where nodes are named.

    Raises:
        ValueError: it has another meaning, or is no name.
    """
    if not _REGION_NAME.fullmatch(name):
        raise ValueError(f"regions: {name!r}: a name has letters, digits, _ and -, such as eu-1")
    if _term(name) is not None:
        raise ValueError(f"regions: {name!r} already names nodes; use another name")


def _terms(item: object) -> tuple[int | str, ...]:
    term = _term(item)
    if term is not None:
        return (term,)
    regions = current_scope().regions
    if isinstance(item, str) and item.strip() in regions:
        return regions[item.strip()]
    names = f", or a region: {', '.join(regions)}" if regions else ""
    raise ValueError(f"{item!r} names no node; write {NAME_HELP}{names}")


def _term(item: object) -> int | str | None:
    """The term for a node id or a symbolic name; None if it is neither."""
    if isinstance(item, int) and not isinstance(item, bool):
        if item < 1:
            raise ValueError(f"{item} is not a node id; ids start at 1")
        return item
    if isinstance(item, str):
        text = item.strip().lower()
        if text.isdigit() and int(text) > 0:
            return int(text)
        if text in _NAMES:
            return _NAMES[text]
        match = _NUMBERED.fullmatch(text)
        if match is not None and int(match[2]) > 0:
            number = int(match[2])
            return _KINDS[match[1]].format(number) if match[1] in _KINDS else number
    return None


Nodes = Annotated[Selector, BeforeValidator(parse_selector)]


def distinct_ends(source: Selector | None, target: Selector | None) -> None:
    """Check that the two ends are not the same node.

    Raises:
        ValueError: they are the same node.
    """
    if source is None or target is None or not isinstance(source.terms[0], int):
        return
    if {*source.terms} == {*target.terms} == {source.terms[0]}:
        raise ValueError(f"from {source} to {target}: no link leads from a node to itself")
