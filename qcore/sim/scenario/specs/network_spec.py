"""The network of a scenario: the quality of links, exceptions, and the links of clients."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator, model_validator

from qcore.sim.scenario.distributions import LatencySpec, uniform
from qcore.sim.scenario.specs.node_settings import Positive
from qcore.sim.scenario.values import Flag, Nodes, Probability, Selector, Spec


class QualitySpec(Spec):
    """How links treat messages. A setting that is left out stays as it was."""

    latency_ms: LatencySpec | None = Field(
        default=None, description="The one-way delay in milliseconds."
    )
    loss: Probability | None = Field(
        default=None, description="The probability that a message is lost."
    )
    duplicate: Probability | None = Field(
        default=None,
        description=(
            "The probability that a message is delivered twice. Requests that nodes forward to each other "
            "travel over one connection, once."
        ),
    )
    reorder: Probability | None = Field(
        default=None,
        description=(
            "The probability that a message gets an extra delay, in which others may overtake it. Or "
            "`{probability: 0.3, extra_ms: [0, 20]}`."
        ),
    )
    reorder_extra_ms: LatencySpec | None = Field(
        default=None,
        description="The extra delay of messages that are reordered or duplicated, in milliseconds.",
    )
    bandwidth_bytes_per_s: Positive | None = Field(
        default=None,
        description="The bytes that a link carries in a second; messages queue for it. Left out: no limit.",
    )

    @model_validator(mode="before")
    @classmethod
    def _other_names(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        names = {
            "latency": "latency_ms",
            "duplication": "duplicate",
            "duplicates": "duplicate",
            "reordering": "reorder",
            "bandwidth": "bandwidth_bytes_per_s",
        }
        renamed = {names.get(key, key): item for key, item in value.items()}
        reorder = renamed.get("reorder")
        if isinstance(reorder, dict):
            if set(reorder) != {"probability", "extra_ms"}:
                raise ValueError(
                    "reorder is a probability, or {probability: 0.1, extra_ms: [0, 20]}"
                )
            renamed["reorder"] = reorder["probability"]
            renamed["reorder_extra_ms"] = reorder["extra_ms"]
        return renamed


class LinkSpec(QualitySpec):
    """Links that differ from the others: from `from` to `to`; in both directions with `both`."""

    source: Nodes = Field(alias="from", description="The nodes that send: ids, `all` or `rest`.")
    target: Nodes = Field(alias="to", description="The nodes that receive: ids, `all` or `rest`.")
    both: Flag = Field(
        default=False, description="Whether the links in the other direction differ, too."
    )

    @field_validator("source", "target")
    @classmethod
    def _ids_only(cls, value: Selector, info: ValidationInfo) -> Selector:
        for term in value.terms:
            if isinstance(term, str) and term not in ("all", "rest"):
                raise ValueError(
                    f"{term!r} is not known before the run; name nodes by id, all or rest"
                )
        return value


class ClientLinkSpec(Spec):
    """The links between clients and nodes."""

    latency_ms: LatencySpec | None = Field(
        default=None,
        description="The one-way delay in milliseconds. Left out: that of the links between nodes.",
    )
    loss: Probability = Field(default=0.0, description="The probability that a message is lost.")


class NetworkSpec(QualitySpec):
    """All links between nodes. `links` lists exceptions; `clients` describes the links of the clients.

    By default the links of clients have the same latency and lose nothing. They never duplicate or reorder messages,
    because each of them stands for one connection.
    """

    latency_ms: LatencySpec = Field(
        default=uniform(1, 5), description="The one-way delay in milliseconds."
    )
    links: tuple[LinkSpec, ...] = Field(
        default=(), description="Links that differ from the others."
    )
    clients: ClientLinkSpec | None = Field(
        default=None, description="The links between clients and nodes."
    )

    @field_validator("links", mode="before")
    @classmethod
    def _list_of_links(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value
