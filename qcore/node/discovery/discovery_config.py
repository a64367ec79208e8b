"""`DiscoveryConfig`: the settings by which founders find each other and begin a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field

from qcore.errors import ConfigError
from qcore.node.discovery.places import places_of
from qcore.settings import check_bounds, setting
from qcore.transport.limits import MAX_FOUNDERS


@dataclass(slots=True, frozen=True)
class DiscoveryConfig:
    """Settings of discovery. The text beside each field gives its meaning, unit and bounds.

    Raises:
        ConfigError: a value is wrong, or values contradict each other; the message names the field.
    """

    auto_init: bool = field(
        default=False,
        metadata=setting(
            "Begin a cluster with the other founders, without `qcore cluster init`. The founders are the nodes 1 to "
            "`expect`. A member of a cluster ignores it, so it may stay."
        ),
    )
    expect: int = field(
        default=0,
        metadata=setting(
            "With `auto_init`: the number of all founders, this node included. Every node needs the same number.",
            unit="nodes",
            minimum=1,
            maximum=MAX_FOUNDERS,
            zero="none",
        ),
    )
    discover: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            "With `auto_init`: where the other founders are. `static:HOST:PORT`: at this address. `dns:NAME:PORT`: at "
            "all addresses of this name. `mdns:NAME`: the nodes of the local network that announce this name; needs "
            "`qcore-raft[mdns]`. An address without such a beginning is static, too."
        ),
    )

    def __post_init__(self) -> None:
        check_bounds(self)
        places_of(self.discover)
        if self.auto_init and not self.expect:
            raise ConfigError("auto_init: it needs expect, the number of all founders")
        if self.auto_init and self.expect > 1 and not self.discover:
            raise ConfigError(
                f"auto_init: with expect {self.expect}, discover must name where the other founders are"
            )
