"""`run_gateway`: serves the gateway until a signal."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import uvicorn

from qcore.errors import ConfigError, TransportError
from qcore.gateway.cluster_facts import ClusterFacts
from qcore.gateway.cluster_users import ClusterUsers, Connect
from qcore.gateway.gateway_app import GatewayApp, without_browsers
from qcore.security.tls import TlsFiles, server_context
from qcore.transport.address import Address

logger = logging.getLogger("qcore.gateway")

#: How long requests may go on after a signal, seconds.
_STOP_S: Final = 10
#: etcd never closes an idle connection.
_IDLE_S: Final = 3600
_BACKLOG: Final = 1024
#: When TCP asks a silent client whether it is there, how often, and how many times, seconds.
_KEEP_ALIVE: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
#: base64 makes a body larger than the command that it becomes.
_BODY_FACTOR: Final = 2


@dataclass(slots=True)
class GatewayConfig:
    """The settings of a gateway.

    Attributes:
        listen: the address that it binds; port 0 for a free one.
        advertise: at which clients reach the gateways, `host:port` or a URL, this one first; none for `listen`.
        connect: how it reaches the cluster.
        tls: the files of its listener; None for no TLS.
        clients_need_certificates: whether clients must present a certificate.
    """

    listen: Address
    advertise: Sequence[str]
    connect: Connect
    tls: TlsFiles | None = None
    clients_need_certificates: bool = False


class _Server(uvicorn.Server):
    """uvicorn's server, without its own handling of signals.

    Args:
        config: its settings.
        on_listening: called once it accepts connections.
    """

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, and say so."""
        await super().startup(sockets)
        self._on_listening()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run_gateway(config: GatewayConfig, on_listening: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        config: the settings.
        on_listening: called with the URL once the gateway listens.

    Raises:
        ConfigError: a setting is wrong.
        TransportError: the address cannot be bound.
    """
    scheme = "http" if config.tls is None else "https"
    with _bound(config.listen) as listener:
        port = listener.getsockname()[1]
        bound = Address(config.listen.host, port)
        urls = advertised(config.advertise or [str(bound)], scheme)
        users = ClusterUsers(config.connect)
        try:
            app = GatewayApp(
                users,
                ClusterFacts(users.own, urls),
                _BODY_FACTOR * config.connect.max_command_bytes,
            )
            server = _Server(
                _uvicorn_config(app, config), lambda: on_listening(f"{scheme}://{bound}")
            )
            stopping = _stop_on_signals(app, server)
            await server.serve([listener])
            if stopping:
                await asyncio.gather(*stopping)
        finally:
            await users.close()


def advertised(addresses: Sequence[str], scheme: str) -> list[str]:
    """The URLs of the gateways.

    Raises:
        ConfigError: one is no address, or means every interface of a computer.
    """
    urls: list[str] = []
    for text in addresses:
        given, separator, rest = text.partition("://")
        if separator and given not in ("http", "https"):
            raise ConfigError(
                f"--advertise: {text!r}: write host:port, or http:// or https:// before it"
            )
        address = Address.parse(rest.rstrip("/") if separator else text, "--advertise")
        if address.host in ("0.0.0.0", "::"):
            raise ConfigError(
                f"--advertise: clients cannot connect to {address.host}: give the address at which they reach this "
                "gateway"
            )
        urls.append(f"{given if separator else scheme}://{address}")
    if len(set(urls)) != len(urls):
        raise ConfigError("--advertise: an address is given twice: name each gateway once")
    return urls


def _uvicorn_config(app: GatewayApp, config: GatewayConfig) -> uvicorn.Config:
    made = uvicorn.Config(
        without_browsers(app.asgi()),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=_STOP_S,
        backlog=_BACKLOG,
    )
    made.load()
    for name in ("uvicorn.error", "uvicorn.asgi"):
        logging.getLogger(name).setLevel(logging.WARNING)  # the gateway has other lines
    if config.tls is not None:
        made.ssl = server_context(
            config.tls, clients_need_certificates=config.clients_need_certificates
        )
    return made


def _stop_on_signals(app: GatewayApp, server: uvicorn.Server) -> list[asyncio.Task[None]]:
    """Stop on the first signal; the second one ends the process."""
    loop = asyncio.get_running_loop()
    stopping: list[asyncio.Task[None]] = []

    def stop() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        logger.info("the gateway stops")
        server.should_exit = True
        stopping.append(asyncio.ensure_future(app.stop()))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return stopping


def _keep_alive(listener: socket.socket) -> None:
    """Let accepted connections, which take over these options, notice that a client has vanished."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        option = getattr(socket, name, None)
        if option is not None:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)


@contextlib.contextmanager
def _bound(address: Address) -> Iterator[socket.socket]:
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, where = found[0]
        # With its protocol: asyncio switches Nagle's algorithm off only where it sees TCP.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise TransportError(f"--listen {address}: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _keep_alive(listener)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        in_use = error.errno == errno.EADDRINUSE
        why = "it is in use: give another one" if in_use else str(error.strerror)
        raise TransportError(f"--listen {address}: cannot bind the address: {why}") from None
    with listener:
        yield listener
