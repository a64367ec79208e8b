"""Hostile and faulty messages to founders: none gets a promise, a write to the disk, or a place from a founder."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qcore.errors import QuotaExceeded, RemoteProtocolError
from qcore.node.discovery import founding_requests
from qcore.node.discovery.founding_messages import fields_of, list_of, vote_of
from qcore.node.discovery.promise_file import FILE_NAME, PromiseFile
from qcore.node.discovery.protocol.founding import (
    MAX_JUMP,
    MAX_ROUND,
    Ballot,
    Founder,
    Founding,
    Promises,
)
from qcore.node.peers.node_key_file import read_key
from qcore.processes.node_process import free_ports
from qcore.runtime.real import REAL
from qcore.security.keys.founding_proof import sign_question
from qcore.security.keys.handshake_proof import NONCE_BYTES, nonce_text
from qcore.security.keys.node_key import NodeKey
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.limits import MAX_FOUNDERS, TransportLimits
from qcore.transport.wire import AcceptFounding, FoundingVote, PromiseFounding
from tests.node.discovery.founders import QUICK, Founders, founders
from tests.transport.support.endpoints import async_test

STRANGER = NodeKey(b"a stranger's seed, 32 bytes long")
#: The founders find each other, and none proposes.
IDLE = replace(QUICK, turn_s=1000.0)


class HeldFile(PromiseFile):
    """Promises whose writes wait until `may_write` is set."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.may_write = threading.Event()
        self.may_write.set()

    def save(self, promises: Promises) -> None:
        assert self.may_write.wait(30)
        super().save(promises)


class Hostile:
    """Sends messages to founder 1: as a stranger, or with the key of founder 3, which is faulty."""

    def __init__(self, world: Founders, connection: ClientConnection) -> None:
        self.connection = connection
        self.folder = world.folder / "node1"
        self.voter = world.nodes[1].founding._voter
        self.founders = world.nodes[1].founding._voter.founders
        self.new_founding = world.nodes[3].founding._new_founding
        key = read_key(world.folder / "node3")
        assert key is not None
        self.key = key

    def promise(
        self,
        ballot: tuple[int, int] = (1, 3),
        founders: Sequence[tuple[int, str]] | None = None,
        key: NodeKey | None = None,
        **changed: object,
    ) -> dict[str, Any]:
        """A signed request for a promise, of which fields were changed afterwards."""
        if founders is None:
            founders = [(each.node_id, each.public_key) for each in self.founders]
        message = PromiseFounding("", _nonce(), ballot, [*founders], "")
        return {**_signed(key or self.key, message), **changed}

    def accept(self, founding: Founding, ballot: tuple[int, int] = (1, 3)) -> dict[str, Any]:
        """A signed request to accept a founding."""
        message = AcceptFounding("", _nonce(), ballot, list_of(founding), "")
        return _signed(self.key, message)

    async def ask(self, name: str, fields: dict[str, Any]) -> tuple[bool, str]:
        """Whether founder 1 grants it, and otherwise why not."""
        try:
            content = await self.connection.request(name, fields)
        except RemoteProtocolError as error:
            return False, str(error)
        response = content["response"]
        assert isinstance(response, dict)
        vote = response.get("Ok")
        if not isinstance(vote, dict):
            return False, f"{response} {content.get('detail')}"
        return vote["granted"] is True, str(vote["why"])

    @property
    def untouched(self) -> bool:
        """Whether the node has promised and written nothing, and heard of no ballot."""
        voter = self.voter
        wrote = (self.folder / FILE_NAME).exists()
        return (voter.promises, voter.heard, wrote) == (Promises(), (0, 0), False)


def _nonce() -> str:
    return nonce_text(REAL.random_bytes(NONCE_BYTES))


def _signed(key: NodeKey, message: PromiseFounding | AcceptFounding) -> dict[str, Any]:
    message.signature = sign_question(key, type(message).__name__, fields_of(message))
    fields = fields_of(message)
    del fields["id"]
    return fields


@asynccontextmanager
async def attacked(
    folder: Path, promises: PromiseFile | None = None, requests_per_s: int = 0
) -> AsyncIterator[Hostile]:
    """Three founders that have found each other, and a connection to founder 1."""
    ports = free_ports(3)
    places = [f"127.0.0.1:{port}" for port in ports]
    async with founders(folder) as world:
        for node_id, port in enumerate(ports, 1):
            await world.start(
                node_id,
                Address("127.0.0.1", port),
                places,
                promises=promises if node_id == 1 else None,
                pace=IDLE,
                priority=0 if node_id == 1 else 1,  # it would propose first
                connection_requests_per_s=requests_per_s,
            )
        for node_id in (1, 2, 3):
            await world.until_logged(node_id, "all founders are there")
        connection = await ClientConnection.connect(
            Address("127.0.0.1", ports[0]), limits=TransportLimits(), runtime=REAL
        )
        try:
            yield Hostile(world, connection)
        finally:
            await connection.close(1)


