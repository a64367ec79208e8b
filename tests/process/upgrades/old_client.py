"""A client of 0.1.0 that counts in one session until its standard input ends, and prints each result on a line.

`OldClient` runs this file with the interpreter of 0.1.0. Until then nothing of that release is imported.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Self

#: How long an increment is repeated, seconds.
_TIMEOUT_S = 60.0


async def count(endpoints: list[str]) -> None:
    """Create a counter, and increment it until standard input ends."""
    client_type = import_module("qcore.node.client").QcoreClient
    session_type = import_module("qcore.node.session").ClientSession
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    async with client_type(endpoints, timeout_s=_TIMEOUT_S, attempt_timeout_s=2.0) as client:
        entity_id = await client.create_entity("Item", "old")
        write = {
            "entity_id": entity_id,
            "field_type": "Count",
            "value": {"Int": 1},
            "push_condition": "Always",
            "adjust_behavior": "Add",
            "write_time": None,
            "writer_id": None,
        }
        read = {**write, "value": None}
        del read["push_condition"], read["adjust_behavior"]
        request = {"UpdateEntity": {"request": [{"Write": write}, {"Read": read}]}}
        async with await session_type.open(client) as session:
            while not ended.done():
                response = (await session.perform(request))["UpdateEntity"]
                value = response["response"][-1]["Read"]["value"]["Int"]
                sys.stdout.write(f"{value}\n")
                sys.stdout.flush()
                await asyncio.sleep(0.02)


class OldClient:
    """The client as a process, which ends with the context. It must not fail.

    Args:
        python: the interpreter of 0.1.0.
        endpoints: the addresses of the nodes.
        directory: for its output.
    """

    def __init__(self, python: Path, endpoints: Sequence[str], directory: Path) -> None:
        self._output = directory / "old_client.txt"
        self._errors = directory / "old_client_errors.txt"
        with self._output.open("w") as output, self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [python, __file__, *endpoints],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                env={"PYTHONPATH": ""},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            code = self._process.wait(_TIMEOUT_S + 10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        assert error is not None or code == 0, self._errors.read_text()

    def counted(self) -> list[int]:
        """The results until now: the counter after each increment."""
        assert not self._process.poll(), self._errors.read_text()
        return [int(line) for line in self._output.read_text().split("\n")[:-1]]


if __name__ == "__main__":
    asyncio.run(count(sys.argv[1:]))
