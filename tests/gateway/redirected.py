"""Runs a module whose client connects to the default address of etcd, and lets it connect to a gateway instead.

`python -m tests.gateway.redirected HOST:PORT MODULE [ARGUMENT ...]`. The module and its libraries stay as they are:
only the connections to port 2379 go elsewhere. `oslotest`, which the tests of `etcd3gw` take their base class from, may
be absent: then `unittest` has it.
"""

from __future__ import annotations

import importlib.util
import runpy
import socket
import sys
import types
import unittest
from collections.abc import Callable
from functools import partial, wraps
from typing import Final

#: The port that clients of etcd use by default.
ETCD_PORT: Final = 2379


def redirect(address: tuple[str, int]) -> None:
    """Let connections to the default port of etcd go to this address. IPv6 is refused there, as without a listener."""
    plain: Callable[[socket.socket, tuple[str, int]], None] = socket.socket.connect

    @wraps(plain)
    def connect(self: socket.socket, to: tuple[str, int]) -> None:
        if self.family == socket.AF_INET6 and to[1] == ETCD_PORT:
            raise ConnectionRefusedError(f"{to}: nothing listens")
        plain(self, address if to[1] == ETCD_PORT else to)

    socket.socket.connect = connect  # type: ignore[method-assign, assignment]  # the purpose of this module


def stand_in_for_oslotest() -> None:
    """Provide the one class that the tests of `etcd3gw` need, if the package is absent."""
    if importlib.util.find_spec("oslotest") is None:
        package, base = types.ModuleType("oslotest"), types.ModuleType("oslotest.base")
        vars(base)["BaseTestCase"] = unittest.TestCase
        vars(package)["base"] = base
        sys.modules |= {"oslotest": package, "oslotest.base": base}


def main(address: str, module: str, *arguments: str) -> None:
    """Run it as `python -m` does."""
    host, _, port = address.rpartition(":")
    redirect((host, int(port)))
    stand_in_for_oslotest()
    sys.argv = [module, *arguments]
    run = partial(runpy.run_module, run_name="__main__", alter_sys=True)
    run(module)


if __name__ == "__main__":
    main(*sys.argv[1:])