@async_test
async def test_hostile_messages_get_nothing(tmp_path: Path) -> None:
    async with attacked(tmp_path) as hostile:
        promise = hostile.promise
        known = [(each.node_id, each.public_key) for each in hostile.founders]
        own = [*known[:2], (3, STRANGER.public)]
        many = [(node, STRANGER.public) for node in range(1, MAX_FOUNDERS + 1)]
        for fields, why in (
            (promise(key=STRANGER), "the signature is not that of founder 3"),
            (promise(signature=""), "the signature is not that of founder 3"),
            (promise(signature="A" * 64), "the signature is not that of founder 3"),
            (promise(nonce=_nonce()), "the signature is not that of founder 3"),
            (promise(ballot=(1, 1)), "the signature is not that of founder 1"),
            (promise(ballot=(1, 4)), "the signature is not that of founder 4"),
            (promise(ballot=(1, 0)), "the signature is not that of founder 0"),
            ({**promise(), "ballot": [2, 3]}, "the signature is not that of founder 3"),
            (promise(founders=own, key=STRANGER), "node 3 had another public key"),
            (promise(founders=[(9, STRANGER.public)], ballot=(1, 9), key=STRANGER), "not [9]"),
            (promise(founders=many, key=STRANGER), "node 1 had another public key"),
            (promise(founders=known[::-1]), "it has found other founders"),
            (promise(founders=known + known), "it has found other founders"),
            (promise(founders=[]), "it has found other founders"),
            (promise(founders=[*many, (32, STRANGER.public)]), "at most 31 items"),
            (promise(founders=[(-1, "")]), "greater than or equal to"),
            (promise(founders=[(1, "k" * 100_000)]), "at most"),
            ({**promise(), "founders": [[1]]}, "founders"),
            ({**promise(), "ballot": [1.5, 3]}, "ballot"),
            ({**promise(), "ballot": [-1, 3]}, "ballot"),
            (promise(ballot=(MAX_ROUND, 3)), "absurdly far above 0"),
            (promise(ballot=(MAX_JUMP + 1, 3)), "founder 3 is faulty"),
            (promise(ballot=(MAX_ROUND + 1, 3)), f"is above {MAX_ROUND}"),
        ):
            granted, text = await hostile.ask("PromiseFounding", fields)
            assert not granted
            assert why in text
        sound = hostile.new_founding(hostile.founders)
        moved = Founder(1, "10.1.1.1:1", known[0][1])
        for founding, why in (
            (replace(sound, cluster_id="c" * 32), "with another version"),
            (replace(sound, token=""), "could not begin this cluster: token"),
            (replace(sound, token="other"), "with another version"),
            (replace(sound, founders=(moved, *sound.founders[1:])), "its address is 127.0.0.1"),
            (replace(sound, founders=sound.founders[1:]), "it has found other founders"),
        ):
            granted, text = await hostile.ask("AcceptFounding", hostile.accept(founding))
            assert not granted
            assert why in text
        assert hostile.untouched
        honest = promise()
        assert await hostile.ask("PromiseFounding", honest) == (True, "")
        assert await hostile.ask("PromiseFounding", promise(ballot=(2, 3))) == (True, "")
        granted, text = await hostile.ask("PromiseFounding", honest)  # replayed
        assert (granted, text) == (False, "it has promised ballot 2 to node 3")
        assert hostile.voter.promises == Promises(Ballot(2, 3))
        assert await hostile.ask("AcceptFounding", hostile.accept(sound, (2, 3))) == (True, "")
        # Before, a list that a stranger had signed itself made a founder with an accepted founding wait for it.
        fields = promise((MAX_JUMP, 3), [(3, STRANGER.public)], STRANGER)
        granted, text = await hostile.ask("PromiseFounding", fields)
        assert not granted
        assert f"has accepted the founding of cluster {sound.cluster_id} by other founders" in text
        assert hostile.voter.heard == (2, 3)


@async_test
async def test_strangers_take_no_place_from_founders(tmp_path: Path) -> None:
    """While a promise is on its way to the disk, 40 votes for strangers are refused, and a founder still gets in."""
    (tmp_path / "node1").mkdir()
    store = HeldFile(tmp_path / "node1")
    async with attacked(tmp_path, store, requests_per_s=40) as hostile:
        store.may_write.clear()
        first = asyncio.create_task(hostile.ask("PromiseFounding", hostile.promise()))
        try:
            own = [(3, STRANGER.public)]
            for _ in range(40):
                granted, text = await hostile.ask(
                    "PromiseFounding", hostile.promise((1, 3), own, STRANGER)
                )
                assert not granted
                assert "it has found other founders" in text
            second = asyncio.create_task(hostile.ask("PromiseFounding", hostile.promise((2, 3))))
            await asyncio.sleep(0)
        finally:
            store.may_write.set()
        assert [await first, await second] == [(True, ""), (True, "")]
        questions = [
            hostile.connection.request("GetFounder", {"nonce": _nonce()}) for _ in range(200)
        ]
        with pytest.raises(QuotaExceeded, match="more than 40 requests a second"):
            await asyncio.gather(*questions)


@async_test
async def test_a_faulty_founder_blocks_no_majority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Founder 3 claims that it has promised absurd ballots: the others begin the cluster without its vote."""
    claims = [2 * MAX_JUMP, MAX_ROUND + 5]

    def claimed(node_id: int, promises: Promises, why: str) -> FoundingVote:
        if node_id == 3:
            promises = Promises(Ballot(claims[0] if len(claims) == 1 else claims.pop(), 3))
        return vote_of(node_id, promises, why)

    monkeypatch.setattr(founding_requests, "vote_of", claimed)
    ports = free_ports(3)
    places = [f"127.0.0.1:{port}" for port in ports]
    async with founders(tmp_path) as world:
        for node_id, port in enumerate(ports, 1):
            await world.start(
                node_id,
                Address("127.0.0.1", port),
                places,
                pace=replace(QUICK, patient_rounds=2),
                priority=1 if node_id == 1 else 0,  # only node 1 proposes
            )
        await world.until_one_cluster()
        assert world.nodes[1].core.membership.voters == (1, 2, 3)
        await world.until_logged(1, f"node 3: ballot: the round {MAX_ROUND + 5} is above")
        await world.until_logged(1, f"node 3 is faulty: it is at ballot {2 * MAX_JUMP}")
        stored = PromiseFile(tmp_path / "node1").load()
        assert stored.promised.round < 100
