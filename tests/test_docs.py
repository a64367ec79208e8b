"""The documents are true: their commands run, their links have targets, and their code is the code of the project."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from typer.testing import CliRunner

from qcore.analysis.figure import save_run_figure
from qcore.cli.demo.demo import demo
from qcore.cli.main import app
from qcore.processes import ProcessCluster
from qcore.sim import load_scenario, run_scenario
from tests.checkout import CHECKOUT
from tests.documents import (
    CONSOLE,
    DOCUMENTS,
    LANGUAGES,
    SHELL,
    Command,
    blocks,
    commands,
    links,
    name,
    read,
    spans,
)
from tests.shell_session import CommandResult, run_commands

every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=name)

#: These programs take too long for a test or change its environment. Their targets and options must exist.
NAMED_ONLY = {"make", "pip", "pytest"}

#: A separate, long test follows the drills of this page.
RUN_SEPARATELY = ("docs/operate/recovery.md",)

#: `tests/packaging` runs these commands of docs/how-to/releasing.md, in a copy of the checkout.
RUN_ELSEWHERE = ("python -m build ", "python -m twine check ")
#: `tests/process/upgrades` runs the commands of the first page, which need two versions of qcore, and
#: `tests/docs/sessions/test_coordination_page.py` those of the second one, which need files that the reader saves.
#: `tests/gateway/patroni` runs those of the third one, which need PostgreSQL.
PAGES_RUN_ELSEWHERE = (
    "docs/operate/upgrade-drill.md",
    "docs/coordination.md",
    "docs/how-to/patroni.md",
)


def session(path: Path) -> list[Command]:
    """The commands of a document that are run."""
    if name(path) in PAGES_RUN_ELSEWHERE:
        return []
    return [
        command
        for command in commands(path)
        if not named_only(command) and not command.line.startswith(RUN_ELSEWHERE)
    ]


def named_only(command: Command) -> bool:
    return command.program in NAMED_ONLY or command.line.startswith("python -m benchmarks")


def assert_target_exists(line: str) -> None:
    """Fail unless the targets and options of a command of `NAMED_ONLY` exist."""
    program, *arguments = shlex.split(line, comments=True)
    if program == "make":
        done = subprocess.run(
            ["make", "-n", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
    elif program == "pip":
        if extra := re.fullmatch(r"qcore-raft\[(\w+)\]", arguments[-1]):
            project = tomllib.loads(read(CHECKOUT / "pyproject.toml"))["project"]
            assert extra[1] in project["optional-dependencies"], line
            return
        install, flag, target = arguments
        assert (install, flag) == ("install", "-r"), line
        assert (CHECKOUT / target).is_file(), line
    elif program == "python":
        known = program_help(sys.executable, *arguments[:2])
        assert all(argument in known or argument.isdigit() for argument in arguments[2:]), line
    else:
        assert program == "pytest", line
        folder, *flags = arguments
        known = program_help(sys.executable, "-m", "pytest", folder)
        assert all(flag in known for flag in flags), line


@cache
def help_of(*words: str) -> str:
    """What `qcore WORDS --help` prints."""
    done = CliRunner().invoke(app, [*words, "--help"])
    assert done.exit_code == 0, (words, done.output)
    return done.stdout


@cache
def program_help(*command: str) -> str:
    """What a program prints with `--help`."""
    return stdout_of([*command, "--help"])


def stdout_of(command: list[str]) -> str:
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


@every_document
def test_every_code_block_is_in_a_tested_language(path: Path) -> None:
    for block in blocks(path):
        assert block.language in LANGUAGES, f"{name(path)}: unknown block language"
        if block.language not in {SHELL, CONSOLE}:
            hidden = re.search(r"^(\$ |(qcore|make|pip|pytest|curl) )", block.text, re.MULTILINE)
            assert hidden is None, f"{name(path)}: a command in a block without `sh` or `console`"


@every_document
def test_commands_that_are_not_run_name_something_real(path: Path) -> None:
    for command in commands(path):
        if named_only(command):
            assert_target_exists(command.line)


#: A newcomer reads these first, in this order. They link to the others.
READ_FIRST = ("README.md", "docs/quickstart.md", "docs/operate/operations.md")


#: The other documents with commands. Each is followed by a separate user, so two workers share them.
READ_LATER = [
    name(path)
    for path in DOCUMENTS
    if name(path) not in {*READ_FIRST, *RUN_SEPARATELY} and session(path)
]


@pytest.mark.process
@pytest.mark.timeout(600)  # dozens of processes, one after the other, on any machine
@pytest.mark.parametrize(
    "pages", [READ_FIRST, *((page,) for page in READ_LATER)], ids=lambda pages: pages[-1]
)
def test_the_documented_commands_work(pages: Sequence[str], tmp_path: Path) -> None:
    """A newcomer follows the first documents in one shell in one directory."""
    follow(pages, tmp_path, timeout_s=560)


@pytest.mark.process
@pytest.mark.long
@pytest.mark.timeout(1300)
def test_no_document_breaks_another_one(tmp_path: Path) -> None:
    """One user follows all documents in one shell in one directory."""
    follow([*READ_FIRST, *READ_LATER], tmp_path, timeout_s=1200)


def follow(pages: Sequence[str], directory: Path, timeout_s: float) -> None:
    """Run the commands of these documents, and compare what they print."""
    commands_of_all = [command for page in pages for command in session(CHECKOUT / page)]
    for ran in run_commands(commands_of_all, directory, timeout_s):
        compare(ran)


@pytest.mark.process
@pytest.mark.long
@pytest.mark.timeout(1300)
@pytest.mark.parametrize("page", RUN_SEPARATELY)
def test_the_drills_are_followed_exactly(page: str, tmp_path: Path) -> None:
    follow([page], tmp_path, timeout_s=1200)


def test_each_document_uses_separate_nodes() -> None:
    """So a reader can follow the documents in any order, while the nodes of another one still run."""
    used: dict[str, str] = {}
    for path in DOCUMENTS:
        for command in session(path):
            for found in re.findall(r"--(?:data-dir|ws-addr) (\S+)", command.line):
                assert used.setdefault(found, name(path)) == name(path), (
                    f"{name(path)} and {used[found]} both use {found}"
                )


def compare(ran: CommandResult) -> None:
    """The output is as documented, except for ids, hashes, versions of qcore, the leader, and `...`."""
    if not ran.command.output:
        return

    def shape(text: str) -> list[str]:
        text = re.sub(r"\b[0-9a-f]{12,32}\b", "HASH", text)
        text = re.sub(r"\b(Leader|Follower) ", "Role", text)
        text = re.sub(r" \d+\.\d+\.\d+(\.dev\d+)?$", " VERSION", text, flags=re.MULTILINE)
        return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]

    shown = shape("\n".join(ran.command.output))
    seen = shape(ran.output)
    assert len(seen) == len(shown), (ran.command.line, ran.output)
    for expected, line in zip(shown, seen, strict=True):
        pattern = r"\S+".join(re.escape(part) for part in expected.split("..."))
        # Term and leader depend on the election.
        pattern = re.sub(r"(Role)\\? ?(\d+)\\ \d+", r"\1\\ ?\\d+\\ \\d+", pattern)
        assert re.fullmatch(pattern, line), (ran.command.line, expected, line)


@every_document
def test_commands_in_running_text_exist(path: Path) -> None:
    for span in spans(path):
        program = span.split()[0]
        if program in NAMED_ONLY and " " in span:
            assert_target_exists(span)
        elif program == "qcore" and " " in span and "COMMAND" not in span:
            words = shlex.split(span)[1:]
            group = [word for word in words if re.fullmatch(r"[a-z|]+", word)][:2]
            for last in group[-1].split("|") if group else [None]:
                words = [*group[:-1], last] if last else []
                known = help_of(*words)
                for flag in re.findall(r"(?<= )--?[a-z][a-z-]*", span):
                    assert flag in known, f"{name(path)}: {span}"
        elif span.startswith("python -m "):
            assert_target_exists(re.sub(r" [A-Z]+\b", "", span))


@every_document
def test_links_and_named_files_exist(path: Path) -> None:
    for target in links(path):
        assert (path.parent / target).exists(), f"{name(path)}: link to {target}"
    folders = "|".join(entry.name for entry in CHECKOUT.iterdir() if entry.is_dir())
    for span in spans(path):
        if re.fullmatch(rf"({folders})/[\w./-]+", span) and not span.startswith("out/"):
            assert (CHECKOUT / span).exists(), f"{name(path)}: {span}"


def test_the_state_machine_of_the_readme_is_the_example() -> None:
    shown = [block for block in blocks(CHECKOUT / "README.md") if block.language == "python"]
    assert len(shown) == 1
    named = re.findall(r"`(examples/\w+\.py)`", shown[0].before)[-1]
    assert shown[0].text in read(CHECKOUT / named)
    assert sum(1 for line in shown[0].text.splitlines() if line) < 30


@pytest.mark.process
def test_the_programs_and_the_command_of_the_api_page_work(tmp_path: Path) -> None:
    path = CHECKOUT / "docs/reference/api.md"
    library, plain = [block.text for block in blocks(path) if block.language == "python"]
    program = "import asyncio\nfrom qcore import Client\n\nasync def main():\n"
    program += "".join(f"    {line}\n" for line in library.splitlines()) + "\nasyncio.run(main())\n"
    examples = [command for command in spans(path) if command.startswith("qcore perform ")]
    assert len(examples) == 1
    with ProcessCluster(
        tmp_path, 1, ["--config-file", str(CHECKOUT / "examples/topology.yaml")]
    ) as cluster:
        cluster.start()
        endpoint = cluster.endpoints[0]

        def run(*command: str) -> str:
            there = [part.replace("127.0.0.1:8080", endpoint) for part in command]
            return stdout_of([sys.executable, *there])

        run("-m", "qcore", "cluster", "init", "--endpoints", endpoint)
        assert "ada@example.org" in run("-c", program)
        assert "GetMetricsResponse" in run("-c", plain)
        assert "Email" in run("-m", *shlex.split(examples[0]))


def test_the_readme_picture_matches_the_demo(tmp_path: Path) -> None:
    """Shades of anti-aliasing may differ. The picture of another seed differs in many more pixels."""
    seed = (demo.__defaults__ or ())[0]

    def picture(of_seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        trace = tmp_path / f"{of_seed}.jsonl"
        run_scenario(
            load_scenario(CHECKOUT / "scenarios/leader_isolated.yaml"), of_seed, trace=trace
        )
        return matplotlib.image.imread(save_run_figure(trace, tmp_path / f"{of_seed}.png"))

    committed = matplotlib.image.imread(CHECKOUT / "docs/img/leader_isolated.png")

    def different(other: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
        assert other.shape == committed.shape
        return float(np.mean(np.abs(other - committed).max(axis=2) > 0.25))

    same, another = different(picture(seed)), different(picture(seed + 1))
    assert same < 0.001, f"{same:.2%} of the pixels differ: run `make demo` and copy its picture"
    assert another > 0.005
