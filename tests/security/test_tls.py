"""TLS of servers, peers and clients over real sockets: what is accepted, what is refused, and with which error."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from qcore.client import Client
from qcore.errors import ConfigError, TlsFailed, TransportError
from qcore.runtime.interface import TlsClient
from qcore.runtime.real import REAL
from qcore.security.tls import TlsFiles, client_context, server_context
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.limits import TransportLimits
from qcore.transport.peers.peer_pool import PeerPool
from qcore.transport.wire import Hello
from tests.process.support.commands import run_here
from tests.security.certificates import Authority
from tests.transport.peers.test_pool import RecordingPeers
from tests.transport.support.endpoints import (
    CODEC,
    assert_no_errors_logged,
    async_test,
    http,
    open_raw,
    running_server,
    until,
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(directory: Path) -> Authority:
    return Authority(directory)


@pytest.fixture(scope="module")
def node(authority: Authority) -> TlsFiles:
    return authority.issue("node")


@pytest.fixture(autouse=True)
def no_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert_no_errors_logged(caplog)


async def metrics_of(address: str, files: TlsFiles | None) -> object:
    connection = await ClientConnection.connect(
        Address.parse(address), tls=None if files is None else client_context(files)
    )
    try:
        return (await connection.request("GetMetrics"))["response"]
    finally:
        await connection.close()


@async_test
async def test_a_client_with_the_authority_is_served(node: TlsFiles) -> None:
    async with running_server(tls=server_context(node)) as (_, _, address):
        assert await metrics_of(address, TlsFiles(ca=node.ca)) == {"id": 1, "blob": ""}


@async_test
async def test_a_plain_client_gets_only_advice(node: TlsFiles) -> None:
    async with running_server(tls=server_context(node)) as (_, handler, address):
        with pytest.raises(TlsFailed, match=r"uses TLS: connect with TLS \(--tls-ca\)"):
            await metrics_of(address, None)
        answer = await http(address, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 426 ")
        assert await http(address, b"anything else, without TLS\r\n\r\n") != answer
        assert not handler.messages


@async_test
async def test_a_tls_client_names_a_plain_server(authority: Authority) -> None:
    async with running_server() as (_, _, address):
        with pytest.raises(TlsFailed, match="does not use TLS: start the node with"):
            await metrics_of(address, TlsFiles(ca=authority.path))


@async_test
async def test_an_expired_certificate_is_refused(authority: Authority) -> None:
    expired = authority.issue("expired", expired=True)
    async with running_server(tls=server_context(expired)) as (_, _, address):
        with pytest.raises(TlsFailed, match="certificate has expired: renew it at the node"):
            await metrics_of(address, TlsFiles(ca=authority.path))


@async_test
async def test_another_name_is_refused(authority: Authority) -> None:
    other = authority.issue("other", "elsewhere.example")
    async with running_server(tls=server_context(other)) as (_, _, address):
        with pytest.raises(TlsFailed, match=r"mismatch.*: connect to a name that"):
            await metrics_of(address, TlsFiles(ca=authority.path))


@async_test
async def test_a_command_names_an_address_once(authority: Authority) -> None:
    other = authority.issue("other2", "elsewhere.example")
    async with running_server(tls=server_context(other)) as (_, _, address):
        words = ("cluster", "status", "--endpoints", address, "--tls-ca", str(authority.path))
        done = await asyncio.to_thread(run_here, *words)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: the certificate of {address} is not accepted: ")
    assert line.count(address) == 1


@async_test
async def test_another_authority_is_refused(node: TlsFiles, directory: Path) -> None:
    stranger = Authority(directory, "stranger")
    async with running_server(tls=server_context(node)) as (_, _, address):
        with pytest.raises(TlsFailed, match=r"is not accepted.*: give the authorities"):
            await metrics_of(address, TlsFiles(ca=stranger.path))
        with pytest.raises(TlsFailed, match="not accepted"):
            await metrics_of(address, TlsFiles())  # the authorities of the system


@async_test
async def test_a_client_does_not_repeat_what_tls_prevents(
    authority: Authority, node: TlsFiles
) -> None:
    """It tries every node once: another one may have a certificate that is valid."""
    expired = authority.issue("expired2", expired=True)
    async with (
        running_server(tls=server_context(expired)) as (_, _, bad),
        running_server(tls=server_context(node)) as (_, handler, good),
    ):
        tls = TlsFiles(ca=authority.path)
        for endpoints in ([bad], [bad, bad.replace("127.0.0.1", "localhost")]):
            async with Client(endpoints, timeout_s=600, tls=tls) as client:
                with pytest.raises(TlsFailed):
                    await client.read("User$1", "Name")
                with pytest.raises(TlsFailed):
                    await client.get_metrics()
        assert not handler.messages
        async with Client([bad, good], tls=tls) as client:
            await client.get_metrics(good)


@async_test
async def test_old_versions_of_tls_are_refused(node: TlsFiles) -> None:
    async with running_server(tls=server_context(node)) as (_, _, address):
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
            old.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        host, port = Address.parse(address)
        with pytest.raises((ssl.SSLError, OSError)):
            await asyncio.open_connection(host, port, ssl=old)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        _, writer = await asyncio.open_connection(host, port, ssl=old)
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
        writer.close()


@async_test
async def test_clients_need_a_certificate_if_so_set(authority: Authority, node: TlsFiles) -> None:
    context = server_context(node, clients_need_certificates=True)
    async with running_server(tls=context) as (_, handler, address):
        with pytest.raises(TlsFailed, match=r"demands a certificate of this end: give one"):
            await metrics_of(address, TlsFiles(ca=authority.path))
        late = authority.issue("late", "client.example", expired=True)
        with pytest.raises(TlsFailed, match="because it has expired: renew it"):
            await metrics_of(address, late)
        assert not handler.messages
        assert await metrics_of(address, authority.issue("client", "client.example"))


@pytest.mark.parametrize("foreign", [False, True])
@async_test
async def test_both_ends_say_that_a_certificate_is_refused(
    authority: Authority,
    node: TlsFiles,
    directory: Path,
    caplog: pytest.LogCaptureFixture,
    foreign: bool,
) -> None:
    given, why = TlsFiles(), "it has shown no certificate, and --tls-client-certs asks for one"
    if foreign:
        given = Authority(directory, "foreign").issue("foreign-client")
        why = "it needs one that an authority in --tls-ca of this node has signed"
    files = TlsFiles(authority.path, given.cert, given.key)
    context = server_context(node, clients_need_certificates=True)
    async with running_server(tls=context) as (_, handler, address):
        for _ in range(3):
            with pytest.raises(TlsFailed, match="certificate"):
                await metrics_of(address, files)
        assert not handler.messages
        (line,) = [each for each in caplog.messages if "refused a connection from 127" in each]
        assert why in line


async def introduced(address: str, files: TlsFiles | None) -> str | None:
    """Open a peer's connection. Returns the error of the attempt, or None once `Hello` is accepted."""
    peers = RecordingPeers()
    pool = PeerPool(
        CODEC,
        peers,
        lambda message_id: Hello(message_id, 1, "c1", 2),
        random.Random(1),
        runtime=REAL,
        tls=None if files is None else client_context(files),
    )
    pool.set_peers({1: address})
    try:
        await until(
            lambda: pool.peer_states()[0].connected or pool.peer_states()[0].last_error,
            "an outcome",
        )
        return pool.peer_states()[0].last_error
    finally:
        await pool.close()


