"""The ports on which a server listens if a host name has several addresses."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from qcore.errors import TransportError
from qcore.runtime.real import REAL
from qcore.transport.address import Address
from qcore.transport.server.server import Server
from tests.transport.support.endpoints import CODEC, RecordingHandler, async_test


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


pytestmark = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on the loopback interface")


@pytest.fixture(autouse=True)
def _two_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `both.test` resolve to 127.0.0.1 and ::1, as localhost does on most machines."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host != "both.test":
            return real(host, port, *rest, **more)
        return [
            *real("127.0.0.1", port, *rest, **more),
            *real("::1", port, *rest, **more),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def reachable(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        return probe.connect_ex((host, port)) == 0


@async_test
async def test_a_free_port_is_one_port_on_all_addresses() -> None:
    server = Server(CODEC, RecordingHandler(), runtime=REAL)
    _, port = Address.parse(await server.start(Address("both.test", 0)))
    try:
        assert reachable("127.0.0.1", port)
        assert reachable("::1", port)
    finally:
        await server.stop()


@async_test
async def test_port_that_one_address_cannot_use_is_rejected() -> None:
    with socket.socket(socket.AF_INET6) as other:
        other.bind(("::1", 0))
        other.listen()
        server = Server(CODEC, RecordingHandler(), runtime=REAL)
        with pytest.raises(TransportError, match=r"cannot listen on both\.test"):
            await server.start(Address("both.test", other.getsockname()[1]))
