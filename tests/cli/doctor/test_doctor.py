"""`qcore doctor` finds planted faults, and says what to change."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from qcore.cli.doctor import disk
from qcore.cli.doctor.computer import listener_of, open_files, port
from qcore.cli.doctor.disk import disk_findings, file_system_of
from qcore.cli.doctor.files import file_findings, package_findings
from qcore.cli.doctor.finding import Finding
from qcore.cli.doctor.nodes import _findings, ask
from qcore.cli.exits import ExitCode
from qcore.errors import TransportError
from qcore.node.backups.backup_config import BackupConfig
from qcore.node.discovery.discovery_config import DiscoveryConfig
from qcore.node.node import Node
from qcore.processes import free_ports
from qcore.transport.address import Address
from qcore.transport.limits import TransportLimits
from tests.node.embedded.embedded_nodes import config_of
from tests.process.support.commands import run_here


def examined(tmp_path: Path, *lines: str, code: int = ExitCode.DONE) -> dict[str, Finding]:
    """What doctor finds with these lines in the configuration file, by check; the last one of each."""
    file = tmp_path / "node.toml"
    file.write_text("\n".join([f'id = 1\nws_addr = "127.0.0.1:{free_ports(1)[0]}"', *lines]))
    done = run_here("doctor", "--config", str(file), "-o", "json")
    assert done.code == code, done
    body = json.loads(done.stdout)
    assert body["ok"] is (code == ExitCode.DONE)
    return {each["check"]: Finding(**each) for each in body["findings"]}


def verdicts(findings: Iterator[Finding]) -> dict[str, str]:
    return {each.check: each.verdict for each in findings}


@contextmanager
def listening() -> Iterator[Address]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield Address(*taken.getsockname())


def test_a_good_configuration_has_no_problem(tmp_path: Path) -> None:
    found = examined(tmp_path)
    assert found["configuration"].found.endswith("node.toml does not give --data-dir")
    assert found["port"].found.endswith("is free")
    assert {each.verdict for each in found.values()} <= {"ok", "warning"}
    assert all(bool(each.advice) is (each.verdict != "ok") for each in found.values())


@pytest.mark.parametrize(
    ("line", "check", "expected"),
    [
        ("heartbeat_ms = 'fast'", "configuration", "node.toml:3: heartbeat_ms"),
        ("hartbeat_ms = 9", "configuration", "heartbeat_ms"),
        ("election_timeout_min_ms = 10", "configuration", "election_timeout_min_ms"),
        ("machine = 'none'", "state machine", "none"),
        ("topology = 'missing.yaml'", "state machine", "missing.yaml"),
        ("tls_cert = 'missing.pem'", "TLS", "missing.pem"),
        ("log_file = '/missing/node.log'", "files", "log_file: there is no directory /missing"),
    ],
)
def test_a_wrong_setting_is_a_problem(tmp_path: Path, line: str, check: str, expected: str) -> None:
    found = examined(tmp_path, line, code=ExitCode.FAILED)[check]
    assert found.verdict == "problem"
    assert expected in found.found


def test_a_wrong_variable_is_named_and_no_port_is_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QCORE_LOG_LEVEL", "loud")
    found = examined(tmp_path, code=ExitCode.FAILED)
    assert "QCORE_LOG_LEVEL" in found["configuration"].found
    assert "port" not in found


def test_files_that_cannot_be_opened_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, missing, file = config_of(1, tmp_path), tmp_path / "missing", tmp_path / "file"
    file.touch()
    backups = BackupConfig(backup_dir=tmp_path)
    fit = replace(config, log_file=tmp_path / "new", trace=file, backups=backups)
    (found,) = file_findings(fit)
    expected = f"log_file {tmp_path}/new, trace {file}, backup_dir {tmp_path}"
    assert (found.verdict, found.found) == ("ok", expected)
    assert sorted(tmp_path.iterdir()) == [file]
    wrong = {
        f"log_file: there is no directory {missing}": replace(config, log_file=missing / "log"),
        f"audit_log {tmp_path} is a directory": replace(config, audit_log=tmp_path),
        f"trace: {file} is not a directory": replace(config, trace=file / "trace"),
        f"backup_dir: there is no directory {missing}": replace(
            config, backups=BackupConfig(backup_dir=missing)
        ),
        f"--join-token-file {missing}: No such file": replace(config, join_token_file=missing),
    }
    for text, settings in wrong.items():
        (found,) = file_findings(settings)
        assert (found.verdict, text in found.found) == ("problem", True), found
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert {each.found.partition(":")[0] for each in file_findings(fit)} == {
        "log_file",
        "trace",
        "backup_dir",
    }


def test_a_package_that_a_setting_needs_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_of(package: str) -> None:
        if "." in package:
            raise ModuleNotFoundError(package)

    config = config_of(1, tmp_path)
    monkeypatch.setattr("qcore.cli.doctor.files.find_spec", none_of)
    assert list(package_findings(config)) == []
    founders = DiscoveryConfig(auto_init=True, expect=2, discover=("mdns:blue",))
    needy = {"otel": replace(config, otel=True), "mdns": replace(config, discovery=founders)}
    for extra, settings in needy.items():
        (found,) = package_findings(settings)
        assert found.advice == f"pip install 'qcore-raft[{extra}]'"


@pytest.mark.parametrize(("days", "verdict"), [(-1, "problem"), (5, "warning"), (300, "ok")])
def test_a_certificate_that_ends_is_found(tmp_path: Path, days: int, verdict: str) -> None:
    end = datetime.now(UTC) + timedelta(days=days, hours=1)
    made = trustme.CA().issue_cert("node", not_after=end)
    pem = tmp_path / "pem"
    made.private_key_and_cert_chain_pem.write_to_path(str(pem))
    pem.chmod(0o600)
    code = ExitCode.FAILED if verdict == "problem" else ExitCode.DONE
    found = examined(tmp_path, f"tls_cert = '{pem}'", code=code)["TLS"]
    assert (found.verdict, f"{end:%Y-%m-%d}" in found.found) == (verdict, True)
    pem.chmod(0o644)
    found = examined(tmp_path, f"tls_cert = '{pem}'", code=ExitCode.FAILED)["TLS"]
    assert found.advice == f"chmod o= {pem}"


def test_a_port_in_use_names_the_process() -> None:
    with listening() as address:
        found = port(address, None)
        assert found.verdict == "problem"
        assert f"process {os.getpid()} (" in found.found
    assert port(address, None).verdict == "ok"
    assert port(Address("203.0.113.1", 8080), None).verdict == "problem"  # of no interface


def test_a_process_at_another_address_does_not_take_the_port() -> None:
    with listening() as address:
        assert listener_of("127.0.0.1", address.port) == os.getpid()
        assert listener_of("0.0.0.0", address.port) == os.getpid()
        assert listener_of("127.0.0.9", address.port) is None
        assert listener_of("::1", address.port) is None


def test_a_node_that_listens_already_is_no_problem(tmp_path: Path) -> None:
    with listening() as address:
        (tmp_path / "qcore.lock").write_text(f"{os.getpid():<15}\n")
        assert port(address, tmp_path).verdict == "ok"
        (tmp_path / "qcore.lock").write_text(f"{1:<15}\n")
        assert port(address, tmp_path).verdict == "problem"


@pytest.mark.parametrize(("limit", "verdict"), [(40, "problem"), (100, "warning"), (9999, "ok")])
def test_a_low_limit_of_files_is_found(
    limit: int, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limit, limit))
    assert open_files(TransportLimits()).verdict == verdict


@pytest.mark.parametrize(
    ("sync_ms", "verdict"), [(1.0, "ok"), (60.0, "warning"), (100.0, "problem")]
)
def test_a_slow_disk_is_found(
    tmp_path: Path, sync_ms: float, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The p99 counts: one slow write of a hundred is enough."""
    times = [0.0001] * 98 + [sync_ms / 1000] * 2
    monkeypatch.setattr(disk, "sync_times_s", lambda folder: times)
    assert verdicts(disk_findings(tmp_path, 100))["disk sync"] == verdict


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No disk is measured."""
    monkeypatch.setattr(disk, "sync_times_s", lambda folder: [0.0001])


def test_the_measured_writes_leave_no_file(tmp_path: Path) -> None:
    times = disk.sync_times_s(tmp_path, 5)
    assert len(times) == 5
    assert times == sorted(times)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick_disk")
@pytest.mark.parametrize(
    ("kind", "verdict"),
    [("ext4", "ok"), ("nfs4", "warning"), ("overlay", "warning"), ("tmpfs", "problem")],
)
def test_an_unsuitable_file_system_is_found(
    tmp_path: Path, kind: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "file_system_of", lambda folder: (kind, "/"))
    assert verdicts(disk_findings(tmp_path, 100_000))["file system"] == verdict


def test_the_innermost_mount_holds_the_folder(tmp_path: Path) -> None:
    data = tmp_path / "a b" / "data"
    data.mkdir(parents=True)
    outer, inner = str(tmp_path), str(data.parent).replace(" ", "\\040")
    mounts = f"""1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 8:2 / {outer} rw shared:1 - xfs /dev/sdb1 rw
