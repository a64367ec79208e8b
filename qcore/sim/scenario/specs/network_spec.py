"""The network of a scenario: the quality of links, exceptions, and the links of clients."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from pydantic import Field, ValidationInfo, field_validator, model_validator

from qcore.sim.scenario.distributions import Distribution, LatencySpec, uniform
from qcore.sim.scenario.specs.node_settings import Positive
from qcore.sim.scenario.values import (
    Flag,
    Nodes,
    Probability,
    Selector,
    Spec,
    check_region_name,
)


class QualitySpec(Spec):
    """How links treat messages. A setting that is left out stays as it was."""

    latency_ms: LatencySpec | None = Field(default=None, description="The one-way delay.")
    loss: Probability | None = Field(
        default=None, description="The probability that a message is lost."
    )
    duplicate: Probability | None = Field(
        default=None,
        description="The probability that a message arrives twice, the copy after a separate delay.",
    )
    reorder: Probability | None = Field(
        default=None,
        description="The probability that a message takes `reorder_extra_ms` more, in which others may overtake it.",
    )
    reorder_extra_ms: LatencySpec | None = Field(
        default=None, description="The extra delay of reordered and duplicated messages."
    )
    corrupt: Probability | None = Field(
        default=None,
        description="The probability that a message is damaged. Its receiver finds that out by the checksum, drops the "
        "message and closes the connection.",
    )
    bandwidth_bytes_per_s: Positive | None = Field(
        default=None, description="The bandwidth of each link, for which messages queue."
    )
    queue_length: Positive | None = Field(
        default=None,
        description="How many messages may queue for the bandwidth, with the one that is being sent. Further messages "
        "are lost.",
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
            "corruption": "corrupt",
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

    source: Nodes = Field(
        alias="from", description="Where the links begin: ids, a region, `all` or `rest`."
    )
    target: Nodes = Field(
        alias="to", description="Where the links end: ids, a region, `all` or `rest`."
    )
    both: Flag = Field(default=False, description="Also the links of the other direction.")

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
        default=None, description="The one-way delay; by default that of the links between nodes."
    )
    loss: Probability = Field(default=0.0, description="The probability that a message is lost.")
    corrupt: Probability = Field(
        default=0.0,
        description="The probability that a message is damaged. Its receiver drops it, and the client learns that its "
        "connection was lost.",
    )


class NetworkSpec(QualitySpec):
    """All links between nodes. `links` lists exceptions; `clients` describes the links of the clients.

    By default the links of clients have the same latency and lose nothing. They never duplicate or reorder messages,
    because each of them stands for one connection.

    With `regions`, `latency_ms` is the latency within a region, and `region_latency_ms` the latency between two.
    """

    latency_ms: LatencySpec = Field(
        default=uniform(1, 5),
        description="The one-way delay; with `regions`, within each region.",
    )
    links: tuple[LinkSpec, ...] = Field(
        default=(),
        description="Links that differ from the others, the later ones of the list last.",
    )
    clients: ClientLinkSpec | None = Field(
        default=None, description="The links between clients and nodes."
    )
    regions: dict[str, Nodes] = Field(
        default_factory=dict,
        description="The members of each region, by its name: node ids, and clients (`client_1`, `clients`). Every "
        "node is in one region. The name stands for the region's nodes wherever nodes are named.",
    )
    region_latency_ms: dict[str, dict[str, LatencySpec]] = Field(
        default_factory=dict,
        description="The one-way delay from region to region, `{eu: {us: 40}}`. It also holds for the way back, unless "
        "that is given too. `{eu: {eu: 1}}` is the latency within a region.",
    )

    @field_validator("links", mode="before")
    @classmethod
    def _list_of_links(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _complete_regions(self) -> NetworkSpec:
        place: dict[int | str, str] = {}
        for region, members in self.regions.items():
            check_region_name(region)
            for term in members.terms:
                if isinstance(term, str) and not term.startswith("client"):
                    raise ValueError(
                        f"regions: {region}: {term}: a region has node ids and clients as members"
                    )
                if term in place:
                    raise ValueError(f"regions: {term} is in {place[term]} and in {region}")
                place[term] = region
        for one, row in self.region_latency_ms.items():
            for other in (one, *row):
                if other not in self.regions:
                    raise ValueError(
                        f"region_latency_ms: there is no region {other!r}; {_region_list(self.regions)}"
                    )
        for one, other in combinations(self.regions, 2):
            if self._between_regions(one, other) is None:
                raise ValueError(
                    f"region_latency_ms: there is no latency between {one} and {other}; add {{{one}: {{{other}: 50}}}}"
                )
        return self

    def latency_between(self, source: int, target: int) -> Distribution | None:
        """The latency that the regions give a link; None if they give it none.

        Args:
            source, target: the ends, clients as negative numbers.
        """
        if not self.regions:
            return None
        one, other = self.region_of(source), self.region_of(target)
        if one is None or other is None:
            return None
        return self._between_regions(one, other)

    def region_of(self, vertex: int) -> str | None:
        """The region of a node, or of a client (a negative number)."""
        terms = {vertex} if vertex > 0 else {f"client_{-vertex}", "clients"}
        for region, members in self.regions.items():
            if terms.intersection(members.terms):
                return region
        return None

    def _between_regions(self, one: str, other: str) -> Distribution | None:
        there = self.region_latency_ms.get(one, {}).get(other)
        return there if there is not None else self.region_latency_ms.get(other, {}).get(one)


def _region_list(regions: Mapping[str, Selector]) -> str:
    return f"there are {', '.join(regions)}" if regions else "give the members in regions"
