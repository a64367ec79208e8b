"""A run that depends on more than its seed differs in another process, and a run that never ends is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.cli.exits import ExitCode
from qcore.errors import ConfigError
from qcore.sim import repeat_run
from tests.process.support.commands import run_here

SCENARIO = (
    'cluster: {{nodes: 1, machine: "{name}.py:Store"}}\nworkload: {{clients: 1}}\nuntil_ms: 900\n'
)

STORE = """
import asyncio
import random
import time

from tests.sim.support.counter_store import CounterStore


class Store(CounterStore):
    pass

"""

REQUESTS = """
def requests(rng):
    {line}
    return "write", '["add", "%s", 1]' % key
"""

PROGRAM = """
async def client(ctx):
    while True:
        {line}
        await ctx.client.execute('["add", "%s", 1]' % key)
        await asyncio.sleep(0.1)
"""

#: So many texts have the same order in two processes almost never.
FROM_SET = "key = '-'.join({f'k{number}' for number in range(30)})"
FROM_RANDOM = "key = str(random.random())"
FROM_CLOCK = "key = str(time.time_ns())"

CHECK = """
def requests(rng):
    return "write", '["add", "a", 1]'

def check(history):
    return [str(random.random())]
"""


def files(folder: Path, code: str, name: str = "store") -> Path:
    (folder / f"{name}.py").write_text(STORE + code)
    path = folder / f"{name}.yaml"
    path.write_text(SCENARIO.format(name=name))
    return path


@pytest.mark.long
def test_a_run_of_the_seed_alone_is_the_same(tmp_path: Path) -> None:
    path = files(tmp_path, REQUESTS.format(line="key = rng.choice('abc')"))
    found = repeat_run(path)
    assert found.is_same
    assert found.result.ok
    assert found.difference is None


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(REQUESTS.format(line=FROM_SET), id="a request from a set"),
        *(
            pytest.param(form.format(line=line), id=f"a {kind} from {what}", marks=pytest.mark.long)
            for kind, form in (("request", REQUESTS), ("program", PROGRAM))
            for what, line in (
                ("random", FROM_RANDOM),
                ("the clock", FROM_CLOCK),
                ("a set's order", FROM_SET),
            )
        ),
    ],
)
def test_the_first_differing_record_is_named(tmp_path: Path, code: str) -> None:
    found = repeat_run(files(tmp_path, code))
    assert not found.is_same
    assert "the traces part after" in found.problem
    assert found.difference is not None
    assert found.difference.first[0].kind == "op"
    assert found.difference.first[0] != found.difference.second[0]


@pytest.mark.long
def test_a_check_that_draws_is_named(tmp_path: Path) -> None:
    found = repeat_run(files(tmp_path, CHECK))
    assert found.difference is not None
    assert found.difference.first[0].kind == "violation"


@pytest.mark.long
def test_a_program_that_never_waits_is_named(tmp_path: Path) -> None:
    """The limit also has to cover the start of the process."""
    path = files(tmp_path, "async def client(ctx):\n    while True:\n        pass\n")
    with pytest.raises(ConfigError, match=r"did not end within 20 s; it was at store\.py:1\d in"):
        repeat_run(path, limit_s=20)


@pytest.mark.long
def test_the_command_fails_for_a_run_that_differs(tmp_path: Path) -> None:
    path = files(tmp_path, REQUESTS.format(line=FROM_SET))
    done = run_here("sim", "run", str(path), "--check-determinism")
    assert done.code == ExitCode.FAILED
    assert "the run was not the same in another process" in done.stderr
    assert "the other process" in done.stderr
    plain = run_here("sim", "run", str(path))
    assert plain.code == ExitCode.DONE