@async_test
async def test_a_peer_needs_a_certificate(
    authority: Authority, node: TlsFiles, directory: Path
) -> None:
    context = server_context(node)
    async with running_server(tls=context, peers_need_certificates=True) as (_, handler, address):
        without = await introduced(address, TlsFiles(ca=authority.path))
        assert without is not None
        assert "a peer needs a certificate" in without
        foreign = Authority(directory, "foreign").issue("foreign")
        refused = await introduced(address, TlsFiles(authority.path, foreign.cert, foreign.key))
        assert refused is not None
        assert not handler.hellos
        assert await introduced(address, node) is None
        assert len(handler.hellos) == 1


@async_test
async def test_changed_files_are_used(authority: Authority, directory: Path) -> None:
    expired = authority.issue("renewed", expired=True)
    trusted = TlsFiles(ca=authority.path)
    async with running_server(tls=server_context(expired)) as (_, _, address):
        with pytest.raises(TransportError, match="expired"):
            await metrics_of(address, trusted)
        authority.issue("renewed")
        assert await metrics_of(address, trusted)


@async_test
async def test_a_client_follows_changed_authorities(node: TlsFiles, directory: Path) -> None:
    ca = directory / "followed.pem"
    ca.write_bytes(Authority(directory, "before").path.read_bytes())
    context = client_context(TlsFiles(ca=ca))
    async with running_server(tls=server_context(node)) as (_, _, address):
        with pytest.raises(TransportError, match="not accepted"):
            await ClientConnection.connect(Address.parse(address), tls=context)
        assert node.ca is not None
        ca.write_bytes(node.ca.read_bytes())
        connection = await ClientConnection.connect(Address.parse(address), tls=context)
        await connection.close()


