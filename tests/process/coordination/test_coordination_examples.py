"""The examples of coordination: real processes, some of which are killed or stopped at their work."""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import sys
import urllib.request
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from qcore.kv import SyncKeyValue
from qcore.processes import free_ports, wait_for
from qcore.recipes import QueueSize, SyncLock, SyncQueue
from qcore.testing import LocalCluster
from tests.checkout import EXAMPLES
from tests.process.coordination.example_programs import PATIENCE_S, Program, Programs

pytestmark = pytest.mark.process

#: What each example needs on its command line.
WORDS = {
    "web_leader": ["ada"],
    "job_runner": ["work", "ada"],
    "feature_flags": ["run", "ada"],
    "cron": ["ada"],
    "shared_file": ["ada", "shared.txt"],
}


@pytest.fixture(scope="module", autouse=True)
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Program]]:
    """Each example without a cluster. They look for one for 5 s, so they do that while other tests run."""
    (port,) = free_ports(1)
    with Programs(f"127.0.0.1:{port}", tmp_path_factory.mktemp("alone")) as started:
        yield {name: started.start(name, *words) for name, words in WORDS.items()}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node. Every test must leave it running."""
    with LocalCluster(size=1, machine="kv") as started:
        yield started
    assert "Traceback" not in started.log(1)


@pytest.fixture
def programs(cluster: LocalCluster, tmp_path: Path) -> Iterator[Programs]:
    """Starts programs. No keys are in the cluster at first."""
    with cluster.sync_client() as client:
        SyncKeyValue(client).delete(prefix="")
    with Programs(cluster.endpoints[0], tmp_path) as started:
        yield started


# -- web_leader --------------------------------------------------------------------------------------


def leader_of(address: str) -> str | None:
    """Who leads, as the worker at this address says; None if it does not know, or does not answer."""
    try:
        with urllib.request.urlopen(f"http://{address}/", timeout=20) as response:
            leader: str | None = json.load(response)["leader"]
            return leader
    except OSError:
        return None


class Work(NamedTuple):
    """What the leading worker leaves in the cluster."""

    worker: str
    token: int
    runs: int


def test_another_web_worker_leads(cluster: LocalCluster, programs: Programs) -> None:
    """The first leader gets SIGTERM, the second one SIGKILL, and the last one Ctrl-C."""
    addresses = {
        name: f"127.0.0.1:{port}" for name, port in zip(("a", "b", "c"), free_ports(3), strict=True)
    }
    workers = {
        name: programs.start("web_leader", name, "--http", address, "--ttl", "2")
        for name, address in addresses.items()
    }

    def work_after(last: Work) -> Work | None:
        """The work of a leader after this one. All workers name it as the leader."""
        leader, *others = {leader_of(addresses[name]) for name in workers}
        found = keys.get("web-leader/work")
        if found is None or others:
            return None
        work = Work(**json.loads(found.value))
        is_later = work.token > last.token and work.runs > last.runs
        return work if is_later and work.worker == leader else None

    work = Work("", 0, 0)
    with cluster.sync_client() as client:
        keys = SyncKeyValue(client)
        for how in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
            work = wait_for(partial(work_after, work), PATIENCE_S, "the work of another leader")
            ended = workers.pop(work.worker)
            if how == signal.SIGKILL:
                ended.kill()
            else:
                ended.end(how)


# -- job_runner --------------------------------------------------------------------------------------


def test_jobs_are_retried_and_then_die(
    cluster: LocalCluster, programs: Programs, tmp_path: Path
) -> None:
    written = tmp_path / "written"
    commands = [f"echo $JOB_NUMBER >> {written}", "exit 3", f"echo last >> {written}"]
    assert len(programs.run("job_runner", "put", *commands).split("job ")) == 4
    workers = [programs.start("job_runner", "work", name) for name in ("ada", "bob")]
    with cluster.sync_client() as client:
        queue = SyncQueue(client, "jobs")
        wait_for(lambda: queue.size() == QueueSize(0, 0, 1), PATIENCE_S, "all jobs to end")
    shown = programs.run("job_runner", "list")
    assert shown.startswith("0 waiting, 0 claimed, 1 dead\n")
    assert re.search(r"^job (\d+) died after 3 attempts: exit 3$", shown, re.MULTILINE)
    assert "JobFailed: exit code 3" in shown
    assert len(written.read_text().split()) == 2
    failed = [
        job for worker in workers for job in worker.found(r"job (\d+) has failed: exit code 3$")
    ]
    assert len(failed) == 3
    assert len(set(failed)) == 1
    assert programs.run("job_runner", "retry") == f"job {failed[0]} is in the queue again\n"
    for worker in workers:
        worker.end(signal.SIGINT)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_another_worker_gets_the_job(
    cluster: LocalCluster, programs: Programs, tmp_path: Path, how: signal.Signals
) -> None:
    """Its first run does not end. Only the attempt of a worker that was killed counts."""
    pids, written = tmp_path / "pids", tmp_path / "written"
    first = f"echo $$ >> {pids}; test $(wc -l < {pids}) = 2 || exec sleep 600"
    with cluster.sync_client() as client:
        queue = SyncQueue(client, "jobs")
        ada = programs.start("job_runner", "--ttl", "3", "work", "ada")
        bob = programs.start("job_runner", "--ttl", "3", "work", "bob")
        for worker in (ada, bob):
            worker.wait("waits for jobs")
        queue.put(f"{first}; echo $JOB_TOKEN > {written}")
        begun = r"job \d+, attempt 1, token (\d+)$"
        chosen = wait_for(
            lambda: [worker for worker in (ada, bob) if worker.found(begun)],
            PATIENCE_S,
            "a worker that has the job",
        )[0]
        pid = int(
            wait_for(
                lambda: (pids.exists() and pids.read_text()) or None, PATIENCE_S, "its command"
            )
        )
        try:
            if how == signal.SIGKILL:
                chosen.kill()
            else:
                chosen.end(how)
                with pytest.raises(ProcessLookupError):
                    os.kill(pid, 0)  # the command has ended, too
            other = bob if chosen is ada else ada
            attempt = 2 if how == signal.SIGKILL else 1
            later = other.wait(rf"job \d+, attempt {attempt}, token (\d+)$")
            other.wait(r"job \d+ is done$")
            assert int(later) > int(chosen.found(begun)[0])
            assert written.read_text() == f"{later}\n"
            assert queue.size() == QueueSize(0, 0, 0)
            other.end()
        finally:
            if how == signal.SIGKILL:
                os.kill(pid, signal.SIGKILL)


# -- feature_flags -----------------------------------------------------------------------------------


def test_ten_processes_learn_of_a_flag(programs: Programs) -> None:
    running = [programs.start("feature_flags", "run", f"app-{number}") for number in range(10)]
    for process in running:
        process.wait("begins with new_page=False rollout_percent=0 banner=''$")
    shown = programs.run("feature_flags", "set", "new_page=true", "banner=a=b")
    assert shown == "the flags are new_page=True rollout_percent=0 banner='a=b'\n"
    revisions = {
        process.wait(r"has new_page=True rollout_percent=0 banner='a=b' as of revision (\d+)$")
        for process in running
    }
    assert len(revisions) == 1
    # Wrong values change nothing, so the next change that arrives is the next right one.
    for assignment, error in {
        "rollout_percent=101": "less than or equal to 100",
        "new_pag=true": "the flags are new_page, rollout_percent, banner",
    }.items():
        assert error in programs.start("feature_flags", "set", assignment).wait_failure()
    programs.run("feature_flags", "set", "rollout_percent=25")
    for number, process in enumerate(running):
        process.wait("has new_page=True rollout_percent=25 banner='a=b' as of ")
        assert len(process.text.splitlines()) == 3
        process.process.send_signal(signal.SIGTERM if number % 2 else signal.SIGINT)
    for process in running:
        process.wait_end()


# -- cron --------------------------------------------------------------------------------------------


class Begun(NamedTuple):
    """A line of a process of the cron that begins a run."""

    token: int
    job: str
    slot: str
    attempt: int


BEGINS = re.compile(
    r"^\w+: (?P<job>\w+) of (?P<slot>\S+), attempt (?P<attempt>\d+), token (?P<token>\d+): begins$",
    re.MULTILINE,
)


def begun(processes: list[Program]) -> list[Begun]:
    """All runs, in the order of their tokens."""
    found = [each for process in processes for each in BEGINS.finditer(process.text)]
    return sorted(
        Begun(int(each["token"]), each["job"], each["slot"], int(each["attempt"])) for each in found
    )


def test_each_job_of_the_cron_runs_once_in_a_slot(programs: Programs) -> None:
    """One process is killed while it works. Another one does its work, for the same slot."""
    words = ("--every", "2", "--work", "1", "--ttl", "2")
    processes = [programs.start("cron", name, *words) for name in ("ada", "bob", "eve")]

    def reporting() -> tuple[Program, Begun] | None:
        for process in processes:
            runs = [run for run in begun([process]) if run.job == "report"]
            if runs and not process.found(f"report of {re.escape(runs[-1].slot)}.*: written$"):
                return process, runs[-1]
        return None

    killed, unfinished = wait_for(reporting, PATIENCE_S, "a process that writes a report")
    killed.kill()
    rest = [process for process in processes if process is not killed]
    again = rf"report of {re.escape(unfinished.slot)}, attempt \d+, token (\d+): written$"
    done = wait_for(
        lambda: [token for process in rest for token in process.found(again)],
        PATIENCE_S,
        "the report of the slot of the killed process",
    )
    assert int(done[0]) > unfinished.token

    def later() -> bool:
        return any(
            run.job == "report" and run.slot > unfinished.slot and run.attempt == 1
            for run in begun(rest)
        )

    wait_for(later, PATIENCE_S, "a later slot")
    for process in rest:
        process.end()
    reminders = [run.slot for run in begun(processes) if run.job == "reminder"]
    assert reminders
    assert reminders == sorted(set(reminders))
    reports = [run for run in begun(processes) if run.job == "report"]
    for before, after in pairwise(reports):
        assert (before.slot, before.attempt) < (after.slot, after.attempt)
        assert before.token < after.token


# -- shared_file -------------------------------------------------------------------------------------


def test_a_stopped_holder_cannot_write(programs: Programs, tmp_path: Path) -> None:
    """It has the lock and is about to write. It continues when the next holder has written."""
    shared = tmp_path / "shared.txt"
    words = (str(shared), "--ttl", "2", "--rounds", "1")
    ada = programs.start("shared_file", "ada", *words, "--write-delay", "3")
    token = ada.wait(r"^ada is about to write with token (\d+)$")
    ada.process.send_signal(signal.SIGSTOP)
    shown = programs.run("shared_file", "bob", *words, "--write-delay", "0")
    later = re.findall(r"^bob has written with token (\d+)$", shown, re.MULTILINE)[0]
    assert int(later) > int(token)
    assert not ada.found("has written"), "it was stopped in time"
    ada.process.send_signal(signal.SIGCONT)
    ada.wait(f"^ada: the store has rejected the write: token {token} is older than {later}$")
    ada.wait_end()
    assert shared.read_text() == f"line 1 by bob, token {later}\n"


def test_ctrl_c_releases_the_lock_of_the_file(
    cluster: LocalCluster, programs: Programs, tmp_path: Path
) -> None:
    """The holder gets SIGTERM at its work, and one that waits SIGINT. The lease is longer than the test."""
    words = (str(tmp_path / "shared.txt"), "--ttl", "600", "--write-delay")
    ada = programs.start("shared_file", "ada", *words, "600")
    ada.wait("is about to write")
    bob = programs.start("shared_file", "bob", *words, "0")
    with cluster.sync_client() as client:
        lock = SyncLock(client, "files/shared.txt")
        wait_for(lambda: len(lock.line()) == 2, PATIENCE_S, "bob to wait")
        bob.end(signal.SIGINT)
        assert len(lock.line()) == 1
        ada.end()
        assert lock.line() == []


def test_the_store_rejects_older_tokens(tmp_path: Path) -> None:
    example = runpy.run_path(str(EXAMPLES / "coordination" / "shared_file.py"))
    stale: type[Exception] = example["StaleToken"]
    path = tmp_path / "shared.txt"
    first, second = example["FencedFile"](path), example["FencedFile"](path)
    assert first.read(5) == ""
    first.write("one", 5)
    assert second.read(7) == "one"
    with pytest.raises(stale, match="token 5 is older than 7"):
        first.read(5)
    with pytest.raises(stale, match="token 5 is older than 7"):
        first.write("lost", 5)
    second.write("two", 7)
    assert path.read_text() == "two"


# -- all ---------------------------------------------------------------------------------------------


def test_without_a_cluster_each_example_says_so(alone: dict[str, Program]) -> None:
    for program in alone.values():
        text = program.wait_failure()
        assert text.startswith("error: cannot connect to 127.0.0.1:")
        assert len(text.splitlines()) == 1


def test_each_example_is_in_these_tests() -> None:
    names = {path.stem for path in (EXAMPLES / "coordination").glob("*.py")}
    assert names == WORDS.keys()


@pytest.mark.parametrize("missing", ["starlette.applications", "uvicorn"])
def test_a_missing_web_library_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLES / "coordination" / "web_leader.py"))
    assert str(ended.value.code) == f"{missing} is not installed: pip install 'qcore-raft[web]'"
