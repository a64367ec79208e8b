"""Nodes, clients and the transport take clocks, entropy, threads and TCP from their runtime, and from nowhere else.

So the simulator can run them: see `qcore.runtime.interface`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT
from tests.imports import imports_of

PACKAGES = ("node", "transport", "client")

#: Clocks, entropy, threads, sockets, processes.
MODULES = {"concurrent", "fcntl", "multiprocessing", "resource", "secrets", "select", "selectors"}
MODULES |= {"signal", "socket", "subprocess", "termios", "threading", "time", "uuid"}
#: The real runtime. It is the default where a process or a program begins.
MODULES |= {f"qcore.runtime.{name}" for name in ("clock", "listener", "real", "resolver")}

#: Methods of an event loop or functions of asyncio that leave it, or whose order differs from run to run.
METHODS = {"add_reader", "add_signal_handler", "add_writer", "all_tasks", "as_completed"}
METHODS |= {"connect_accepted_socket", "create_connection", "create_datagram_endpoint"}
METHODS |= {"create_server", "getaddrinfo", "getnameinfo", "run_in_executor", "sock_connect"}
METHODS |= {"start_server", "subprocess_exec", "subprocess_shell", "to_thread", "urandom"}
METHODS |= {"today", "utcnow"}
#: Of `asyncio` only: the transport has functions with such names.
OF_ASYNCIO = {"open_connection"}
#: Of `datetime` only: a clock of the runtime may have this name.
OF_DATETIME = {"now"}

#: What single modules use, and why a simulated node or client does not need it in another way.
EXEMPT = {
    "node/activity_log.py": ({"threading"}, "the threads of files log lines, too"),
    "node/main.py": ({"qcore.runtime.real"}, "it runs a process"),
    "node/process/early_hangup.py": (
        {"signal"},
        "a process gets the signal before its event loop runs",
    ),
    "node/node.py": (
        {"qcore.runtime.real", "to_thread"},
        "it closes the files of a process, which may wait for a slow one",
    ),
    "node/surroundings.py": ({"qcore.runtime.real"}, "the default of a node"),
    "node/process/process_figures.py": (
        {"threading"},
        "it measures a process and its disk, which may hang",
    ),
    "node/process/service_manager.py": (
        {"socket", "time"},
        "it reports to the service manager of a process",
    ),
    "node/process/signals.py": (
        {"signal", "add_signal_handler"},
        "signals end a process, and let it read files again",
    ),
    "node/runtime/file_descriptors.py": ({"resource"}, "the limit of a process"),
    "node/runtime/garbage_collection.py": ({"time"}, "it measures pauses of a process"),
    "node/runtime/loop_lag.py": (
        {"signal", "threading", "time"},
        "it measures stalls of a process, and a node without `measures_stalls` has none",
    ),
    "node/observability/line_writer.py": (
        {"select", "threading", "time"},
        "a thread writes the lines of a process, so a slow reader does not block the node",
    ),
    "node/observability/logs.py": ({"id", "time"}, "it writes the log of a process"),
    "node/observability/program_log.py": ({"threading", "time"}, "it logs for a program"),
    "node/observability/tracing.py": (
        {"qcore.runtime.clock"},
        "the thread of the trace file reports lost records, with the time of the process",
    ),
    "transport/address.py": (
        {"socket", "qcore.runtime.resolver"},
        "it parses addresses: `inet_aton` and `is_ip` ask nothing of the system",
    ),
    "transport/connection/client_connection.py": ({"qcore.runtime.real"}, "the default"),
    "transport/server/page_guard.py": (
        {"qcore.runtime.resolver"},
        "`is_ip` asks nothing of the system",
    ),
    "client/client.py": ({"qcore.runtime.real"}, "the default of a client"),
    "client/synchronous/sync_client.py": (
        {"all_tasks", "concurrent", "threading"},
        "its thread is for programs without asyncio",
    ),
}


def uses(tree: ast.Module, path: Path) -> Iterator[tuple[int, str]]:
    """The line and the name of everything in a module that leaves the runtime."""
    for line, name in imports_of(tree, path):
        for banned in (name.partition(".")[0], name.rpartition(".")[0], name):
            if banned in MODULES:
                yield line, banned
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if (
                node.attr in METHODS
                or (owner == "asyncio" and node.attr in OF_ASYNCIO)
                or (owner in {"datetime", "date"} and node.attr in OF_DATETIME)
                or (owner == "random" and node.attr != "Random")
            ):
                yield node.lineno, node.attr
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in {"Random", "random.Random"} and not node.args:
                yield node.lineno, "Random without a seed"
            if name == "id":
                yield node.lineno, name
        for line in orders_of_sets(node):
            yield line, "the order of a set"
    for statement in tree.body:
        value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Call) and ast.unparse(value.func) in {"count", "itertools.count"}:
            yield statement.lineno, "a counter of the process"


def orders_of_sets(node: ast.AST) -> Iterator[int]:
    """Where a statement or an expression depends on the order of a set, as `asyncio.wait` returns one."""
    iterables: list[ast.expr] = []
    if isinstance(node, ast.For | ast.AsyncFor):
        iterables.append(node.iter)
    elif isinstance(node, ast.ListComp | ast.GeneratorExp | ast.DictComp):
        iterables += [generator.iter for generator in node.generators]
    elif isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("await asyncio.wait("):
        yield node.lineno  # the two sets get names
    for iterable in iterables:
        is_set = isinstance(iterable, ast.Set | ast.SetComp) or (
            isinstance(iterable, ast.Call)
            and ast.unparse(iterable.func) in {"set", "frozenset", "asyncio.all_tasks"}
        )
        if is_set or "asyncio.wait(" in ast.unparse(iterable):
            yield iterable.lineno


@pytest.mark.parametrize("package", PACKAGES)
def test_only_the_runtime_gives_time_entropy_threads_and_tcp(package: str) -> None:
    paths = sorted((CHECKOUT / "qcore" / package).rglob("*.py"))
    assert paths
    for path in paths:
        name = path.relative_to(CHECKOUT / "qcore").as_posix()
        allowed, _why = EXEMPT.get(name, (set[str](), ""))
        unused = set(allowed)
        for line, what in uses(ast.parse(path.read_text(encoding="utf-8")), path):
            unused.discard(what)
            assert what in allowed, f"{path}:{line}: {what}: take it from the `Runtime`"
        assert not unused, f"{path}: exempt without need: {unused}"


def test_every_exempt_module_exists() -> None:
    assert [name for name in EXEMPT if not (CHECKOUT / "qcore" / name).exists()] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import time", "time"),
        ("from time import monotonic", "time"),
        ("from qcore.runtime.clock import now_us", "qcore.runtime.clock"),
        ("from qcore.runtime import real", "qcore.runtime.real"),
        ("import random\nx = random.random()", "random"),
        ("from random import Random\nx = Random()", "Random without a seed"),
        ("x = loop.run_in_executor(None, f)", "run_in_executor"),
        ("x = await asyncio.to_thread(f)", "to_thread"),
        ("x = await asyncio.open_connection('h', 1)", "open_connection"),
        ("x = datetime.now(UTC)", "now"),
        ("x = os.urandom(4)", "urandom"),
        ("done, _ = await asyncio.wait(tasks)", "the order of a set"),
        ("for x in (await asyncio.wait(tasks))[0]:\n    pass", "the order of a set"),
        ("x = [y for y in set(z)]", "the order of a set"),
        ("from itertools import count\n_ids = count(1)", "a counter of the process"),
        ("x = id(self)", "id"),
    ],
)
def test_the_fence_finds(text: str, found: str) -> None:
    source = (
        text
        if "await" not in text
        else f"async def f():\n    {text.replace(chr(10), chr(10) + '    ')}"
    )
    assert found in {what for _, what in uses(ast.parse(source), Path("qcore/node/x.py"))}


@pytest.mark.parametrize(
    "text",
    [
        "from random import Random\nx = Random('seed/1')",
        "from qcore.runtime.interface import Runtime",
        "from qcore.transport.connection.outgoing import open_connection\nx = open_connection()",
        "x = clock.now()",
        "x = asyncio.get_running_loop().time()",
    ],
)
def test_the_fence_lets_through(text: str) -> None:
    assert list(uses(ast.parse(text), Path("qcore/node/x.py"))) == []
