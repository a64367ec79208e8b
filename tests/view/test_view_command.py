"""`qcore view` and `View`: what they write, and what they say of wrong input."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from qcore.analysis.course.course_types import Course
from qcore.analysis.explanations.explain import explain
from qcore.cli.exits import ExitCode
from qcore.trace import CompactTrace, as_line
from qcore.trace.json_lines import details_mark
from qcore.view import notebook_view, save_page, view
from tests.checkout import CHECKOUT
from tests.documents import blocks
from tests.process.support.commands import Ended, run_here
from tests.view.decoded_page import DecodedPage

#: A run of 300 ms that cannot keep its promise.
FAILING = """
name: short
summary: A cluster that shall have a leader sooner than it can.
cluster: {nodes: 1}
until_ms: 300
expect: {truncated_entries: {at_least: 9}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trace(folder: Path, trace_bytes: bytes) -> Path:
    """A file with the trace of the run with trouble."""
    file = folder / "run.qtrace"
    file.write_bytes(trace_bytes)
    return file


def decoded(page: Path) -> DecodedPage:
    found = re.findall(
        r'<script type="([^"]*)" id="([^"]*)">([^<]*)</script>', page.read_text(encoding="utf-8")
    )
    return DecodedPage.of((identifier, media, text) for media, identifier, text in found)


def refused(*words: str) -> str:
    done = run_here("view", *words)
    assert (done.code, done.stdout) == (ExitCode.USAGE, ""), done
    (line,) = done.stderr.splitlines()
    return line.removeprefix("error: ")


def test_the_page_of_a_trace(folder: Path, trace: Path, course: Course) -> None:
    done = run_here("view", "run.qtrace")
    assert done == Ended(
        0,
        f"trouble-1.html: {len(course.records)} events, {len(course.elections)} elections, 0 violations\n",
        "",
    )
    page = decoded(folder / "trouble-1.html")
    assert page.records() == list(course.records)
    assert page.head["scenario"].startswith("name: trouble")
    assert len(list(folder.iterdir())) == 2


def test_json_lines_give_the_same_page(folder: Path, trace: Path, trace_bytes: bytes) -> None:
    records = CompactTrace(trace_bytes).records(details=True)
    lines = [details_mark(0), *map(as_line, records)]
    (folder / "run.jsonl").write_text("\n".join(lines) + "\n")
    for file in ("run.qtrace", "run.jsonl"):
        assert run_here("view", file, "--out", f"{file}.html").code == 0
    compact, text = (decoded(folder / f"{file}.html") for file in ("run.qtrace", "run.jsonl"))
    assert text.chunks == compact.chunks
    assert text.overview == compact.overview


def test_a_part_of_a_run_as_json(folder: Path, trace: Path) -> None:
    words = (
        "run.qtrace",
        "--from-ms",
        "1000",
        "--to-ms",
        "1500",
        "--out",
        "part.html",
        "-o",
        "json",
    )
    body = json.loads(run_here("view", *words).stdout)
    page = decoded(folder / "part.html")
    assert page.head["events"] < body["events"]
    assert body["bytes"] == (folder / "part.html").stat().st_size


def test_a_run_that_fails_still_gives_its_page(folder: Path) -> None:
    (folder / "short.yaml").write_text(FAILING)
    done = run_here("view", "short.yaml", "--seed", "3")
    assert done.code == ExitCode.FAILED
    assert done.stdout.startswith("short-3.html: ")
    assert done.stderr == "failed; replay with: qcore sim run short.yaml --seed 3\n"
    assert decoded(folder / "short-3.html").head["seed"] == 3


def test_other_forms(folder: Path, trace: Path, course: Course) -> None:
    for form in ("shiviz", "perfetto", "text"):
        assert run_here("view", "run.qtrace", "--as", form).code == 0
    log = (folder / "trouble-1.shiviz.txt").read_text()
    assert log.count('"node1": ') > 100
    assert json.loads((folder / "trouble-1.perfetto.json").read_text())["traceEvents"]
    text = (folder / "trouble-1.txt").read_text()
    for row in course.tables.leaderships:
        assert f"node {row.node}, term {row.term}\n" in text
    assert "crash node 2" in text
    assert explain(course, course.elections[1]).sentences[0] in text
    assert "Is it linearizable?\n  key k0: ok\n  key k1: ok\n  key k2: ok\n" in text


def test_what_happened_around_an_election(folder: Path, trace: Path, course: Course) -> None:
    body = json.loads(run_here("view", "run.qtrace", "--around", "election:2", "-o", "json").stdout)
    address, _, link = body["link"].partition("#")
    assert address == (folder / "trouble-1.html").as_uri()
    moments = dict(part.split("=") for part in link.split("&"))
    start_s, length_s = float(moments["from"]), float(moments["w"])
    election = course.elections[1]
    assert start_s < election.start_us / 1e6 < election.end_us / 1e6 < start_s + length_s
    assert start_s < float(moments["t"]) < start_s + length_s
    assert decoded(folder / "trouble-1.html").head["events"] == len(course.records)
    assert run_here("view", "run.qtrace", "--as", "svg", "--around", "election:2").code == 0
    assert (folder / "trouble-1.svg").read_text().startswith("<?xml")


def test_wrong_usage(folder: Path, trace: Path) -> None:
    assert "no-such" in refused("no-such")
    assert refused("no-such.qtrace").startswith("cannot read the trace no-such.qtrace: ")
    assert refused("run.qtrace", "run.qtrace").startswith("run.qtrace is the trace of a simulated")
    assert refused("run.qtrace", "--seed", "2").startswith(
        "--seed and --set choose a run of a scenario; run.qtrace"
    )
    assert refused("run.qtrace", "leader_isolated").startswith(
        "leader_isolated is no trace: give several files only"
    )
    assert refused("run.qtrace", "--out", "run.qtrace").startswith(
        "--out run.qtrace is the file that is to be shown"
    )
    assert "the directory none does not exist" in refused("run.qtrace", "--out", "none/page.html")
    assert (
        refused("run.qtrace", "--from-ms", "9", "--to-ms", "9")
        == "--from-ms 9 is not before --to-ms 9"
    )
    assert refused("run.qtrace", "--around", "election:99").startswith(
        "this run has no election:99: it has only"
    )
    assert refused("run.qtrace", "--around", "fault:1", "--to-ms", "9").endswith(
        "leave out --from-ms and --to-ms"
    )
    assert refused("run.qtrace", "--as", "shiviz", "--to-ms", "9").startswith(
        "--as shiviz writes the whole run"
    )
    assert refused("run.qtrace", "--align").endswith("real nodes; this trace is simulated")
    assert refused("leader_isolated", "--align").endswith("real nodes: give their traces")
    assert refused("run.qtrace", "--from-ms", "9000").startswith(
        "the part from 9000 to 2975.01 ms is not in this run"
    )
    assert "cannot write the page" in refused("run.qtrace", "--out", str(folder))
    content = trace.read_bytes()
    trace.write_bytes(content[:9000] + b"damage" + content[9006:])
    assert "the trace is damaged at offset" in refused("run.qtrace")
    trace.write_bytes(content[:20])
    assert refused("run.qtrace") == "the trace holds no record, so there is nothing to show"
    assert list(folder.iterdir()) == [trace]


def test_a_notebook_shows_the_page_in_a_frame(
    course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = view(course, from_ms=1000, to_ms=1200)
    bundle = shown._repr_mimebundle_()
    assert (
        bundle["text/plain"]
        == repr(shown)
        == (
            f"View(trouble, seed 1: {len(course.records)} events, {len(course.elections)} elections, 0 violations)"
        )
    )
    picture, frame = re.findall(r"<(?:img|iframe) [^>]*>", bundle["text/html"])
    assert 'src="data:image/svg+xml;base64,' in picture
    assert 'sandbox="allow-scripts allow-downloads"' in frame
    (page,) = re.findall('srcdoc="([^"]*)"', frame)
    saved = shown.save(tmp_path / "part.html")
    assert html.unescape(page) == saved.read_text(encoding="utf-8")
    assert (
        saved.read_bytes()
        == save_page(course, tmp_path / "x", from_ms=1000, to_ms=1200).read_bytes()
    )
    monkeypatch.setattr(notebook_view, "MOST_CHARACTERS", 1000)
    text = shown._repr_mimebundle_()["text/html"]
    assert "<iframe" not in text
    assert picture in text
    assert ".save('run.html')" in text


def test_the_programs_of_the_page_on_runs_work(folder: Path, trace: Path) -> None:
    trace.rename(folder / "seen.qtrace")
    names: dict[str, object] = {}
    for block in blocks(CHECKOUT / "docs/how-to/see-a-run.md"):
        if block.language == "python":
            exec(block.text, names)
    assert decoded(folder / "seen.html").head["name"] == "trouble"
