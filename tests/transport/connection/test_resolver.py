"""The resolver: IP addresses are never looked up, and a hanging name service blocks no other look-up."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable

import pytest

from qcore.errors import TransportError
from qcore.runtime.real import REAL
from qcore.runtime.resolver import Resolver
from qcore.transport.address import Address
from qcore.transport.server.server import Server
from tests.transport.support.endpoints import CODEC, RecordingHandler, async_test, until

INFO = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 0))


class NameService:
    """Replaces `socket.getaddrinfo`: hosts that begin with `hang` wait for `release`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.running = 0
        self.max_running = 0
        self.release = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, host: str, port: object, **options: object) -> list[object]:
        with self._lock:
            self.asked.append(host)
            self.running += 1
            self.max_running = max(self.max_running, self.running)
        if host.startswith("hang"):
            self.release.wait(30)
        with self._lock:
            self.running -= 1
        if host == "unknown":
            raise socket.gaierror(-2, "Name or service not known")
        return [INFO, INFO]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> NameService:
    made = NameService()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    return made


@async_test
async def test_an_address_is_not_looked_up(service: NameService) -> None:
    resolver = Resolver()
    for address in ("127.0.0.1", "::1", "fe80::1%1", "0.0.0.0"):
        assert await resolver.addresses(address, 1) == [address]
    assert service.asked == []


@async_test
async def test_a_name_is_looked_up_and_each_address_named_once(service: NameService) -> None:
    assert await Resolver().addresses("known", 20) == ["192.0.2.7"]


@async_test
async def test_error_names_the_unknown_host(service: NameService) -> None:
    with pytest.raises(TransportError, match=r"cannot look up the host 'unknown': .*not known"):
        await Resolver().addresses("unknown", 20)


@async_test
async def test_hanging_lookup_fails_at_the_deadline(service: NameService) -> None:
    resolver = Resolver()
    with pytest.raises(TransportError, match="'hanging': no answer from the name service within"):
        await resolver.addresses("hanging", 0.05)
    assert resolver.is_resolving("hanging")
    service.release.set()
    await until(lambda: not resolver.is_resolving("hanging"), "the look-up ended")


@async_test
async def test_requests_for_one_host_share_one_lookup(service: NameService) -> None:
    resolver = Resolver()
    asking = [asyncio.ensure_future(resolver.addresses("hanging", 20)) for _ in range(10)]
    await until(lambda: service.asked == ["hanging"], "the look-up began")
    asking[0].cancel()  # a caller that times out does not affect the others
    await asyncio.wait(asking[:1])
    service.release.set()
    assert await asyncio.gather(*asking[1:]) == [["192.0.2.7"]] * 9
    assert service.asked == ["hanging"]


@async_test
async def test_lookups_are_bounded_and_the_rest_wait(service: NameService) -> None:
    resolver = Resolver(max_threads=2)
    asking = [asyncio.ensure_future(resolver.addresses(f"hang{n}", 20)) for n in range(6)]
    await until(lambda: service.running == 2, "all threads hang")
    with pytest.raises(TransportError, match="'hang6'"):
        await resolver.addresses("hang6", 0.05)  # dropped before its turn
    service.release.set()
    assert await asyncio.gather(*asking) == [["192.0.2.7"]] * 6
    assert service.max_running == 2
    assert "hang6" not in service.asked


def test_loop_closed_during_a_lookup_does_no_harm(service: NameService) -> None:
    resolver = Resolver()

    async def ask() -> None:
        with pytest.raises(TransportError):
            await resolver.addresses("hanging", 0.05)

    seen: list[object] = []
    hook: Callable[[threading.ExceptHookArgs], object] = threading.excepthook
    threading.excepthook = seen.append
    try:
        asyncio.run(ask())
        service.release.set()
        asyncio.run(_free(resolver))
    finally:
        threading.excepthook = hook
    assert seen == []


async def _free(resolver: Resolver) -> None:
    await until(lambda: not resolver.is_resolving("hanging"), "the look-up ended")


@async_test
async def test_unknown_listen_host_is_not_blamed_on_a_process() -> None:
    with pytest.raises(TransportError) as raised:
        await Server(CODEC, RecordingHandler(), runtime=REAL).start(Address("unknown.invalid", 0))
    text = str(raised.value)
    assert text.startswith("cannot listen on unknown.invalid:0: cannot look up the host")
    assert "process" not in text


@async_test
async def test_only_a_taken_port_is_blamed_on_another_process() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(TransportError, match="another process uses the port"),
    ):
        await Server(CODEC, RecordingHandler(), runtime=REAL).start(
            Address("127.0.0.1", taken.getsockname()[1])
        )
    with pytest.raises(TransportError, match="the host is not an address of this machine"):
        await Server(CODEC, RecordingHandler(), runtime=REAL).start(Address("192.0.2.1", 0))
