"""Runs copies of a machine in a second process, which has another hash seed, environment and working directory.

The process starts while the simulation runs, and serves all later runs of the same machine in this process. It ends
with this process, because its input ends.

This module is an exception to the ban on I/O in `qcore.sim`: no simulated node runs it.
"""

from __future__ import annotations

import atexit
import os
import pickle
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, Literal, cast

from qcore.sim.determinism.copies import Plan, Trail
from qcore.sim.determinism.other_process.machine_reference import MachineReference
from qcore.sim.determinism.run_history import History

#: How long the import of the user's module, and one plan, may take, seconds. It only bounds a process that hangs.
_PATIENCE_S: Final = 120.0
#: The hash seeds: of the second process, and of another one that helps to find the cause of a difference.
HASH_SEEDS: Final = (1, 2)
_TOO_SLOW: Final = f"it did not answer within {_PATIENCE_S:.0f} s"
#: Before each message on the pipes, its length.
_LENGTH_BYTES: Final = 8
#: A process that sees this variable is a second process.
WORKER_VARIABLE: Final = "QCORE_SECOND_PROCESS"
#: At most this many processes wait for later runs.
_KEPT: Final = 5

#: The variables that the second process keeps; others may not matter to a machine.
_KEPT_VARIABLES: Final = (
    "PATH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "SYSTEMROOT",
    "TMPDIR",
    "TEMP",
    "TMP",
)


#: What a second process may have in common with this one.
LikeHere = Literal["variables", "time zone", "directory", "everything"]


class Unavailable(Exception):
    """There is no second process, or it failed. The text says why."""


class NotImportable(Unavailable):
    """The second process cannot import the machine."""


def other_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment in which Python works, and everything else is different."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in _KEPT_VARIABLES or name.startswith("PYTHON")
    }
    other = {"TZ": "QCT-13:45", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "USER": "copy"}
    return {**kept, **other, "LOGNAME": "copy", "HOSTNAME": "copy"}


class SecondProcess:
    """A second process for one machine.

    Args:
        reference: where the machine is defined.
        hash_seed: its `PYTHONHASHSEED`.
        like_here: what it has in common with this process.
    """

    def __init__(
        self,
        reference: MachineReference,
        hash_seed: int = HASH_SEEDS[0],
        like_here: LikeHere | None = None,
    ) -> None:
        environ = other_environment(os.environ)
        if like_here == "variables":
            environ = {**os.environ, "TZ": environ["TZ"]}
        elif like_here == "time zone":
            environ.pop("TZ")
            environ.update((name, os.environ[name]) for name in ("TZ",) if name in os.environ)
        elif like_here == "everything":
            environ = dict(os.environ)
        environ.update(PYTHONHASHSEED=str(hash_seed), PYTHONDONTWRITEBYTECODE="1")
        environ[WORKER_VARIABLE] = "1"
        root = str(Path(__file__).resolve().parents[4])
        environ["PYTHONPATH"] = root
        self.kind = hash_seed, like_here
        self.reference = reference
        self._history: History | None = None
        self._loaded = False
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "qcore.sim.determinism.other_process.second_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=environ,
                cwd=None if like_here in ("directory", "everything") else tempfile.gettempdir(),
                start_new_session=True,  # ^C in a terminal is for this process
            )
        except OSError as error:
            raise Unavailable(f"it could not be started: {error}") from None
        pipes = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        self._input, self._output = (pipe.fileno() for pipe in pipes)
        os.set_blocking(self._input, False)
        self._received = bytearray()
        here = str(Path.cwd())
        self._send([str(Path(here, entry)) if entry else here for entry in sys.path])
        self._send(reference)

    def run(self, history: History, plan: Plan) -> Trail:
        """What a copy in the second process gave.

        Raises:
            Unavailable: the process cannot load the machine, or ended.
        """
        self.begin(history, [plan])
        return self.next_trail()

    def use(self, reference: MachineReference) -> None:
        """Use another machine of the same module.

        Raises:
            Unavailable: the process has ended.
        """
        self.reference = reference
        self._send(reference.name)

    def begin(self, history: History, plans: Sequence[Plan]) -> None:
        """Let the process begin with these plans. Call `next_trail` for each.

        Raises:
            Unavailable: as for `run`.
        """
        self._wait_until_loaded()
        if history is not self._history:
            self._send(history)
            self._history = history
        for plan in plans:
            self._send(plan)

    def next_trail(self) -> Trail:
        """What a copy gave for the next plan.

        Raises:
            Unavailable: as for `run`.
        """
        answer = self._receive()
        if isinstance(answer, Trail):
            return answer
        raise Unavailable(str(answer))

    def _wait_until_loaded(self) -> None:
        """Wait until the user's module is imported."""
        if not self._loaded:
            problem = self._receive()
            if problem:
                raise NotImportable(str(problem))
            self._loaded = True

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process, and release its pipes."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # unsent data of a process that has ended
                    pipe.close()

    def _send(self, what: object) -> None:
        """Send, and meanwhile take what comes: the process may be sending, too."""
        data = pickle.dumps(what, protocol=pickle.HIGHEST_PROTOCOL)
        rest = memoryview(len(data).to_bytes(_LENGTH_BYTES) + data)
        while rest:
            ready, writable, _ = select.select([self._output], [self._input], [], _PATIENCE_S)
            if not (ready or writable):
                raise Unavailable(_TOO_SLOW)
            if ready:
                self._take()
            if writable:
                try:
                    rest = rest[os.write(self._input, rest) :]
                except BlockingIOError:
                    pass  # less room than one byte after all
                except OSError:
                    raise Unavailable(self._ended()) from None

    def _receive(self) -> object:
        while True:
            end = _LENGTH_BYTES + int.from_bytes(self._received[:_LENGTH_BYTES])
            if len(self._received) >= max(end, _LENGTH_BYTES):
                data = bytes(self._received[_LENGTH_BYTES:end])
                del self._received[:end]
                return pickle.loads(data)
            if not select.select([self._output], [], [], _PATIENCE_S)[0]:
                raise Unavailable(_TOO_SLOW)
            self._take()

    def _take(self) -> None:
        """Take what the process has sent."""
        data = os.read(self._output, 1 << 20)
        if not data:
            raise Unavailable(self._ended())
        self._received += data

    def _ended(self) -> str:
        return f"it ended with the status {self._process.wait()}"


