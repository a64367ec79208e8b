"""Founders that announce themselves with mDNS, on the loopback interface."""

from __future__ import annotations

import asyncio
import builtins
import socket
from pathlib import Path
from typing import Any

import pytest

from qcore.errors import ConfigError
from qcore.node.discovery.finder import Announcer
from qcore.node.discovery.mdns import MdnsAnnouncer, mdns_announcer
from qcore.processes.node_process import free_ports
from qcore.runtime.interface import Runtime
from qcore.runtime.real import REAL
from qcore.transport.address import Address
from tests.node.discovery.founders import founders
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
async def test_founders_of_one_name_begin_a_cluster(tmp_path: Path) -> None:
    """Two nodes of one name find each other, and ignore a third announcer, whose name begins with theirs."""
    pytest.importorskip("zeroconf", reason="the extra mdns is not installed")
    if problem := multicast_problem():
        pytest.skip(f"this machine has no multicast on the loopback interface: {problem}")
    ports = free_ports(3)
    other = MdnsAnnouncer("red-2", REAL, LOOPBACK)
    async with founders(tmp_path) as world:
        try:
            await asyncio.gather(
                other.start(Address("127.0.0.1", ports[0])),
                *(
                    world.start(
                        node_id,
                        Address("127.0.0.1", ports[node_id]),
                        ["mdns:red"],
                        expect=2,
                        make_announcer=on_loopback,
                    )
                    for node_id in (1, 2)
                ),
            )
            await world.until_one_cluster()
            members = world.nodes[1].core.membership
            assert members.voters == (1, 2)
            assert not any(
                str(ports[0]) in line for log in world.logs.values() for line in log.lines
            )
            assert await other.locations() == []
        finally:
            await other.stop()


def on_loopback(name: str, runtime: Runtime) -> Announcer:
    return MdnsAnnouncer(name, runtime, LOOPBACK)


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name.startswith("zeroconf"):
            raise ImportError(name)
        return load(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'qcore-raft\[mdns\]'"):
        mdns_announcer("red", REAL)
