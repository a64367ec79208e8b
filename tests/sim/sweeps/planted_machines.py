"""A machine whose runs fail, die, hang or depend on more than the seed, depending on what the clients ask."""

from __future__ import annotations

from pathlib import Path

#: `KINDS`, in a module beside it, has the requests that the clients draw.
MACHINE = """
import os

from helper_of_machine import KINDS


class Machine:
    name = "planted"
    versions = (1, 1)

    def __init__(self):
        self.text = ""

    def apply(self, command, context):
        if command == "die":
            os._exit(7)
        if command == "hang":
            while True:
                pass
        if command == "kill":
            os.kill(os.getpid(), 9)
        self.text = command
        return "broken" if command.startswith("wrong") else "done"

    def query(self, query):
        return self.text

    def snapshot(self):
        return [self.text]

    def restore(self, chunks):
        self.text = "".join(chunks)

    def state_hash(self):
        return self.text.encode().hex()


def requests(rng):
    return "write", rng.choice(KINDS)


def check(history):
    for each in history:
        if each.answer == "broken":
            return f"{each.text} was answered with broken"
"""

SCENARIO = """
name: planted
cluster: {nodes: 1, machine: 'planted.py:Machine', check_determinism: false}
workload: {clients: 1, rate_per_s: 20, wait_for_leader: true}
until_ms: 1200
"""


def planted(directory: Path, kinds: list[str], scenario: str = SCENARIO) -> Path:
    """A scenario whose clients draw these requests, and the files that it needs."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "planted.py").write_text(MACHINE)
    (directory / "helper_of_machine.py").write_text(f"KINDS = {kinds!r}\n")
    (directory / "planted.yaml").write_text(scenario)
    return directory / "planted.yaml"
