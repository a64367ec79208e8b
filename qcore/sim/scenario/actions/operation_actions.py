"""The models of timeline actions that are single client operations: one write or read at a given node."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from qcore.sim.scenario.specs.node_settings import Natural
from qcore.sim.scenario.values import Nodes, ReadKinds, Spec, known_outcomes, one_or_several

#: The outcomes of an operation: ok, refused or unknown, or the name of the error that it ended with.
OPERATION_OUTCOMES = (
    "ok",
    "refused",
    "unknown",
    "NotLeader",
    "Overloaded",
    "DiskFull",
    "QuotaExceeded",
    "TooStale",
    "TooLarge",
    "ResultTooLarge",
    "ResultInvalid",
    "DeadlineExceeded",
    "OutcomeUnknown",
    "ProposalDropped",
    "StoreError",
    "timeout",
    "connection refused",
    "connection lost",
)


class OperationAction(Spec):
    """One client operation at a given node. `write: leader`, `read: {node: 2, key: k0}`.

    Attributes:
        read_kind, max_staleness_ms: for a read; those of the workload if left out.
        expect: the value that the read must find; null for a register that was never written.
        outcome: the outcome that it must have: `ok`, `refused`, `unknown` or the name of an error, or a list of
            these.
    """

    kind: Literal["operation"] = "operation"
    op: Literal["write", "read"]
    read_kind: ReadKinds | None = Field(
        default=None, description="For a read: how it is served. Left out: as in the workload."
    )
    max_staleness_ms: Natural | None = Field(
        default=None,
        description="For a stale read: the allowed age of the state, in milliseconds. Left out: as in the workload.",
    )
    node: Nodes = Field(description="The node that receives it, once.")
    key: str | None = Field(
        default=None,
        description=(
            "The register; `k0` if left out. With the machine entity it must be a register of the workload, "
            "and the operation waits until these exist."
        ),
    )
    value: str | int | None = Field(
        default=None,
        description="For a write: the value. Left out: one that no other operation writes.",
    )
    timeout_ms: Annotated[int, Field(ge=1, strict=True)] = Field(
        default=1000, description="The time in milliseconds after which the outcome is unknown."
    )
    expect: str | int | float | bool | None = Field(
        default=None,
        description="For a read: the value that it must find; null for a register that was never written.",
    )
    outcome: tuple[str, ...] | None = Field(
        default=None,
        description=(
            "The outcome that it must have, or a list of allowed ones: `ok`, `refused` (rejected, certainly "
            "without effect), `unknown`, or the precise reason."
        ),
    )

    @property
    def expects_a_value(self) -> bool:
        """Whether the scenario gives `expect`. Null is a value, too, so the value alone does not show it."""
        return "expect" in self.model_fields_set

    @field_validator("outcome", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return one_or_several(value)

    @field_validator("outcome")
    @classmethod
    def _known_outcome(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return known_outcomes(value, OPERATION_OUTCOMES)

    @model_validator(mode="after")
    def _goes_together(self) -> OperationAction:
        if self.op == "write":
            for name in ("read_kind", "max_staleness_ms", "expect"):
                if name in self.model_fields_set:
                    raise ValueError(f"{name} goes with a read, not with a write")
        elif "value" in self.model_fields_set:
            raise ValueError("a read has no value; give what it must find as `expect`")
        elif self.expects_a_value and self.outcome is not None and "ok" not in self.outcome:
            raise ValueError(
                f"expect: a read that ends with {' or '.join(self.outcome)} finds nothing; leave out `expect` or "
                "`outcome`"
            )
        return self

    @field_validator("value", mode="before")
    @classmethod
    def _text_or_number(cls, value: object) -> object:
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise ValueError(
                f"{json.dumps(value, default=str)} cannot be written; give a text or a whole number, or leave "
                "`value` out for one that no other operation writes"
            )
        return value

    @field_validator("key", mode="before")
    @classmethod
    def _key_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
