"""What connections send: the library's frames, with the entropy and the clock of the runtime and no other."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import cast
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode

from qcore.runtime.interface import Listening, P, TlsClient, TlsServer
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.connection.masked_client import masked_frame
from qcore.transport.peers.peer_pool import PeerPool
from qcore.transport.server.server import Server
from qcore.transport.wire import Hello
from tests.runtime.no_entropy import SeededRuntime, forbid_clocks, forbid_entropy
from tests.transport.peers.test_pool import RecordingPeers
from tests.transport.support.endpoints import CODEC, RecordingHandler, async_test, until

SIZES = st.sampled_from([0, 1, 3, 4, 5, 125, 126, 127, 65535, 65536, 70000])


@given(
    opcode=st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.CONT]),
    size=SIZES,
    fin=st.booleans(),
    kind=st.sampled_from([bytes, bytearray, memoryview]),
    mask=st.binary(min_size=4, max_size=4),
)
def test_a_masked_frame_is_that_of_the_library(
    opcode: Opcode,
    size: int,
    fin: bool,
    kind: Callable[[bytes], bytes],
    mask: bytes,
) -> None:
    frame = Frame(opcode, kind(bytes(n % 251 for n in range(size))), fin)
    with mock.patch.object(secrets, "token_bytes", return_value=mask):
        expected = frame.serialize(mask=True)
    assert masked_frame(frame, mask) == expected


@pytest.mark.parametrize(
    "frame", [Frame(Opcode.PING, bytes(126)), Frame(Opcode.CLOSE, b"", fin=False)]
)
def test_a_control_frame_that_is_not_allowed_is_refused(frame: Frame) -> None:
    with pytest.raises(ProtocolError):
        masked_frame(frame, bytes(4))


class RecordingRuntime(SeededRuntime):
    """A wall clock that stands still. Keeps the bytes that each end of each connection receives."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.received: list[bytearray] = []

    def wall_us(self) -> int:
        return 1_000_000_000_000_000

    def recording(self, factory: Callable[[], P]) -> Callable[[], P]:
        def recorded() -> P:
            made, kept = factory(), bytearray()
            self.received.append(kept)
            take = made.data_received

            def data_received(data: bytes) -> None:
                kept.extend(data)
                take(data)

            made.data_received = data_received  # type: ignore[method-assign]  # of this object only
            return made

        return recorded

    async def connect(
        self, factory: Callable[[], P], ip: str, port: int, tls: TlsClient | None = None
    ) -> P:
        return await super().connect(self.recording(factory), ip, port, tls)

    def listener(
        self,
        factory: Callable[[], asyncio.Protocol],
        refused: Callable[[], None],
        tls: TlsServer | None = None,
    ) -> Listening:
        return super().listener(self.recording(factory), refused, tls)


async def talk(seed: int) -> tuple[list[str | int], list[bytes], str]:
    """A client and a peer talk with a server. What they drew and sent, and the id that the server gave an error."""
    runtime = RecordingRuntime(seed)
    server = Server(CODEC, RecordingHandler(), runtime=runtime)
    address = Address.parse(await server.start(Address("127.0.0.1", 0)))
    client = await ClientConnection.connect(address, runtime=runtime)
    pushed: list[dict[str, object]] = []
    client.on_push = lambda name, content: pushed.append({**content, "name": name})
    assert (await client.request("GetMetrics"))["response"]
    wire = cast("mock.Mock", client)._wire
    wire.ping()
    wire.send_together([b'{"Nothing":null}'])
    await until(lambda: pushed, "the server answers what it cannot read")
    await client.close()
    handler = RecordingPeers()
    rng = runtime.new_rng()
    pool = PeerPool(CODEC, handler, lambda number: Hello(number, 1, "c1", 2), rng, runtime=runtime)
    pool.set_peers({1: str(address)})
    await until(lambda: handler.connected, "the peer is connected")
    await pool.close()
    await server.stop()
    sent = [bytes(each).replace(str(address).encode(), b"") for each in runtime.received]
    return runtime.drawn, sent, str(pushed[0]["id"])


@pytest.mark.pure_only("it replaces a method of one compiled object")
@async_test
async def test_connections_send_what_their_runtime_decides() -> None:
    with pytest.MonkeyPatch.context() as patch:
        forbid_entropy(patch)
        forbid_clocks(patch)
        drawn, sent, error_id = await talk(1)
        again = await talk(1)
        other = await talk(2)
    assert drawn[:2] == [16, 4], "the key, and the mask of the first frame"
    assert {"token", "rng", 4, 16} == set(drawn)
    assert (drawn, sent, error_id) == again
    assert any(b"Date: Sun, 09 Sep 2001 01:46:40 GMT" in each for each in sent)
    assert sent != other[1]
    assert error_id != other[2]
