"""Each command against a server that answers well-formed envelopes without sense: it may be foreign, or mean harm."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any  # answers are JSON

import pytest
import typer
from websockets.asyncio.server import ServerConnection, serve

from qcore.cli.exits import ExitCode
from qcore.cli.main import app
from tests.process.support.commands import run_here

#: A metrics object without the part of qcore; with it, it is that of a leader.
LEADER: dict[str, Any] = {
    "id": 1,
    "current_term": 2,
    "state": "Leader",
    "current_leader": 1,
    "running_state": {"Ok": None},
    "vote": None,
    "last_log_index": 5,
    "last_applied": {"leader_id": {"term": 2, "node_id": 1}, "index": 5},
    "snapshot": None,
    "purged": None,
    "millis_since_quorum_ack": 1,
    "membership_config": {
        "log_id": None,
        "membership": {"configs": [[1]], "nodes": {"1": {"addr": "127.0.0.1:1"}}},
    },
    "replication": {},
    "qcore": {"cluster_id": "\x1b[2J", "leader_ready": True, "members": {}},
}

#: What the server answers, whatever it is asked; and to `GetMetrics`, if that is something else.
ANSWERS: dict[str, tuple[object, object]] = {
    "a text": ({"Ok": "\x1b[2J"}, "x"),
    "a leader, and texts": ({"Ok": "\x1b[2J"}, LEADER),
    "a leader, and null": ({"Ok": None}, LEADER),
    "a leader, and a list": ({"Ok": [1]}, LEADER),
    "a leader, and empty objects": ({"Ok": {}}, LEADER),
    "a leader, and no result": ({}, LEADER),
    "a bare number": (7, 7),
    "an empty list": ([], {"state": [], "membership_config": {"membership": {"nodes": [3]}}}),
    "an error that is no text": ({"Err": 7}, {"qcore": None}),
    "a page": (
        {"Ok": {"items": [{"typ": 3}], "total": "x", "next_cursor": []}},
        {**LEADER, "qcore": {"commit_index": "x", "state_digests": 3, "priorities": []}},
    ),
}

#: The arguments of the commands that need some.
ARGUMENTS: dict[str, list[str]] = {
    "cluster init": ["--nodes", "1={address}"],
    "member add": ["4=127.0.0.1:9"],
    "member promote": ["4"],
    "member demote": ["4"],
    "member remove": ["4"],
    "member replace": ["4", "5=127.0.0.1:9"],
    "member reinstall": ["4"],
    "member withdraw-token": ["x"],
    "user add": ["ann", "--no-password"],
    "user set-password": ["ann", "--new-password-file", "{directory}/password"],
    "user delete": ["ann"],
    "user grant": ["ann", "ops"],
    "user revoke": ["ann", "ops"],
    "role set": ["ops", "--allow", "read"],
    "role delete": ["ops"],
    "token revoke": ["ann"],
    "snapshot save": ["{directory}/copy"],
    "load": ["{directory}/tree.yaml"],
    "entity find": ["T"],
    "entity get": ["T$1"],
    "entity set": ["T$1", "Name=x"],
    "entity add": ["T$1", "Age=1"],
    "entity create": ["T", "x"],
    "entity delete": ["T$1"],
    "entity move": ["T$1", "T$2"],
    "entity rename": ["T$1", "x"],
    "kv compact": ["1"],
    "kv del": ["a"],
    "kv get": ["a"],
    "kv put": ["a", "1"],
    "kv txn": ["{{}}"],
    "kv watch": ["a"],
    "kv lease grant": ["10"],
    "kv lease keep": ["1"],
    "kv lease revoke": ["1"],
    "kv lease show": ["1"],
    "schema get": ["T"],
    "schema set": ["{directory}/schema.json"],
    "watch": ["T$1", "Name"],
    "perform": ['{{"GetSchema": {{"entity_type": "T"}}}}'],
    "execute": ["x"],
}
#: Some answers fit a command by chance: then the error is about what they say.
FITTING_CODES = (ExitCode.DONE, ExitCode.UNHEALTHY, ExitCode.UNKNOWN)
FITTING = ("there is no", "the change is done")
#: Otherwise the error names the server.
UNFIT_CODES = (ExitCode.CANNOT_CONNECT, ExitCode.REJECTED)
#: The shell reads other commands.
LEFT_OUT = {"shell"}


def commands_with_endpoints() -> list[str]:
    """All commands that ask a server."""
    found: list[str] = []

    def walk(command: Any, path: list[str]) -> None:
        if hasattr(command, "list_commands"):
            for name in command.list_commands(None):
                walk(command.get_command(None, name), [*path, name])
        elif any("--endpoints" in parameter.opts for parameter in command.params):
            found.append(" ".join(path))

    walk(typer.main.get_command(app), [])
    return [name for name in found if name not in LEFT_OUT]


class SenselessServer:
    """Answers in a separate thread.

    Attributes:
        answers: to everything, and to `GetMetrics`.
    """

    def __init__(self) -> None:
        self.answers: tuple[object, object] = ("", "")
        self.address = ""
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        self._ready.wait(10)

    async def _run(self) -> None:
        self._ended = asyncio.Event()
        async with serve(self._answer, "127.0.0.1", 0) as server:
            host, port = next(iter(server.sockets)).getsockname()[:2]
            self.address = f"{host}:{port}"
            self._ready.set()
            await self._ended.wait()

    async def _answer(self, connection: ServerConnection) -> None:
        async for frame in connection:
            found = json.loads(frame)
            for envelope in found if isinstance(found, list) else [found]:
                ((name, body),) = envelope.items()
                response = self.answers[name == "GetMetrics"]
                reply = {f"{name}Response": {"id": body.get("id"), "response": response}}
                await connection.send(json.dumps(reply))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)


@pytest.fixture(scope="module")
def server() -> Iterator[SenselessServer]:
    found = SenselessServer()
    yield found
    found.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("files")
    (directory / "password").write_text("a new secret")
    (directory / "password").chmod(0o600)
    (directory / "tree.yaml").write_text("types: {}\n")
    (directory / "schema.json").write_text('{"entity_type": "T", "inherit": null, "fields": {}}')
    return directory


def problems(server: SenselessServer, files: Path, commands: list[str]) -> list[str]:
    """How the commands ended that did not end well."""
    found = []
    for name in commands:
        extra = [
            each.format(address=server.address, directory=files) for each in ARGUMENTS.get(name, [])
        ]
        options = ("--endpoints", server.address, "--timeout", "0.2")
        done = run_here(*name.split(), *extra, *options)
        shown = done.stdout + done.stderr
        clean = "\x1b" not in shown and "Traceback" not in shown and "bug in qcore" not in shown
        one_line = len(done.stderr.splitlines()) <= 1
        makes_sense = done.code in FITTING_CODES or any(each in done.stderr for each in FITTING)
        named = done.code in UNFIT_CODES and server.address in done.stderr
        if not (clean and one_line and (makes_sense or named)):
            found.append(f"{name}: {done.code}, {done.stderr[-600:]}")
    return found


@pytest.mark.parametrize("answers", ["a leader, and texts", "a leader, and null"])
def test_a_senseless_answer_gives_one_line(
    server: SenselessServer, files: Path, answers: str
) -> None:
    server.answers = ANSWERS[answers]
    names = [
        "cluster health",
        "cluster status",
        "execute",
        "entity get",
        "snapshot save",
        "user list",
    ]
    found = problems(server, files, names)
    assert not found, "\n".join(found)


@pytest.mark.long
@pytest.mark.parametrize("answers", ANSWERS)
def test_no_command_calls_senseless_answers_a_bug(
    server: SenselessServer, files: Path, answers: str
) -> None:
    server.answers = ANSWERS[answers]
    found = problems(server, files, commands_with_endpoints())
    assert not found, "\n".join(found)