class ProcessPool:
    """The second processes that wait for later runs. A process that was forked has an empty pool.

    Attributes:
        idle: these processes.
    """

    def __init__(self) -> None:
        self.idle: list[SecondProcess] = []
        self._owner = os.getpid()

    def take(
        self,
        reference: MachineReference,
        hash_seed: int = HASH_SEEDS[0],
        like_here: LikeHere | None = None,
    ) -> SecondProcess:
        """A process for a machine: one that waits, or a new one. See `SecondProcess`.

        Raises:
            Unavailable: there can be none.
        """
        if reference.reason:
            raise Unavailable(reference.reason)
        if os.environ.get(WORKER_VARIABLE):
            raise Unavailable("this is a second process itself")
        self._forget_others()
        for process in self.idle:
            same = process.kind == (hash_seed, like_here)
            if same and process.reference.same_module(reference):
                self.idle.remove(process)
                try:
                    process.use(reference)
                except Unavailable:  # it has ended meanwhile
                    process.close()
                    break
                return process
        return SecondProcess(reference, hash_seed, like_here)

    def give_back(self, process: SecondProcess) -> None:
        """Keep a process for later runs."""
        self._forget_others()
        self.idle.append(process)
        while len(self.idle) > _KEPT:
            self.idle.pop(0).close()

    def close(self) -> None:
        """End all processes."""
        self._forget_others()
        while self.idle:
            self.idle.pop().close()

    def _forget_others(self) -> None:
        """After a fork, the processes belong to the parent."""
        if self._owner != os.getpid():
            self.idle, self._owner = [], os.getpid()


POOL: Final = ProcessPool()
atexit.register(POOL.close)


class SecondCopies:
    """The copies of one run's machine in second processes. A process that fails is left out, with the reason.

    Args:
        reference: where the machine is defined.

    Attributes:
        reason: why there is no second process; empty if there is one.
        remark: what the verdict should say of the second process; usually empty.
    """

    def __init__(self, reference: MachineReference) -> None:
        self.reason = self.remark = ""
        self._reference = reference
        self._process: SecondProcess | None = None
        self._others: dict[tuple[int, LikeHere | None], SecondProcess] = {}
        try:
            self._process = POOL.take(reference)
        except Unavailable as error:
            self.reason = str(error)

    @property
    def available(self) -> bool:
        """Whether there is a second process, as far as is known."""
        return self._process is not None

    def begin(self, history: History, plans: Sequence[Plan]) -> None:
        """Let the second process begin with these plans. Call `next_trail` for each."""
        try:
            if self._process is not None:
                self._process.begin(history, plans)
        except NotImportable as error:
            self._begin_like_here(history, plans, error)
        except Unavailable as error:
            self._leave_out(error)

    def next_trail(self) -> Trail | None:
        """What a copy gave for the next plan; None without a second process."""
        if self._process is None:
            return None
        try:
            return self._process.next_trail()
        except Unavailable as error:
            self._leave_out(error)
            return None

    def run(self, history: History, plan: Plan) -> Trail:
        """What a copy gave; nothing without a second process."""
        self.begin(history, [plan])
        return self.next_trail() or Trail()

    def run_other(
        self, history: History, plan: Plan, hash_seed: int, like_here: LikeHere | None = None
    ) -> Trail:
        """What a copy gave in another second process; nothing if there can be none."""
        kind = hash_seed, like_here
        try:
            if kind not in self._others:
                self._others[kind] = POOL.take(self._reference, hash_seed, like_here)
            return self._others[kind].run(history, plan)
        except Unavailable:
            failed = self._others.pop(kind, None)
            if failed is not None:
                failed.close()
            return Trail()

    def give_back(self) -> None:
        """Keep the processes for later runs of the machine, first of all the usual one."""
        for process in (*self._others.values(), self._process):
            if process is not None:
                POOL.give_back(process)
        self._process = None
        self._others.clear()

    def close(self) -> None:
        """End the processes."""
        for process in (self._process, *self._others.values()):
            if process is not None:
                process.close()
        self._process = None
        self._others.clear()

    def _begin_like_here(
        self, history: History, plans: Sequence[Plan], error: NotImportable
    ) -> None:
        """The file may need the environment of this process. That alone makes no machine wrong."""
        self._leave_out(error)
        try:
            self._process = POOL.take(self._reference, like_here="everything")
            self._process.begin(history, plans)
        except Unavailable as again:
            self._leave_out(again)
        else:
            self.reason = ""
            self.remark = f"in the environment of this process, because with another one {error}"

    def _leave_out(self, error: Unavailable) -> None:
        self.reason = str(error)
        if self._process is not None:
            self._process.close()
            self._process = None
