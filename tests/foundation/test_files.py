"""Files that a user names: only regular files are opened, and no command blocks on a FIFO."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qcore.errors import ConfigError
from qcore.files import decode_text, open_nonblocking, open_regular, open_to_append, read_regular
from qcore.node.access.audit_file import open_audit_file
from qcore.node.observability.logs import NodeLog
from qcore.sim import load_scenario
from qcore.sim.scenario.load import MAX_FILE_BYTES


def reason(path: Path, limit: int = 100) -> str:
    with pytest.raises(OSError) as caught:
        read_regular(path, limit)
    return str(caught.value.strerror)


def test_a_regular_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    (tmp_path / "link").symlink_to(path)
    assert read_regular(tmp_path / "link", 100) == b"x" * 100
    assert reason(path, 99) == "it is larger than 99 bytes"
    with open_regular(path) as file:
        assert os.get_blocking(file.fileno()) is False, "which regular files ignore"
        assert file.read(5) == b"xxxxx"


def test_the_error_names_the_kind_of_a_non_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert reason(tmp_path / "fifo") == "it is a FIFO, not a regular file"
    assert reason(tmp_path) == "it is a directory, not a regular file"
    assert reason(Path("/dev/zero")) == "it is a device, not a regular file"
    assert reason(tmp_path / "none") == "No such file or directory"
    (tmp_path / "loop").symlink_to("loop")
    assert reason(tmp_path / "loop") == "Too many levels of symbolic links"


def test_a_fifo_is_written_to_only_if_a_process_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(OSError, match="no process reads from it"):
        open(path, "a", opener=open_nonblocking)  # noqa: SIM115 - the file does not open
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with open(path, "a", opener=open_nonblocking) as stream:
            assert os.get_blocking(stream.fileno())
            stream.write("a line")
        assert os.read(reader, 100) == b"a line"
    finally:
        os.close(reader)


def test_an_endless_scenario_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "endless.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError, match=f"larger than {MAX_FILE_BYTES} bytes"):
        load_scenario(path)


@pytest.mark.process
def test_no_command_waits_for_a_fifo(tmp_path: Path) -> None:
    """Otherwise each of them would hang silently."""
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    node = ["node", "start", "--id", "1", "--ws-addr", "127.0.0.1:0", "--data-dir"]
    commands = [
        (["snapshot", "status", fifo], 1, "it is a FIFO"),
        (["sim", "run", fifo], 2, "it is a FIFO"),
        (["sim", "run", "leader_isolated", "--trace", fifo], 2, "no process reads from it"),
        ([*node, str(tmp_path / "1"), "--config-file", fifo], 2, "it is a FIFO"),
        ([*node, str(tmp_path / "2"), "--trace", fifo], 2, "no process reads from it"),
    ]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "qcore", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments, _, _ in commands
    ]
    try:
        for process, (arguments, code, reason) in zip(running, commands, strict=True):
            _, error = process.communicate(timeout=60)
            assert (process.returncode, reason in error) == (code, True), (arguments, error)
            assert fifo in error
            assert "Traceback" not in error
    finally:
        for process in running:
            process.kill()
            process.wait()


def test_a_new_file_is_private_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    new, old = tmp_path / "new.jsonl", tmp_path / "old.jsonl"
    old.touch()
    old.chmod(0o644)
    before = os.umask(0)
    try:
        for path in (new, old):
            with open(path, "a", opener=open_nonblocking) as stream:
                stream.write("{}\n")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (new, old)] == [0o600, 0o644]


def test_text_that_is_not_utf_8_is_refused_with_its_place() -> None:
    assert decode_text("a: é\n".encode(), "f") == "a: é\n"
    with pytest.raises(ConfigError, match=r"^f:2:5: not UTF-8 text: invalid"):
        decode_text("a: 1\nb: é".encode() + b"\xff\n", "f")


def test_a_link_to_a_file_is_not_appended_to(tmp_path: Path) -> None:
    victim, link, new = tmp_path / "victim", tmp_path / "link", tmp_path / "new"
    victim.write_text("as it was\n")
    victim.chmod(0o644)
    link.symlink_to(victim)
    with pytest.raises(OSError, match="it is a symbolic link to a file: name that file itself"):
        open_to_append(link)
    with pytest.raises(ConfigError, match=r"--audit-log .*link: it is a symbolic link"):
        open_audit_file(link, NodeLog(1))
    assert victim.read_text() == "as it was\n"
    assert victim.stat().st_mode & 0o777 == 0o644
    link.unlink()
    link.symlink_to(new)
    with pytest.raises(FileNotFoundError):
        open_to_append(link)
    link.unlink()
    link.symlink_to(os.devnull)
    for path in (link, new, victim):
        file = open_to_append(path)
        os.write(file, b"more\n")
        os.close(file)
    assert new.stat().st_mode & 0o777 == 0o600
    assert victim.read_text() == "as it was\nmore\n"
