"""`MdnsAnnouncer`: announces this node in the local network with mDNS (RFC 6762), and finds the others that do.

It uses the library zeroconf, which is loaded when it is needed. What it finds is only where to ask: a node believes no
more than what the founder there has signed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from qcore.errors import ConfigError
from qcore.node.discovery.finder import MAX_LOCATIONS, Announcer
from qcore.node.discovery.founder_client import Location
from qcore.runtime.interface import Runtime
from qcore.transport.address import Address

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

#: The type of the service (RFC 6763). Founders of one name are instances of its subtype-like part in front.
SERVICE: Final = "_qcore._tcp.local."
#: The key of the TXT record that holds the name of the cluster.
_NAME_KEY: Final = "cluster"
#: How long the look-up of a host name of this node may take, and a question to an announcer, seconds.
_LOOKUP_S: Final = 3.0
_INFO_MS: Final = 1000


def mdns_announcer(name: str, runtime: Runtime) -> Announcer:
    """Announces and finds the founders of this name.

    Raises:
        ConfigError: the library is not installed.
    """
    try:
        import zeroconf.asyncio  # noqa: F401 - only to know whether it is there
    except ImportError:
        raise ConfigError(
            f"discover: mdns:{name}: zeroconf is not installed: pip install 'qcore-raft[mdns]'"
        ) from None
    return MdnsAnnouncer(name, runtime)


class MdnsAnnouncer:
    """See `Announcer`.

    Args:
        name: the name of the cluster: founders with another one are ignored.
        runtime: looks up the host name of this node.
        interfaces: the IP addresses of the interfaces to use; None for all.
    """

    def __init__(
        self, name: str, runtime: Runtime, interfaces: Sequence[str] | None = None
    ) -> None:
        self._name = name
        self._runtime = runtime
        self._interfaces = interfaces
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        #: The names of the announced services, as an ordered set.
        self._services: dict[str, None] = {}
        self._own = ""

    async def start(self, own: Address) -> None:
        """See `Announcer`."""
        from zeroconf import Error, InterfaceChoice
        from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

        ips = await self._runtime.resolve(own.host, _LOOKUP_S)
        instance = f"{self._name}-{self._runtime.new_token()[:8]}"
        self._own = f"{instance}.{SERVICE}"
        info = AsyncServiceInfo(
            SERVICE,
            self._own,
            port=own.port,
            addresses=[ipaddress.ip_address(ip).packed for ip in ips],
            properties={_NAME_KEY: self._name},
            server=f"{instance}.local.",
        )
        try:
            chosen = self._interfaces or InterfaceChoice.All
            self._zeroconf = AsyncZeroconf(interfaces=chosen)
            await (await self._zeroconf.async_register_service(info))
        except (Error, OSError) as error:
            await self.stop()
            raise ConfigError(
                f"discover: mdns:{self._name}: this computer cannot announce the node ({error}): name the founders "
                "with static: or dns:"
            ) from None
        self._browser = AsyncServiceBrowser(
            self._zeroconf.zeroconf, SERVICE, handlers=[self._changed]
        )

    def _changed(
        self,
        zeroconf: Zeroconf,
        service_type: str,
        name: str,
        state_change: ServiceStateChange,
    ) -> None:
        """A service has appeared or gone. Names of other clusters begin differently, and are not kept."""
        from zeroconf import ServiceStateChange

        if state_change is ServiceStateChange.Removed:
            self._services.pop(name, None)
        elif (
            name.startswith(f"{self._name}-")
            and name != self._own
            and len(self._services) < MAX_LOCATIONS
        ):
            self._services[name] = None

    async def locations(self) -> list[Location]:
        """See `Announcer`."""
        from zeroconf import IPVersion
        from zeroconf.asyncio import AsyncServiceInfo

        found: dict[Location, None] = {}
        for name in [*self._services]:
            info = AsyncServiceInfo(SERVICE, name)
            if self._zeroconf is None:
                break
            if not await info.async_request(self._zeroconf.zeroconf, _INFO_MS):
                continue
            if info.properties.get(_NAME_KEY.encode()) != self._name.encode() or not info.port:
                continue
            for ip in info.parsed_addresses(IPVersion.All)[:4]:
                found[Location(Address(ip, info.port))] = None
        return [*found]

    async def stop(self) -> None:
        """See `Announcer`."""
        browser, self._browser = self._browser, None
        if browser is not None:
            await browser.async_cancel()
        zeroconf, self._zeroconf = self._zeroconf, None
        if zeroconf is not None:
            await zeroconf.async_close()
