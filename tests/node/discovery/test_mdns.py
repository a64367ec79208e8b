"""Founders that announce themselves with mDNS, on the loopback interface."""

from __future__ import annotations

import asyncio
import builtins
import socket
from typing import Any

import pytest

from qcore.errors import ConfigError
from qcore.node.discovery.founder_client import Location
from qcore.node.discovery.mdns import MdnsAnnouncer, mdns_announcer
from qcore.runtime.real import REAL
from qcore.transport.address import Address
from tests.transport.support.endpoints import async_test

LOOPBACK = ["127.0.0.1"]


def multicast_problem() -> str:
    """Why this machine has no multicast on its loopback interface; empty if it has."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.settimeout(2.0)
        try:
            receiver.bind(("", 0))
            group = socket.inet_aton("224.0.0.251") + socket.inet_aton("127.0.0.1")
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            sender.setsockopt(
                socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1")
            )
            sender.sendto(b"qcore", ("224.0.0.251", receiver.getsockname()[1]))
            receiver.recv(16)
        except OSError as error:
            return str(error)
    return ""


@async_test
async def test_founders_of_one_name_find_each_other() -> None:
    if problem := multicast_problem():
        pytest.skip(f"this machine has no multicast on the loopback interface: {problem}")
    first, second, other = (MdnsAnnouncer(name, REAL, LOOPBACK) for name in ("red", "red", "red-2"))
    announcers = (first, second, other)
    try:
        async with asyncio.timeout(60):
            await asyncio.gather(
                *(
                    each.start(Address("127.0.0.1", 9000 + number))
                    for number, each in enumerate(announcers)
                )
            )
            while True:
                if await first.locations() and await second.locations():
                    break
                await asyncio.sleep(0.05)
        assert await first.locations() == [Location(Address("127.0.0.1", 9001))]
        assert await second.locations() == [Location(Address("127.0.0.1", 9000))]
        assert await other.locations() == []
    finally:
        for each in announcers:
            await each.stop()


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name.startswith("zeroconf"):
            raise ImportError(name)
        return load(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'qcore-raft\[mdns\]'"):
        mdns_announcer("red", REAL)
