"""`qcore sim trace`: the summary of a trace, its check, and its records as JSON lines."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from qcore.cli.main import main
from qcore.sim import parse_scenario, run_scenario
from qcore.trace import DETAIL_FIELDS, block_codec
from tests.trace.some_records import compact, messages


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run as `run.qtrace` and as `run.jsonl`, and its hash as `hash`."""
    folder = tmp_path_factory.mktemp("traces")
    scenario = parse_scenario("name: three\ncluster: {nodes: 3}\nuntil_ms: 2000\n")
    for name in ("run.qtrace", "run.jsonl"):
        result = run_scenario(scenario, 5, trace=folder / name)
    (folder / "hash").write_text(result.trace_sha256)
    return folder


class Qcore:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capfd = capfd

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """The exit code of `qcore sim trace`, and what it prints."""
        self._monkeypatch.setattr(sys, "argv", ["qcore", "sim", "trace", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self._capfd.readouterr()
        assert "Traceback" not in printed.err
        code = ended.value.code
        return code if isinstance(code, int) else 0, printed.out, printed.err


@pytest.fixture
def qcore(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Qcore:
    return Qcore(monkeypatch, capfd)


@pytest.mark.parametrize(
    ("name", "form", "version"), [("run.qtrace", "compact", 2), ("run.jsonl", "JSON lines", None)]
)
def test_a_summary_has_the_hash_of_the_run(
    qcore: Qcore, folder: Path, name: str, form: str, version: int | None
) -> None:
    code, out, err = qcore(folder / name, "-o", "json")
    body = json.loads(out)
    assert (code, err) == (0, "")
    assert body["trace_sha256"] == (folder / "hash").read_text()
    assert (body["format"], body["format_version"], body["schema"]) == (form, version, 1)
    assert (body["name"], body["seed"], body["nodes"]) == ("three", 5, [1, 2, 3])
    assert body["records"] == sum(body["kinds"].values()) > 100
    assert body["complete"] is True
    code, out, _ = qcore(folder / name)
    assert code == 0
    assert "complete        yes" in out


def test_a_compact_trace_is_printed_as_json_lines(qcore: Qcore, folder: Path) -> None:
    code, out, err = qcore(folder / "run.qtrace", "--json-lines", "--details")
    assert (code, err) == (0, "")
    written = (folder / "run.jsonl").read_text()
    assert out == written
    assert qcore(folder / "run.jsonl", "--json-lines", "--details") == (0, written, "")


def test_details_are_printed_only_if_asked(qcore: Qcore, folder: Path) -> None:
    lines = (folder / "run.jsonl").read_text().splitlines(keepends=True)
    detail_kinds = ("details", *DETAIL_FIELDS)
    plain = "".join(line for line in lines if json.loads(line)["kind"] not in detail_kinds)
    logs = "".join(line for line in lines if json.loads(line)["kind"] in ("details", "log"))
    for name in ("run.qtrace", "run.jsonl"):
        assert qcore(folder / name, "--json-lines") == (0, plain, "")
        code, out, _ = qcore(folder / name, "--json-lines", "--of-kinds", "log")
        # The mark has the time of the first line that follows it.
        assert (code, out.splitlines()[1:]) == (0, logs.splitlines()[1:])


def test_some_records_are_printed_as_json_lines(qcore: Qcore, folder: Path) -> None:
    lines = (folder / "run.jsonl").read_text().splitlines()
    wanted = [
        line
        for line in lines
        if json.loads(line)["kind"] in ("role", "commit") and json.loads(line)["node"] in (1, 3)
    ]
    for name in ("run.qtrace", "run.jsonl"):
        options = ("--json-lines", "--of-kinds", "role,commit", "--of-nodes", "1,3")
        assert qcore(folder / name, *options) == (0, "\n".join(wanted) + "\n", "")


def test_a_cut_trace_fails_the_check(qcore: Qcore, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.qtrace"
    path.write_bytes((folder / "run.qtrace").read_bytes()[:-30])
    code, out, err = qcore(path)
    assert code == 1
    assert "complete        no" in out
    assert "records are missing" in err


def test_changed_records_fail_the_check(qcore: Qcore, tmp_path: Path) -> None:
    records = messages(10)
    path = tmp_path / "changed.qtrace"
    path.write_bytes(compact(records, complete=False) + block_codec.end_block(31, bytes(32)))
    code, _, err = qcore(path)
    assert code == 1
    assert "the records have another hash than the file says, which is 0000" in err


def test_bad_usage_of_sim_trace_exits_with_2(qcore: Qcore, folder: Path, tmp_path: Path) -> None:
    run = folder / "run.qtrace"
    damaged = tmp_path / "damaged.qtrace"
    content = bytearray(run.read_bytes())
    content[40] ^= 1
    damaged.write_bytes(content)
    for arguments, says in (
        ((tmp_path / "none",), "cannot read the trace"),
        ((tmp_path,), "cannot read the trace"),
        (
            (damaged,),
            "damaged.qtrace: the trace is damaged at offset 16: a block has a wrong checksum",
        ),
        ((folder / "hash",), "hash: trace line 1 is not JSON; it is no compact trace either"),
        (
            (run, "--json-lines", "--of-kinds", "gossip"),
            "there is no kind 'gossip'; the kinds are run, up",
        ),
        ((run, "--json-lines", "--of-nodes", "one"), "'one' is not a list of node ids"),
        ((run, "--of-kinds", "op"), "give them with --json-lines"),
        ((run, "--details"), "give them with --json-lines"),
        ((), "FILE"),
    ):
        code, out, err = qcore(*arguments)
        assert (code, out) == (2, ""), err
        assert says in err


def test_an_empty_trace_is_not_complete(qcore: Qcore, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    code, out, err = qcore(tmp_path / "empty")
    assert (code, "complete        no" in out) == (1, True)
    assert "it holds no record" in err
