"""Settings of a single node that differ from those of the cluster, from the start or after a restart."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

from pydantic import Field, field_validator

from qcore.core.config import Safeguards
from qcore.core.version import LATEST_RULES
from qcore.sim.scenario.specs.setting_keys import NodeKeys
from qcore.sim.scenario.values import Flag

Positive = Annotated[int, Field(ge=1, strict=True)]
Natural = Annotated[int, Field(ge=0, strict=True)]
Rules = Annotated[int, Field(ge=1, le=LATEST_RULES, strict=True)]


def timeout_range(value: object) -> object:
    """Accept `[min, max]`, or one number n, which means `[n, 2n]`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, 2 * value)
    return tuple(value) if isinstance(value, list) else value


def known_safeguards(value: dict[str, bool]) -> dict[str, bool]:
    """Check that every name is a field of `qcore.core.config.Safeguards`.

    Raises:
        ValueError: a name is unknown.
    """
    known = [field.name for field in fields(Safeguards)]
    for name in value:
        if name not in known:
            raise ValueError(f"no safeguard is called {name!r}; there are {', '.join(known)}")
    return value


class NodeSettings(NodeKeys):
    """Settings of one node. A setting that is left out stays as it was.

    Each means the same as in `cluster`; `priority` is the node's entry in `priorities`.
    """

    election_timeout_ms: tuple[Positive, Positive] | None = Field(
        default=None, description="The range of the node's election timeout in milliseconds."
    )
    priority: Natural | None = Field(
        default=None, description="The node's priority, in place of an entry in `priorities`."
    )
    safeguards: dict[str, Flag] | None = Field(
        default=None,
        description="Rules that this node does not follow, in addition to those of the cluster.",
    )

    @field_validator("election_timeout_ms", mode="before")
    @classmethod
    def _range(cls, value: object) -> object:
        return timeout_range(value)

    @field_validator("safeguards")
    @classmethod
    def _known_safeguards(cls, value: dict[str, bool] | None) -> dict[str, bool] | None:
        return None if value is None else known_safeguards(value)

    def changed(self, by: NodeSettings | None) -> NodeSettings:
        """These settings, replaced by those of `by` that are given."""
        if by is None:
            return self
        values = {name: getattr(by, name) for name in type(self).model_fields}
        return self.model_copy(
            update={name: value for name, value in values.items() if value is not None}
        )


#: The settings of a node that does not differ from its cluster.
NO_SETTINGS = NodeSettings()
