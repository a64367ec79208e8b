"""A configuration file that cannot be used: the error says what is wrong, where, and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qcore.cli.exits import ExitCode
from qcore.cli.main import app
from qcore.cli.node.config_file import read_config_file
from qcore.cli.node.setting_options import NODE_SETTINGS
from qcore.errors import ConfigError
from qcore.processes import NodeProcess, free_ports
from tests.checkout import EXAMPLES


def read(path: Path) -> dict[str, object]:
    return read_config_file(path, NODE_SETTINGS)


@pytest.mark.parametrize(
    ("text", "line", "error"),
    [
        ("\n\nheartbeet_ms = 4", 3, "heartbeet_ms: unknown setting: did you mean heartbeat_ms?"),
        ("zz = 4", 1, "zz: unknown setting; `qcore node start --help` lists all"),
        ("heartbeat-ms = 4", 1, "heartbeat-ms: unknown setting; write heartbeat_ms"),
        ("node_id = 4", 1, "node_id: unknown setting; write id"),
        ("config_file = 'x'", 1, "config_file: unknown setting; write topology"),
        ("pre_vote = false", 1, "pre_vote: unknown setting"),
        ("id = 1\n[raft]\nheartbeat_ms = 4", 2, "raft is a table: write all settings as `name ="),
        ("raft.heartbeat_ms = 4", 1, "raft is a table"),
        ("[[raft]]\nheartbeat_ms = 4", 1, "raft is a table"),
        ("heartbeat_ms = '100'", 1, "heartbeat_ms is '100'; it must be an integer, such as 100"),
        ("heartbeat_ms = 100.0", 1, "heartbeat_ms is 100.0; it must be an integer"),
        ("heartbeat_ms = true", 1, "heartbeat_ms is true; it must be an integer"),
        ("heartbeat_ms = [100]", 1, "heartbeat_ms is [100]; it must be an integer"),
        ("heartbeat_ms.a = 1", 1, "heartbeat_ms is {'a': 1}; it must be an integer"),
        ("heartbeat_ms = 1979-05-27", 1, "heartbeat_ms is 1979-05-27; it must be an integer"),
        ("heartbeat_ms = 0", 1, "heartbeat_ms is 0; it must be at least 1"),
        ("'max_clients' = -1", 1, "max_clients is -1; it must be at least 1"),
        ("max_rules = 99", 1, "max_rules is 99; it must be from 1 to "),
        ("id = 9223372036854775808", 1, "id is 9223372036854775808; it must be from 1 to 92233720"),
        ("max_clients = 9223372036854775808", 1, "it must be at most 9223372036854775807"),
        ("max_clients = 1" + "0" * 400, 1, "0... (401 characters); it must be at most 92233720"),
        (
            "id = 0x" + "f" * 5000,
            1,
            "id is a number of more than 4300 digits; it must be from 1 to",
        ),
        (
            "id = [0x" + "f" * 5000 + "]",
            1,
            "id is a number of more than 4300 digits; it must be an",
        ),
        (
            "data_dir = 'a'\ntrace = \"b\\u0000\"",
            2,
            "'b\\x00'; it must not contain a null character",
        ),
        ('"a\\n\\u001b" = 1', 1, "a\\n\\x1b: unknown setting"),
        ("ping_interval_s = '5'", 1, "ping_interval_s is '5'; it must be a number, such as 1.5"),
        ("ping_interval_s = 0", 1, "ping_interval_s is 0; it must be positive and finite"),
        ("idle_timeout_s = inf", 1, "it must be positive and finite, or 0 for never"),
        ("idle_timeout_s = nan", 1, "it must be positive and finite, or 0 for never"),
        ("lease_reads = 1", 1, "lease_reads is 1; it must be true or false"),
        ("log_format = 'xml'", 1, "log_format is 'xml'; it must be text or json"),
        ("log_level = []", 1, "log_level is []; it must be debug or info or warning or error"),
        ("machine = 7", 1, 'machine is 7; it must be a text, in "quotes"'),
        ("allow_origins = 'x'", 1, "allow_origins is 'x'; it must be a list of texts, [\"...\""),
        ("allow_origins = ['a', 7]", 1, "allow_origins is ['a', 7]; it must be a list of texts"),
        ("data_dir = 7", 1, 'data_dir is 7; it must be a path, in "quotes"'),
        ("data_dir = ' '", 1, "data_dir is empty; give a value, or remove the line"),
        ("ws_addr = 8080", 1, 'ws_addr is 8080; it must be an address, "host:port" in quotes'),
        ("ws_addr = '8080'", 1, "ws_addr: '8080' is not host:port, for example 127.0.0.1:8080"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_line(
    text: str, line: int, error: str, tmp_path: Path
) -> None:
    path = tmp_path / "node.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: ")
    assert error in message


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"id = = 1", "not TOML: Invalid value (at line 1, column 6)"),
        (b"id = 1\nid = 2\n", "not TOML: Cannot overwrite a value (at line 2"),
        (b"id = " + b"1" * 5000, "not TOML: "),
        (b"a = " + b"[" * 100_000, "not TOML: "),
        (b"id: 1\ndata_dir: x\n", "it looks like YAML; a topology goes to --topology"),
        (b"id = 1\nmachine = '\xff'", ":2:12: not UTF-8 text: invalid start byte"),
        (b"#" * (1024 * 1024 + 1), "it is larger than 1048576 bytes"),
    ],
)
def test_a_file_that_is_not_toml_is_refused(content: bytes, error: str, tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert error in str(caught.value)


def test_a_special_or_missing_file_is_refused(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, error in (
        (tmp_path / "missing", "No such file or directory"),
        (tmp_path, "it is a directory, not a regular file"),
        (fifo, "it is a FIFO, not a regular file"),
        (tmp_path / "missing" / "x", "No such file or directory"),
    ):
        with pytest.raises(ConfigError) as caught:
            read(path)
        assert str(caught.value) == f"--config {path}: {error}; name another file"


def test_a_file_may_begin_with_the_mark_of_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(b"\xef\xbb\xbfheartbeat_ms = 4\r\n")
    assert read(path) == {"heartbeat_ms": 4}


def test_a_number_without_end_is_out_of_range() -> None:
    code, error = start("--id", "1", "--data-dir", "d", "--max-clients", "1" + "0" * 400)
    assert code == ExitCode.USAGE
    assert error.endswith("it must be at most 9223372036854775807")


def test_a_file_without_settings_gives_none(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("# heartbeat_ms = 4\n\n")
    assert read(path) == {}
    example = read(EXAMPLES / "node.toml")
    assert example["node_id"] == 6


def start(*arguments: str, variables: dict[str, str] | None = None) -> tuple[int, str]:
    """The exit code and the error of a start in this process, which must fail before a node runs."""
    done = CliRunner().invoke(app, ["node", "start", *arguments], env=variables)
    if isinstance(done.exception, ConfigError):
        return ExitCode.USAGE, str(done.exception)
    return done.exit_code, done.output


def test_a_contradiction_names_where_each_value_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(f"id = 1\ndata_dir = '{tmp_path / 'data'}'\nheartbeat_ms = 600\n")
    file = ("--config", str(path))
    _, in_file = start(*file)
    assert in_file.startswith(
        f"heartbeat_ms in {path} (600) must be below --election-timeout-min-ms (500)"
    )
    _, in_variable = start(*file, variables={"QCORE_HEARTBEAT_MS": "700"})
    assert in_variable.startswith("QCORE_HEARTBEAT_MS (700) must be below --election-timeout-min")
    _, in_option = start(*file, "--heartbeat-ms", "800", variables={"QCORE_HEARTBEAT_MS": "700"})
    assert in_option.startswith("--heartbeat-ms (800) must be below --election-timeout-min-ms")
    code, out_of_range = start(*file, variables={"QCORE_MAX_CLIENTS": "0"})
    assert code == ExitCode.USAGE
    assert "'--max-clients' (env var: 'QCORE_MAX_CLIENTS')" in out_of_range


def test_a_missing_setting_is_named_although_there_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("id = 1\n")
    code, error = start("--config", str(path))
    assert code == ExitCode.USAGE
    assert "Missing option '--data-dir'" in error
    code, error = start("--config", "")
    assert code == ExitCode.USAGE
    assert "the path is empty" in error


def test_the_option_storage_is_gone(tmp_path: Path) -> None:
    code, error = start("--id", "1", "--data-dir", str(tmp_path / "d"), "--storage", "sqlite")
    assert code == ExitCode.USAGE
    assert "No such option" in error
    assert "--storage" in error


def test_a_wrong_origin_names_where_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(f"id = 1\ndata_dir = '{tmp_path / 'data'}'\nallow_origins = ['http://a/b']\n")
    file = ("--config", str(path))
    advice = "is not an origin: write scheme://host or scheme://host:port without a path"
    code, in_file = start(*file)
    assert code == ExitCode.USAGE
    assert in_file.startswith(f"allow_origins in {path}: 'http://a/b' {advice}")
    _, in_variable = start(*file, variables={"QCORE_ALLOW_ORIGINS": "http://a,a.example"})
    assert in_variable.startswith(f"QCORE_ALLOW_ORIGINS: 'a.example' {advice}")
    _, in_option = start(*file, "--allow-origin", "null, http://a", "--allow-origin", "http://")
    assert in_option.startswith(f"--allow-origin: 'http://' {advice}")
    code, empty = start(*file, "--allow-origin", " ")
    assert code == ExitCode.USAGE
    assert "it is empty; give a value, or leave it out" in empty


@pytest.mark.process
def test_a_node_refuses_settings_in_place_of_a_topology(tmp_path: Path) -> None:
    """The older name of the option invites this mistake."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "qcore", "node", "start", "--id", "1"),
            *("--data-dir", str(tmp_path / "data"), "--ws-addr", "127.0.0.1:0"),
            *("--config-file", str(EXAMPLES / "node.toml")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.USAGE
    assert (
        "this file is TOML, and a topology is YAML: a node's settings go to --config" in done.stderr
    )


@pytest.mark.process
def test_a_real_node_obeys_options_variables_and_its_file(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    trace = tmp_path / "trace.jsonl"
    path.write_text(f"log_format = 'json'\npriority = 3\ntrace = '{trace}'\n")
    (port,) = free_ports(1)
    variables = {"QCORE_CONFIG": str(path), "QCORE_PRIORITY": "4", "QCORE_LOG_FORMAT": "text"}
    started = NodeProcess(1, port, tmp_path, ["--priority", "5"], variables)
    try:
        started.start()
        page = started.get("/metrics")[1]
        assert "\nqcore_raft_priority 5.0\n" in page
        assert trace.exists()
        started.stop()
        logged = [line for line in started.log_text().splitlines() if "listening" in line]
        assert [line[0] for line in logged] == ["2"]  # a line of text begins with its date
    finally:
        started.kill()