def test_useless_files_leave_the_old_context(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    files = authority.issue("broken")
    cert = files.cert
    assert cert is not None
    context = server_context(files)
    before = context.current
    cert.write_text("not a certificate")
    assert context.current is before
    assert context.current is before
    (line,) = [each for each in caplog.messages if "cannot be used" in each]
    assert str(cert) in line
    caplog.clear()  # the line is an error, and it is wanted
    authority.issue("broken")
    assert context.current is not before


@async_test
async def test_unfinished_handshakes_are_bounded(node: TlsFiles) -> None:
    limits = TransportLimits(max_handshakes=4, handshake_timeout_s=30)
    async with running_server(limits=limits, tls=server_context(node)) as (server, _, address):
        silent = [await open_raw(address) for _ in range(12)]
        assert await metrics_of(address, TlsFiles(ca=node.ca))
        await until(lambda: server.stats.connections_refused >= 8, "the oldest are dropped")
        for _, writer in silent:
            writer.close()


@async_test
async def test_a_slow_handshake_ends(node: TlsFiles) -> None:
    limits = TransportLimits(handshake_timeout_s=0.2)
    async with running_server(limits=limits, tls=server_context(node)) as (_, _, address):
        reader, writer = await open_raw(address)
        writer.write(b"\x16\x03\x01")  # the beginning of a TLS record
        assert await reader.read() == b""
        writer.close()


def _encrypted(files: TlsFiles) -> TlsFiles:
    assert files.key is not None
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    files.key.write_bytes(text)
    return files


def _other_key(files: TlsFiles, authority: Authority) -> TlsFiles:
    return TlsFiles(files.ca, files.cert, authority.issue("another").key)


@pytest.mark.parametrize("kind", ["missing", "empty", "encrypted", "other key", "no authority"])
def test_files_without_use_are_named(authority: Authority, directory: Path, kind: str) -> None:
    files = authority.issue("useless")
    cert = files.cert
    assert cert is not None
    match kind:
        case "missing":
            files = TlsFiles(files.ca, directory / "nothing.crt", files.key)
            expected = "nothing.crt: cannot read the certificate: No such file"
        case "empty":
            cert.write_text("")
            expected = "useless.crt and .*useless.key hold no certificate"
        case "encrypted":
            files, expected = _encrypted(files), "useless.key: the private key is encrypted"
        case "other key":
            files = _other_key(files, authority)
            expected = "another.key is not the private key of the certificate in .*useless.crt"
        case _:
            files = TlsFiles(files.key, files.cert, files.key)
            expected = "useless.key holds no certificates"
    with pytest.raises(ConfigError, match=expected):
        server_context(files)
    with pytest.raises(ConfigError, match=expected):
        client_context(files)


def test_a_key_that_may_not_be_read_is_named(authority: Authority) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    files = authority.issue("hidden")
    assert files.key is not None
    files.key.chmod(0)
    with pytest.raises(ConfigError, match=r"hidden\.key: cannot read the private key: Permission"):
        server_context(files)


class Breaking(asyncio.Protocol):
    """Asks for the unacknowledged bytes at the moment at which its connection is gone."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        assert self.transport is not None
        try:
            self.found.set_result(REAL.unacknowledged_bytes(self.transport))
        except AttributeError as bug:
            self.found.set_exception(bug)


@async_test
async def test_a_broken_connection_has_nothing_unacknowledged(
    node: TlsFiles,
) -> None:
    async with running_server(tls=server_context(node)) as (_, _, address):
        where = Address.parse(address)
        tls = TlsClient(client_context(TlsFiles(ca=node.ca)), where.host)
        broken = await REAL.connect(Breaking, where.host, where.port, tls)
        assert broken.transport is not None
        broken.transport.abort()
        assert await asyncio.wait_for(broken.found, 5) == 0
