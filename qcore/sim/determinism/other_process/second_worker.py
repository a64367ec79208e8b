"""The program of a second process (`python -m`), which applies a run's commands on fresh copies.

It loads the user's module once, with the shadows already installed. For each plan it forks a child, so that no copy
finds what an earlier one left behind in module variables. `second_process.py` is the other end of the pipe.

This module is an exception to the ban on I/O in `qcore.sim`: no simulated node runs it.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import os
import pickle
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import CodeType, ModuleType
from typing import BinaryIO, Final, TypeAlias, cast

from qcore.machines.interface import StateMachine
from qcore.sim.determinism.circumstances.set_order import (
    ORDERED,
    POPPING,
    ordered_by,
    popping_by,
    with_ordered_sets,
)
from qcore.sim.determinism.circumstances.shadows import Shadows
from qcore.sim.determinism.copies import Plan, Trail, run_plan
from qcore.sim.determinism.other_process.machine_reference import (
    MachineReference,
    load,
    resolve,
)
from qcore.sim.determinism.run_history import History

#: The variant of the shadows while the user's module is imported.
_AT_IMPORT: Final = {"clock": 3, "entropy": 3, "process": 3}
_INSTALLED: Final = tuple(
    path + os.sep for name in ("stdlib", "purelib", "platlib") if (path := sysconfig.get_path(name))
)
#: Before each message on the pipes, its length; as in `second_process.py`, which this process has no need to load.
LENGTH_BYTES: Final = 8
_QCORE: Final = str(Path(__file__).resolve().parents[3]) + os.sep

#: What the process sends for a plan: the trail, or why there is none.
Answer: TypeAlias = "Trail | str"


def main() -> None:
    """Serve plans from standard input until it ends."""
    requests, answers = _take_pipes()
    sys.path[:] = cast(list[str], _receive(requests))
    reference = cast(MachineReference, _receive(requests))
    with Shadows() as shadows:
        module = _load_module(reference, shadows)
        _send(answers, module if isinstance(module, str) else "")
        if isinstance(module, str):
            return
        make: object = resolve(module, reference.name)
        history = History()
        while True:
            try:
                request = _receive(requests)
            except EOFError:
                return
            if isinstance(request, str):
                make = resolve(module, request)
            elif isinstance(request, History):
                history = request
            else:
                assert isinstance(request, Plan), "nothing else is sent"
                if callable(make):
                    _serve(answers, make, history, request, shadows)
                else:
                    _send(answers, "its class or function is not in its module")


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The pipes to the other process. The user's module finds an empty input, and its output disappears."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)
    return requests, answers


def _load_module(reference: MachineReference, shadows: Shadows) -> ModuleType | str:
    """The module of the machine; if that fails, the reason."""
    before = set(sys.modules)
    _reverse_sets_in(reference.module.partition(".")[0], shadows)
    try:
        with shadows.begin(_AT_IMPORT):
            module = load(reference)
    except BaseException as error:  # noqa: BLE001  # the boundary to the user's code; also SystemExit
        return f"importing it raised {type(error).__name__}: {error}"
    loaded = [each for name, each in list(sys.modules.items()) if name not in before]
    shadows.adopt({each.__name__: each for each in (module, *loaded) if _is_user(each)}.values())
    return module


def _is_user(module: object) -> bool:
    file = getattr(module, "__file__", None) or ""
    return bool(file) and not file.startswith((*_INSTALLED, _QCORE))


def _serve(
    answers: BinaryIO,
    make: Callable[[], StateMachine],
    history: History,
    plan: Plan,
    shadows: Shadows,
) -> None:
    """Execute a plan in a child."""
    child = os.fork()
    if not child:
        status = 1
        try:
            _send(answers, run_plan(make, history, plan, shadows))
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if status:
        _send(answers, f"it ended with the status {status} while it applied the commands")


def _receive(requests: BinaryIO) -> object:
    """The next message.

    Raises:
        EOFError: the other process has ended.
    """
    length = requests.read(LENGTH_BYTES)
    if not length:
        raise EOFError
    return pickle.loads(requests.read(int.from_bytes(length)))


def _send(answers: BinaryIO, answer: Answer) -> None:
    data = pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)
    answers.write(len(data).to_bytes(LENGTH_BYTES) + data)
    answers.flush()


def _reverse_sets_in(package: str, shadows: Shadows) -> None:
    """Compile the modules of the user, imported from now on, so that the order of their sets can be reversed.

    Args:
        package: the first part of the name of the machine's module.
        shadows: decide when the order is reversed.
    """
    builtins.__dict__[ORDERED] = ordered_by(shadows)
    builtins.__dict__[POPPING] = popping_by(shadows)
    loaders = importlib.machinery.SourceFileLoader
    get_code = loaders.get_code

    def changed_code(loader: importlib.machinery.SourceFileLoader, name: str) -> CodeType | None:
        path = loader.get_filename(name)
        is_own = name.partition(".")[0] == package or not path.startswith(_INSTALLED)
        if is_own and not path.startswith(_QCORE):
            try:
                tree = with_ordered_sets(importlib.util.decode_source(loader.get_data(path)), path)
                return compile(tree, path, "exec", dont_inherit=True)
            except (SyntaxError, ValueError, RecursionError):
                pass  # the real loader reports it
        return get_code(loader, name)

    setattr(loaders, "get_code", changed_code)  # noqa: B010  # mypy rejects the assignment


if __name__ == "__main__":
    main()
