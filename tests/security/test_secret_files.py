"""A file with a secret that other users can read is named, once, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.client.login.credentials import Credentials
from qcore.security.secret_files import EVERY_USER, exposure
from tests.checkout import DOCS
from tests.process.support.commands import run_here

NOWHERE = ("--endpoints", "127.0.0.1:1", "--timeout", "0.1")


@pytest.mark.parametrize(
    ("option", "more"), [("--token-file", ()), ("--password-file", ("--user", "ann"))]
)
def test_a_command_warns_of_a_secret_file(
    tmp_path: Path, option: str, more: tuple[str, ...]
) -> None:
    path = tmp_path / "secret"
    path.write_text("a secret of ann\n")
    words = ("user", "list", option, str(path), *more, *NOWHERE)
    path.chmod(0o600)
    assert "warning" not in run_here(*words).stderr
    path.chmod(0o640)
    stderr = run_here(*words).stderr
    assert stderr.count("warning: ") == 1
    assert f"{path}, which holds a secret (mode 0640): chmod 600 {path}" in stderr
    assert "a secret of ann" not in stderr
    assert "warning" not in run_here(*words).stderr, "once in a process"


def test_a_command_warns_of_its_private_key(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.touch(0o644)
    given = ("--tls-cert", str(key), "--tls-key", str(key))
    assert f"chmod 600 {key}" in run_here("user", "list", *given, *NOWHERE).stderr


def test_a_client_warns_of_its_token_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "token"
    path.write_text("secret\n")
    path.chmod(0o604)
    credentials = Credentials(token_file=path)
    assert credentials.current_token() == credentials.current_token() == "secret"
    (line,) = caplog.messages
    assert f"chmod 600 {path}" in line


def test_a_group_may_read_a_private_key() -> None:
    key = Path("key")
    assert exposure(key, 0o100640, EVERY_USER) is None
    assert exposure(key, 0o100640) is not None
    assert exposure(key, 0o100644, EVERY_USER) is not None
    assert exposure(key, 0o010666) is None, "a FIFO"


def test_the_trial_of_the_documents_makes_a_private_key() -> None:
    text = (DOCS / "security.md").read_text(encoding="utf-8")
    (trial,) = [block for block in text.split("```") if "python -m trustme" in block]
    assert trial.splitlines()[1] == "umask 077"
