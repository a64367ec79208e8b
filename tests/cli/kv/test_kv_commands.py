"""`qcore kv` against a real node: what each command prints in each format, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qcore.cli.exits import ExitCode
from qcore.processes import ProcessCluster
from tests.checkout import CHECKOUT
from tests.process.conftest import ARGUMENTS, assert_no_traceback
from tests.process.support.commands import Ended, run_here

pytestmark = pytest.mark.process

#: A command without `qcore kv`.
Kv = Callable[..., Ended]


def one_node(directory: Path, *arguments: str) -> Iterator[ProcessCluster]:
    with ProcessCluster(directory, size=1, arguments=(*ARGUMENTS, *arguments)) as nodes:
        nodes.start()
        assert run_here("cluster", "init", "--endpoints", nodes.endpoints[0]).code == 0
        nodes.wait_leader()
        yield nodes
    assert_no_traceback(nodes)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    """A cluster of one node that runs the key-value machine."""
    yield from one_node(tmp_path_factory.mktemp("kv"), "--machine", "kv")


@pytest.fixture
def kv(node: ProcessCluster, monkeypatch: pytest.MonkeyPatch) -> Kv:
    """Runs commands. Each test begins without keys."""
    monkeypatch.setenv("QCORE_ENDPOINTS", node.endpoints[0])
    assert run_here("kv", "del", "", "--prefix").code == 0

    def run(*words: str, stdin: str = "") -> Ended:
        return run_here("kv", *words, stdin=stdin)

    return run


def printed(done: Ended) -> Any:
    """The JSON that a command printed."""
    assert done.code == 0, done
    return json.loads(done.stdout)


def revision_of(done: Ended) -> int:
    assert done.code == 0, done
    return int(done.stdout.splitlines()[0].removeprefix("revision "))


def test_a_key_is_set_shown_and_deleted(kv: Kv) -> None:
    first = revision_of(kv("put", "a", "1"))
    replaced = kv("put", "a", "2", "--previous")
    assert replaced.stdout == f"revision {revision_of(replaced)}\nbefore: a  1\n"
    found = printed(kv("get", "a", "-o", "json"))
    assert found["kvs"] == [
        {
            "key": "a",
            "value": "2",
            "create_revision": first,
            "mod_revision": revision_of(replaced),
            "version": 2,
            "lease": 0,
        }
    ]
    assert (found["more"], found["count"]) == (False, 1)
    assert kv("get", "a", "--value-only").stdout == "2\n"
    assert kv("get", "a", "--value-only", "--revision", str(first)).stdout == "1\n"
    header, row = kv("get", "a").stdout.splitlines()
    assert header.split("  ")[0] == "KEY"
    assert row.split()[:2] == ["a", "2"]
    assert kv("del", "a", "--previous").stdout == "deleted 1 key\nbefore: a  2\n"
    assert kv("del", "a").stdout == "deleted 0 keys\n"
    gone = kv("get", "a")
    assert (gone.code, gone.stderr) == (ExitCode.REJECTED, "there is no key 'a'\n")


def test_results_have_three_formats(kv: Kv) -> None:
    assert printed(kv("put", "a", "1", "-o", "json")).keys() == {"revision"}
    body = printed(kv("put", "a", "2", "--previous", "-o", "json"))
    assert body["previous"]["value"] == "1"
    assert printed(kv("put", "new", "x", "--previous", "-o", "json"))["previous"] is None
    header, row = csv.reader(io.StringIO(kv("get", "a", "-o", "csv").stdout))
    assert header == ["key", "value", "mod_revision", "create_revision", "version", "lease"]
    assert (row[:2], row[-1]) == (["a", "2"], "")
    done = printed(kv("del", "", "--prefix", "--previous", "-o", "json"))
    assert done["deleted"] == 2
    assert [each["key"] for each in done["previous"]] == ["a", "new"]
    header, row = csv.reader(io.StringIO(kv("del", "a", "-o", "csv").stdout))
    assert (header, row[0]) == (["deleted", "revision"], "0")


def test_a_range_is_shown_in_pages(kv: Kv) -> None:
    for key in ("a", "b/1", "b/2", "b/3", "c"):
        last = revision_of(kv("put", key, key.upper()))
    assert kv("get", "b/", "--prefix", "--value-only").stdout == "B/1\nB/2\nB/3\n"
    assert kv("get", "a", "--end", "b/2", "--value-only").stdout == "A\nB/1\n"
    assert kv("get", "zz", "--prefix").code == 0, "a range without keys is no error"
    page = kv("get", "", "--prefix", "--limit", "2", "--value-only")
    assert page.stdout == "A\nB/1\n"
    options = f"--after-key 'b/1' --revision {last}"
    assert page.stderr == f"there are other keys; to continue: {options}\n"
    kv("put", "b/2", "later")
    rest = kv("get", "", "--prefix", "--value-only", *shlex.split(options))
    assert (rest.stdout, rest.stderr) == ("B/2\nB/3\nC\n", "")
    shown = printed(kv("get", "c", "--keys-only", "-o", "json"))["kvs"]
    assert shown[0]["value"] == ""


def test_a_value_comes_from_a_file_or_standard_input(kv: Kv, tmp_path: Path) -> None:
    file = tmp_path / "value"
    file.write_bytes(b"\xff\x00")
    assert kv("put", "a", f"@{file}").code == 0
    assert kv("get", "a", "--value-only").stdout == "base64:/wA=\n"
    assert printed(kv("get", "a", "-o", "json"))["kvs"][0]["value"] == {"base64": "/wA="}
    assert kv("put", "b", "-", stdin="two\nlines").code == 0
    assert kv("get", "b", "--value-only").stdout == "two\nlines\n"
    missing = kv("put", "c", f"@{tmp_path}/missing")
    assert missing.code == ExitCode.USAGE
    assert "cannot be read: No such file" in missing.stderr


def test_a_transaction_prints_its_result(kv: Kv) -> None:
    text = json.dumps(
        {
            "if": [{"key": "a", "exists": False}],
            "then": [{"op": "put", "key": "a", "value": "1"}],
            "else": [{"op": "range", "key": "a"}],
        }
    )
    first = printed(kv("txn", text))
    assert (first["succeeded"], first["responses"]) == (True, [{"op": "put"}])
    second = printed(kv("txn", "-", stdin=text))
    assert not second["succeeded"]
    assert second["responses"][0]["kvs"][0]["value"] == "1"
    header, _ = csv.reader(io.StringIO(kv("txn", text, "-o", "csv").stdout))
    assert header == ["revision", "succeeded", "responses"]


def test_a_watch_prints_changes_from_a_revision_on(kv: Kv) -> None:
    first = revision_of(kv("put", "a/1", "x"))
    second = revision_of(kv("put", "a/1", "y"))
    kv("put", "b", "other")
    kv("del", "a/1")
    words = ["watch", "a/", "--prefix", "--from-revision"]
    done = kv(*words, str(first), "--count", "3", "-o", "json", "--previous")
    put, replaced, deleted = map(json.loads, done.stdout.splitlines())
    assert (put["type"], put["kv"]["value"], put["previous"]) == ("put", "x", None)
    assert replaced["previous"]["value"] == "x"
    assert deleted["type"] == "delete"
    assert deleted["kv"].keys() == {"key", "mod_revision"}
    last = deleted["kv"]["mod_revision"]
    assert done.stderr == f"to continue: --from-revision {last + 1}\n"
    rows = list(
        csv.reader(io.StringIO(kv(*words, str(second), "--count", "2", "-o", "csv").stdout))
    )
    assert rows[0] == ["revision", "type", "key", "value"]
    assert rows[1:] == [[str(second), "put", "a/1", "y"], [str(last), "delete", "a/1", ""]]
    lines = kv(*words, str(first), "--count", "1").stdout
    assert lines.split() == [str(first), "put", "a/1", "x"]


def test_a_watch_goes_on_until_ctrl_c(node: ProcessCluster, kv: Kv) -> None:
    command = [sys.executable, "-m", "qcore", "kv", "watch", "a", "-o", "csv"]
    watching = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert watching.stdout is not None
    assert watching.stdout.readline() == "revision,type,key,value\n"
    revision = revision_of(kv("put", "a", "1"))
    assert watching.stdout.readline() == f"{revision},put,a,1\n"
    watching.send_signal(signal.SIGINT)
    _, error = watching.communicate(timeout=60)
    assert watching.returncode == ExitCode.INTERRUPTED
    assert error == f"to continue: --from-revision {revision + 1}\n"


def test_compaction_ends_earlier_revisions(kv: Kv) -> None:
    first = revision_of(kv("put", "a", "1"))
    second = revision_of(kv("put", "a", "2"))
    assert (
        kv("compact", str(second)).stdout == f"the oldest revision that can be read is {second}\n"
    )
    again = kv("compact", str(second))
    assert again.code == ExitCode.REJECTED
    assert f"revision {second} is compacted" in again.stderr
    assert "does not exist yet" in kv("compact", str(second + 1000)).stderr
    early = kv("get", "a", "--revision", str(first))
    assert early.code == ExitCode.REJECTED
    assert f"the oldest that can be read is {second}" in early.stderr
    watched = kv("watch", "a", "--from-revision", str(first), "--count", "1")
    assert watched.code == ExitCode.REJECTED
    assert "qcore kv get" in watched.stderr
    status = printed(kv("status", "-o", "json"))
    assert (status["compacted"], status["revision"], status["keys"]) == (second, second, 1)


def test_a_lease_is_granted_kept_and_revoked(kv: Kv) -> None:
    lease = kv("lease", "grant", "3600").stdout.strip()
    assert kv("put", "a", "1", "--lease", lease).code == 0
    assert kv("lease", "list", "-o", "json").stdout.strip() == f"[{lease}]"
    shown = printed(kv("lease", "show", lease, "-o", "json"))
    assert (shown["lease"], shown["ttl_s"], shown["keys"]) == (int(lease), 3600, ["a"])
    assert 0 < shown["remaining_s"] <= 3600
    assert kv("lease", "keep", lease, "--once").stdout == f"lease {lease} lives for 3600 s\n"
    kept = printed(kv("lease", "keep", lease, "--once", "-o", "json"))
    assert kept == {"lease": int(lease), "ttl_s": 3600}
    assert kv("lease", "revoke", lease).stdout == "deleted 1 key\n"
    assert kv("get", "a").code == ExitCode.REJECTED
    for words in (["show"], ["keep", "--once"], ["revoke"]):
        done = kv("lease", *words, lease)
        assert done.code == ExitCode.REJECTED
        assert done.stderr == f"error: lease {lease} does not exist, or has ended\n"
    assert printed(kv("lease", "list", "-o", "json")) == []


def test_keep_ends_with_its_lease(kv: Kv) -> None:
    lease = kv("lease", "grant", "3600").stdout.strip()
    command = [sys.executable, "-m", "qcore", "kv", "lease", "keep", lease, "-o", "csv"]
    keeping = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert keeping.stdout is not None
    assert [keeping.stdout.readline() for _ in range(2)] == ["lease,ttl_s\n", f"{lease},3600.0\n"]
    keeping.send_signal(signal.SIGINT)
    keeping.communicate(timeout=60)
    assert keeping.returncode == ExitCode.INTERRUPTED


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["put", "", "x"], ExitCode.REJECTED, "error: key has 0 bytes; a key has 1 to 4096\n"),
        (["get", ""], ExitCode.REJECTED, "error: key has 0 bytes"),
        (["del", ""], ExitCode.REJECTED, "error: key has 0 bytes"),
        (["watch", "", "--count", "1"], ExitCode.REJECTED, "key has 0 bytes"),
        (["put", "k" * 4097, "x"], ExitCode.REJECTED, "key has 4097 bytes"),
        (["put", "a", "x", "--lease", "987654"], ExitCode.REJECTED, "lease 987654 does not exist"),
        (["put", "a", "x", "--lease", "-1"], ExitCode.USAGE, "--lease"),
        (["get", "a", "--prefix", "--end", "b"], ExitCode.USAGE, "--prefix or --end, not both"),
        (["del", "a", "--prefix", "--end", "b"], ExitCode.USAGE, "--prefix or --end, not both"),
        (["watch", "a", "--prefix", "--end", "b"], ExitCode.USAGE, "--prefix or --end, not both"),
        (["get", "a", "--revision", "0"], ExitCode.USAGE, "--revision"),
        (["get", "a", "--revision", "99999999"], ExitCode.REJECTED, "does not exist yet"),
        (["get", "a\udcff"], ExitCode.USAGE, "is not UTF-8 text"),
        (["txn", "{"], ExitCode.USAGE, "the transaction is not JSON"),
        (["txn", "[" * 100_000], ExitCode.USAGE, "the transaction is not JSON"),
        (["txn", "[]"], ExitCode.USAGE, "must be a JSON object with `if`, `then` and `else`"),
        (["txn", '{"then": [{"op": "put", "key": "a"}]}'], ExitCode.REJECTED, "then[0].value"),
        (["txn", '{"thn": []}'], ExitCode.REJECTED, "unknown fields: thn"),
        (["compact", "0"], ExitCode.USAGE, "REVISION"),
        (["lease", "grant", "0.01"], ExitCode.USAGE, "SECONDS"),
        (["lease", "grant", "nan"], ExitCode.USAGE, "SECONDS"),
        (["lease", "grant", "inf"], ExitCode.USAGE, "ttl_s: inf is no number of seconds"),
        (["lease", "grant", "1e300"], ExitCode.REJECTED, "ttl_ms must be"),
        (["lease", "show", "x"], ExitCode.USAGE, "ID"),
    ],
)
def test_bad_input_is_one_line(kv: Kv, words: list[str], code: ExitCode, reason: str) -> None:
    done = kv(*words)
    assert (done.code, done.stdout) == (code, ""), done
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def other(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[ProcessCluster]:
    """A cluster of one node that runs another machine."""
    yield from one_node(tmp_path_factory.mktemp("other"), "--machine", request.param)


@pytest.mark.parametrize("other", ["register", "entity"], indirect=True)
def test_another_machine_is_named_with_advice(other: ProcessCluster) -> None:
    for words in (
        ["get", "a"],
        ["put", "a", "1"],
        ["put", "a", "1", "--previous"],
        ["del", "a"],
        ["txn", "{}"],
        ["watch", "a", "--count", "1"],
        ["compact", "1"],
        ["status"],
        ["lease", "grant", "10"],
        ["lease", "list"],
    ):
        done = run_here("kv", *words, "--endpoints", other.endpoints[0])
        assert (done.code, done.stdout) == (ExitCode.REJECTED, ""), done
        assert "this cluster runs the state machine '" in done.stderr, words
        assert "--machine kv" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_command_of_entities_names_this_one(node: ProcessCluster) -> None:
    done = run_here("entity", "tree", "--endpoints", node.endpoints[0])
    assert done.code == ExitCode.REJECTED
    assert "runs the state machine 'kv'" in done.stderr
    assert "use `qcore kv`" in done.stderr
