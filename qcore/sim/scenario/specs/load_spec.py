"""The parts of a workload that shape the load: pinned clients, phases, skewed keys and the sizes of values."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from qcore.sim.scenario.distributions import LatencySpec
from qcore.sim.scenario.specs.node_settings import Positive
from qcore.sim.scenario.values import Milliseconds, NodeId, Probability, Spec


def _nodes_or_name(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        value = (value,)
    if isinstance(value, list | tuple):
        ids = tuple(value)
        if not ids or len(set(map(repr, ids))) != len(ids):
            raise ValueError(f"{list(ids)}: give at least one node id, and each id once")
        return ids
    if value not in (None, "leader", "spread"):
        raise ValueError(f"{value!r:.100}: write a node id, a list of ids, leader or spread")
    return value


#: The nodes that clients ask first: ids, or a name.
Pinned = Annotated[
    tuple[NodeId, ...] | Literal["leader", "spread"] | None, BeforeValidator(_nodes_or_name)
]


class PhaseSpec(Spec):
    """A part of the load with another rate or mix. What a phase leaves out stays as the workload says."""

    until_ms: Milliseconds | None = Field(
        default=None,
        description="The simulated time at which the phase ends and the next one begins. Only the last phase may leave "
        "it out; after a last phase that gives it, the load is as the workload says.",
    )
    rate_per_s: Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)] | None = Field(
        default=None,
        description="Operations per second of all clients together, in the open loop; 0 is a pause.",
    )
    think_ms: LatencySpec | None = Field(
        default=None,
        description="Closed loop: the pause between two operations of a client, a distribution.",
    )
    read_fraction: Probability | None = Field(default=None, description="The share of reads.")
    cas_fraction: Probability | None = Field(
        default=None, description="The share of cas operations."
    )


def _phases(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _ordered_phases(value: tuple[PhaseSpec, ...]) -> tuple[PhaseSpec, ...]:
    for number, phase in enumerate(value):
        if phase.until_ms is None:
            if number < len(value) - 1:
                raise ValueError(
                    f"phase {number + 1} has no until_ms, so the phases after it would never begin; only the last one "
                    "may leave it out"
                )
            continue
        before = value[number - 1].until_ms if number else 0.0
        assert before is not None, "all phases but the last have an end"
        if phase.until_ms <= before:
            raise ValueError(
                f"phase {number + 1} ends at {phase.until_ms:g} ms, but it begins at {before:g} ms; list the phases in "
                "the order of their until_ms"
            )
    return value


#: The phases of the load, in the order of their times.
Phases = Annotated[tuple[PhaseSpec, ...], BeforeValidator(_phases), AfterValidator(_ordered_phases)]


class KeySkewSpec(Spec):
    """How unevenly operations choose their keys: `{zipf: 1.1}` or `{hot_fraction: 0.9, hot_keys: 1}`."""

    is_value: ClassVar[bool] = True

    zipf: Annotated[float, Field(gt=0, le=10, strict=True)] | None = Field(
        default=None,
        description="The exponent s of Zipf's law: the n-th key is drawn in proportion to 1 / n ** s.",
    )
    hot_fraction: Probability | None = Field(
        default=None, description="The share of operations that go to the hot keys."
    )
    hot_keys: Positive = Field(
        default=1, description="How many keys are hot: the first ones, from k0."
    )

    @model_validator(mode="after")
    def _one_shape(self) -> KeySkewSpec:
        if (self.zipf is None) == (self.hot_fraction is None):
            raise ValueError("give either zipf, or hot_fraction with hot_keys")
        if self.zipf is not None and "hot_keys" in self.model_fields_set:
            raise ValueError("hot_keys goes with hot_fraction, not with zipf; leave it out")
        return self

    def weights(self, keys: int) -> list[float]:
        """The weight of each key."""
        if self.zipf is not None:
            return [1 / number**self.zipf for number in range(1, keys + 1)]
        assert self.hot_fraction is not None
        hot, cold = self.hot_keys, keys - self.hot_keys
        return [self.hot_fraction / hot] * hot + [(1 - self.hot_fraction) / cold] * cold


#: Values of unique text have room for the client's number and its count, and are far below the limit of a request.
VALUE_BYTES_MIN, VALUE_BYTES_MAX = 16, 256 * 1024

_Size = Annotated[int, Field(ge=VALUE_BYTES_MIN, le=VALUE_BYTES_MAX, strict=True)]


def _sizes(value: object) -> object:
    if isinstance(value, int):
        return (value, value)
    return tuple(value) if isinstance(value, list) else value


def _ordered_sizes(value: tuple[int, int] | None) -> tuple[int, int] | None:
    if value is not None and value[1] < value[0]:
        raise ValueError(f"no size is from {value[0]} to {value[1]}; the lower one comes first")
    return value


#: The smallest and the largest size of the values, in bytes; None: plain numbers.
ValueBytes = Annotated[
    tuple[_Size, _Size] | None, BeforeValidator(_sizes), AfterValidator(_ordered_sizes)
]
