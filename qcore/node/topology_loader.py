"""`TopologyLoader`: proposes the topology once in the life of a cluster. `read_topology`: reads the topology file.

Every node that has a topology file checks it at the start. Once such a node knows a leader, and its store is pristine,
it proposes the topology. The leader and the node that received `Init` propose it immediately. The others wait a little,
and propose it only if those two did not, for example because they crashed. The command changes nothing if a topology
was loaded before, so several nodes may propose it. A node that restarts or joins later finds a store that is not
pristine, and does nothing.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from qcore.core.effects import RoleChanged
from qcore.errors import ConfigError, StoreError
from qcore.files import decode_text, read_regular
from qcore.node.application import Application
from qcore.node.config import MAX_TOPOLOGY_BYTES
from qcore.node.observability.logs import NodeLog
from qcore.replica.events import Reply
from qcore.replica.messages import RequestKind

#: A larger topology file is rejected. White space and comments make a file several times as long as its command.
_MAX_TOPOLOGY_FILE_BYTES: Final = 8 * MAX_TOPOLOGY_BYTES
_FOLLOWER_DELAY_S: Final = 2.0
_RETRY_DELAY_S: Final = 0.5
_INIT_TIMEOUT_S: Final = 10.0

Submit = Callable[[RequestKind, str, Callable[[Reply], None]], None]


def read_topology(path: Path, application: Application) -> str:
    """The command that loads the topology file at `path`.

    Raises:
        ConfigError: the file cannot be read, is malformed, or is too large.
    """
    try:
        data = read_regular(path, _MAX_TOPOLOGY_FILE_BYTES)
    except OSError as error:
        raise ConfigError(f"--topology {path}: {error.strerror}") from None
    text = decode_text(data, str(path))
    try:
        command = application.topology_command(text, str(path))
    except ConfigError as error:
        if not _is_toml(text):
            raise
        raise ConfigError(
            f"{error}; this file is TOML, and a topology is YAML: a node's settings go to --config"
        ) from None
    size = len(command.encode())
    if size > MAX_TOPOLOGY_BYTES:
        raise ConfigError(
            f"{path}: the topology is a command of {size} bytes, the limit is {MAX_TOPOLOGY_BYTES}: "
            "remove a part of the tree from the file, and create it with `Perform` once the cluster runs"
        )
    return command


def _is_toml(text: str) -> bool:
    try:
        return bool(tomllib.loads(text))
    except (ValueError, RecursionError):
        return False


def topology_loader(
    path: Path | None, application: Application, submit: Submit, log: NodeLog
) -> TopologyLoader | None:
    """The loader of the topology file; None if there is none.

    Raises:
        ConfigError: see `read_topology`.
    """
    if path is None:
        return None
    command = read_topology(path, application)
    return TopologyLoader(command, application.is_pristine, submit, log)


class TopologyLoader:
    """Proposes the topology until the store is no longer pristine.

    Args:
        command: the command that loads the topology.
        is_pristine: whether nothing has been written to the store.
        submit: proposes a command and calls back with the outcome.
        log: gets a line for each outcome.
    """

    def __init__(
        self, command: str, is_pristine: Callable[[], bool], submit: Submit, log: NodeLog
    ) -> None:
        self._command = command
        self._is_pristine = is_pristine
        self._submit = submit
        self._log = log
        self._proposing = False
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: list[Callable[[], None]] = []
        self._stopped = False

    def stop(self) -> None:
        """Stop proposing."""
        self._stopped = True
        self._disarm()

    def role_changed(self, change: RoleChanged) -> None:
        """Role, term or leader changed: a leader proposes immediately, a follower after a delay."""
        if change.role == "leader":
            self._propose()
        elif change.leader_id is not None:
            self._arm(_FOLLOWER_DELAY_S)

    def after_init(self, done: Callable[[], None]) -> None:
        """This node has initialised a cluster: propose immediately, and call `done` once the topology is loaded.

        After a timeout `done` is called in any case, because the sender of `Init` must not wait forever if the quorum
        is lost. The cluster has begun even then.
        """
        self._waiting.append(done)
        asyncio.get_running_loop().call_later(_INIT_TIMEOUT_S, self._finish)
        self._propose()

    def _arm(self, delay_s: float) -> None:
        self._disarm()
        if not self._stopped:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(delay_s, self._propose)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _propose(self) -> None:
        self._disarm()
        if self._proposing or self._stopped:
            return
        if not self._is_pristine():
            self._finish()
            return
        self._proposing = True
        self._submit("write", self._command, self._on_outcome)

    def _on_outcome(self, reply: Reply) -> None:
        self._proposing = False
        error = reply.error
        if error is None or isinstance(error, StoreError):
            self._log.info("topology loaded", index=reply.index, result=(reply.result or "")[:200])
            self._finish()
        else:
            self._log.warning("topology not loaded yet", why=str(error))
            self._arm(_RETRY_DELAY_S)

    def _finish(self) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done()
