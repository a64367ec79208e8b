"""The model of the timeline action that ends every fault: `repair: all`."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from qcore.sim.scenario.actions.disk_clock_actions import DiskRecover
from qcore.sim.scenario.actions.network_actions import Heal, LinkChange
from qcore.sim.scenario.actions.node_actions import Restart, Resume
from qcore.sim.scenario.values import Selector, Spec

#: The settings of links that harm single messages.
_IMPAIRMENTS = ("loss", "duplicate", "reorder", "corrupt")


class Repair(Spec):
    """End every fault: heal all links, start what is down, and end pauses, slow disks and wrong clocks.

    Impairments of the links between nodes end too, those of the scenario's `network` among them. Items that wait for
    their event or for a leader wait no longer, and repetitions end. Items of a later time still fire.
    """

    kind: Literal["repair"] = "repair"

    @model_validator(mode="before")
    @classmethod
    def _only_all(cls, value: object) -> object:
        if value is None or value in ("all", "everything"):
            return {}
        if not isinstance(value, dict):
            raise ValueError(f"{value!r}: write repair: all; heal and restart repair a part")
        return value


def whole_repair() -> tuple[Heal | LinkChange | Restart | Resume | DiskRecover, ...]:
    """The single repairs that end what no firing of the timeline holds."""
    every = Selector(terms=("all",))
    unimpaired = {name: 0.0 for name in _IMPAIRMENTS if name in LinkChange.model_fields}
    return (
        Heal(),
        LinkChange.model_validate(unimpaired),
        DiskRecover(nodes=every),
        Resume(nodes=every),
        Restart(nodes=Selector(terms=("down",))),
    )
