"""Connections read in parts that need no memory mapping, and put large frames together from them."""

from __future__ import annotations

from typing import cast
from unittest import mock

from pydantic import JsonValue

from qcore.runtime.real import REAL
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.connection.connection import READ_BYTES
from qcore.transport.connection.framing import BATCH_BYTES
from qcore.transport.server.server import Server
from tests.transport.support.endpoints import CODEC, RecordingHandler, async_test

#: The C library maps memory for each larger allocation.
MAPPED_FROM_BYTES = 128 * 1024


@async_test
async def test_both_ends_read_in_parts() -> None:
    handler = RecordingHandler(blob="x" * 1_000_000)
    server = Server(CODEC, handler, runtime=REAL)
    address = Address.parse(await server.start(Address("127.0.0.1", 0)))
    client = await ClientConnection.connect(address)
    nodes: JsonValue = [[1, "y" * 1_000_000]]
    assert (await client.request("Init", {"nodes": nodes}))["response"] == {"Ok": None}
    metrics = await client.request("GetMetrics")
    assert metrics["response"] == {"id": 1, "blob": handler.blob}
    ends = (cast("mock.Mock", client)._wire, cast("mock.Mock", handler.opened[0]))
    assert [end._transport.max_size for end in ends] == [READ_BYTES, READ_BYTES]
    assert BATCH_BYTES < READ_BYTES < MAPPED_FROM_BYTES
    await client.close()
    await server.stop()