3 2 0:9 / {inner} rw - nfs4 server:/x rw
4 1 0:9 / {outer}x rw - tmpfs none rw
"""
    assert file_system_of(data, mounts) == ("nfs4", str(data.parent))
    assert file_system_of(tmp_path, mounts) == ("xfs", outer)
    assert file_system_of(Path("/"), mounts) == ("ext4", "/")


def test_the_name_of_a_mount_may_have_any_letter(tmp_path: Path) -> None:
    data = tmp_path / "données"
    data.mkdir()
    mounts = f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / {data} rw - tmpfs none rw\n"
    assert file_system_of(data, mounts) == ("tmpfs", str(data))


@pytest.mark.usefixtures("quick_disk")
def test_less_space_than_the_quota_is_a_problem(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    (found,) = (
        each
        for each in disk_findings(tmp_path, 100_000, min_free_bytes=2 * free + (1 << 30))
        if each.check == "disk space"
    )
    assert (found.verdict, "min_free_disk_bytes" in found.found) == ("problem", True)


def test_a_full_disk_needs_space_and_no_repair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path) -> list[float]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(disk, "sync_times_s", full)
    (found,) = (each for each in disk_findings(tmp_path, 100) if each.check == "disk sync")
    assert found.advice == "make space"


@pytest.mark.usefixtures("quick_disk")
def test_files_that_others_can_read_are_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "log.db").touch(0o644)
    (found,) = (each for each in disk_findings(tmp_path, 100_000) if each.check == "file modes")
    assert (found.verdict, found.advice) == ("warning", f"chmod 700 {tmp_path}")
    (tmp_path / "node.key").touch(0o644)
    assert verdicts(disk_findings(tmp_path, 100_000))["file modes"] == "problem"
    tmp_path.chmod(0o700)
    assert verdicts(disk_findings(tmp_path, 100_000))["file modes"] == "ok"
    (tmp_path / "file").touch()
    assert verdicts(disk_findings(tmp_path / "file", 100)) == {"data directory": "problem"}


def test_nodes_that_differ_or_do_not_answer_are_found(tmp_path: Path) -> None:
    async def run() -> tuple[str, list[Finding], dict[str, object]]:
        async with Node(config_of(1, tmp_path)) as node:
            await node.client.init()
            found, error = await ask([node.address], 5.0)
            assert error is None
            return node.address, found, dict(node.metrics())

    address, found, metrics = asyncio.run(run())
    assert [each.verdict for each in found] == ["ok"]
    assert address in found[0].found
    older = json.loads(json.dumps(metrics)) | {"state": "Follower"}
    older["qcore"]["version"] = "0.1.0"
    responses = [metrics, older, TransportError("cannot connect to c:1")]
    three = list(_findings([address, "b:1", "c:1"], responses, {}))
    assert [(each.check, each.verdict) for each in three] == [
        ("node", "problem"),
        ("node versions", "warning"),
        ("node versions", "warning"),
    ]
