"""`Finder`: the locations at which founders may be, from all places of the setting `discover`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from qcore.errors import TransportError
from qcore.node.discovery.founder_client import Location
from qcore.node.discovery.places import Place
from qcore.runtime.interface import Runtime
from qcore.transport.address import Address

#: How long the look-up of a name may take.
_LOOKUP_S: Final = 3.0
#: The most locations that are asked in one round.
MAX_LOCATIONS: Final = 64


class Announcer(Protocol):
    """Announces this node in the local network, and knows the others that do."""

    async def start(self, own: Address) -> None:
        """Begin to announce this address.

        Raises:
            ConfigError: that is not possible; the text says what to do.
        """
        ...

    async def locations(self) -> list[Location]:
        """Where other nodes are."""
        ...

    async def stop(self) -> None:
        """Announce no more."""


#: Makes the announcer for a name. It raises `ConfigError` if that is not possible.
MakeAnnouncer = Callable[[str, Runtime], Announcer]


class Finder:
    """Looks for founders.

    Args:
        places: where.
        runtime: looks names up.
        make_announcer: for `mdns`.
    """

    def __init__(
        self, places: Sequence[Place], runtime: Runtime, make_announcer: MakeAnnouncer
    ) -> None:
        self._places = places
        self._runtime = runtime
        self._announcers = [
            make_announcer(each.name, runtime) for each in places if each.kind == "mdns"
        ]

    async def start(self, own: Address) -> None:
        """Begin. `own` is the address of this node.

        Raises:
            ConfigError: see `Announcer.start`.
        """
        for announcer in self._announcers:
            await announcer.start(own)

    async def stop(self) -> None:
        """End what `start` began."""
        for announcer in self._announcers:
            await announcer.stop()

    async def locations(self) -> tuple[list[Location], list[str]]:
        """The locations now, without repetitions, and why a place gave none."""
        found: dict[Location, None] = {}
        problems: list[str] = []
        for place in self._places:
            address = place.address
            if address is None:
                continue
            if place.kind == "static":
                found[Location(address)] = None
                continue
            try:
                ips = await self._runtime.resolve(address.host, _LOOKUP_S)
            except TransportError as error:
                problems.append(str(error))
            else:
                found |= {Location(address, ip): None for ip in ips}
        for announcer in self._announcers:
            found |= dict.fromkeys(await announcer.locations())
        if len(found) > MAX_LOCATIONS:
            problems.append(f"{len(found)} addresses were found; only {MAX_LOCATIONS} are asked")
        return [*found][:MAX_LOCATIONS], problems
