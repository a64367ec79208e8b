"""Connections whose TLS handshake fails leave nothing behind, even if the garbage collector does not run."""

from __future__ import annotations

import asyncio
import gc
import ssl
from asyncio.sslproto import SSLProtocol
from pathlib import Path

import pytest

from qcore.runtime.interface import TlsServer
from qcore.runtime.listener import Listener
from tests.security.certificates import Authority

_NUMBER = 6


async def _connect_and_leave(opening: bytes) -> None:
    refused, all_refused = 0, asyncio.Event()

    def count() -> None:
        nonlocal refused
        refused += 1
        if refused == _NUMBER:
            all_refused.set()

    files = Authority(Path(".")).issue("node")
    assert files.cert is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    listener = Listener(asyncio.Protocol, count, TlsServer(context, 5.0, 64))
    port = listener.start(["127.0.0.1"], 0)
    try:
        for _ in range(_NUMBER):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(opening)
            writer.close()
        async with asyncio.timeout(20):
            await all_refused.wait()
        await asyncio.sleep(0)
    finally:
        listener.close()


@pytest.mark.parametrize("opening", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"])
def test_failed_tls_handshakes_leave_nothing_behind(
    opening: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gc.collect()
    gc.disable()
    try:
        asyncio.run(_connect_and_leave(opening))
        left = [each for each in gc.get_objects() if isinstance(each, SSLProtocol)]
    finally:
        gc.enable()
    assert left == []
