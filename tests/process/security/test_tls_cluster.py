"""Three real nodes that use only TLS: they elect a leader, commands need the authority, certificates are renewed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from qcore.client import Client, TlsFiles
from qcore.errors import TransportError
from qcore.processes import ProcessCluster
from tests.process.conftest import ARGUMENTS, assert_no_traceback
from tests.process.support.commands import run_here
from tests.process.support.wire_client import string_schema
from tests.security.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secured(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProcessCluster]:
    files = authority.issue("node")
    assert files.key is not None
    files.key.chmod(0o644)
    options = ("--tls-cert", str(files.cert), "--tls-key", str(files.key))
    with ProcessCluster(
        tmp_path_factory.mktemp("cluster"),
        arguments=(*ARGUMENTS, *options, "--tls-ca", str(files.ca)),
        tls=ssl.create_default_context(cafile=authority.path),
    ) as nodes:
        nodes.start()
        members = ",".join(f"{node_id}={address}" for node_id, address in nodes.members)
        done = run_here(
            *("cluster", "init", "--nodes", members, "--tls-ca", str(authority.path)),
            *("--endpoints", nodes.endpoints[0]),
        )
        assert done.code == 0, done.stderr
        yield nodes
    assert_no_traceback(nodes)


def test_peers_and_commands_use_tls(secured: ProcessCluster, authority: Authority) -> None:
    endpoints = ",".join(secured.endpoints)
    options = ("--endpoints", endpoints, "--tls-ca", str(authority.path))
    secured.wait_leader()
    for words in (["cluster", "health"], ["member", "list"], ["cluster", "hash"]):
        done = run_here(*words, *options)
        assert done.code == 0, done.stderr
    secured.wait_leader().kill()
    done = run_here("schema", "list", *options)
    assert done.code == 0, done.stderr
    secured.start()


def test_nodes_warn_of_a_key_that_others_can_read(secured: ProcessCluster) -> None:
    for node in secured.nodes.values():
        assert "node.key, which holds a secret (mode 0644): chmod 600" in node.log_text()


def test_a_command_without_tls_says_what_to_do(secured: ProcessCluster) -> None:
    done = run_here("schema", "list", "--endpoints", secured.endpoints[1], "--timeout", "1")
    assert done.code == 3
    assert "connect with TLS (--tls-ca)" in done.stderr


def test_a_renewed_certificate_needs_no_restart(
    secured: ProcessCluster, authority: Authority
) -> None:
    node = secured.nodes[2]
    before = ssl.get_server_certificate(("127.0.0.1", node.port))
    authority.issue("node")
    after = ssl.get_server_certificate(("127.0.0.1", node.port))
    assert after != before
    assert node.get("/readyz")[0] == 200


def test_the_shell_keeps_the_options(secured: ProcessCluster, authority: Authority) -> None:
    done = run_here(
        *("shell", "--eval", "schema list", "--eval", "cluster health"),
        *("--endpoints", ",".join(secured.endpoints), "--tls-ca", str(authority.path)),
    )
    assert done.code == 0, done.stderr


@pytest.mark.long
def test_uvloop_serves_tls_and_its_clients(authority: Authority, tmp_path: Path) -> None:
    """Nodes with uvloop, and a client in a loop of uvloop: TLS, users, wrong certificates, a killed leader."""
    uvloop = pytest.importorskip("uvloop")
    files = authority.issue("uvloop-node")
    options = ("--tls-cert", str(files.cert), "--tls-key", str(files.key), "--tls-ca")
    tls = ssl.create_default_context(cafile=authority.path)
    with ProcessCluster(
        tmp_path, 3, (*ARGUMENTS, *options, str(files.ca), "--uvloop"), tls=tls
    ) as nodes:
        nodes.start()

        async def work() -> None:
            assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
            known = TlsFiles(ca=authority.path)
            async with Client(nodes.endpoints, tls=known) as client:
                await client.init(nodes.members)
                await client.set_schema(string_schema("Box", "Note"))
                await client.set_user("root", password="correct horse", roles=["admin"])
            async with Client(
                nodes.endpoints, tls=known, user="root", password="correct horse"
            ) as client:
                box = (await client.create_entity("Box", "box")).entity_id
                async with client.watch(entity=box, field_type="Note") as changes:
                    leader = (await client.get_metrics())["current_leader"]
                    assert leader is not None
                    nodes.nodes[leader].kill()
                    await client.write(box, "Note", "x" * 10_000)
                    assert len(str((await anext(changes)).current_value)) == 10_000
            running = [node.address for node in nodes.running()]
            with pytest.raises(TransportError, match="certificate"):
                async with Client(running, tls=TlsFiles(), timeout_s=1) as client:
                    await client.get_metrics()
            with pytest.raises(TransportError):
                async with Client(running, timeout_s=1) as client:
                    await client.get_metrics()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work())
    assert_no_traceback(nodes)


def test_a_wrong_file_ends_the_start(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run_here(
        *("node", "start", "--id", "1", "--data-dir", str(tmp_path), "--ws-addr", "127.0.0.1:0"),
        *("--tls-cert", str(tmp_path / "nothing.pem")),
    )
    assert done.code == 2
    assert "nothing.pem: cannot read the certificate: No such file" in done.stderr
    done = run_here(
        "node", "start", "--id", "1", "--data-dir", str(tmp_path), "--tls-ca", str(authority.path)
    )
    assert done.code == 2
    assert "--tls-ca is given without --tls-cert" in done.stderr
    monkeypatch.setenv("QCORE_TLS_CA", str(authority.path))
    done = run_here("node", "start", "--id", "1", "--data-dir", str(tmp_path))
    assert done.code == 2
    assert "`env -u QCORE_TLS_CA qcore node start ...`" in done.stderr
