"""A PostgreSQL instance under Patroni, as real processes of an unprivileged user."""

from __future__ import annotations

import http.client
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from qcore.processes import ProcessGuard, free_ports, wait_for

#: Who runs PostgreSQL if root runs the tests: it refuses to run as root.
UNPRIVILEGED: Final = "postgres"
#: Where Debian's packages put the programs of the server.
_DEBIAN: Final = Path("/usr/lib/postgresql")
_STOP_S: Final = 20.0


def find_postgresql() -> Path | None:
    """The directory with the programs of the newest PostgreSQL server; None if there is none."""
    found = [path.parent for path in _DEBIAN.glob("*/bin/postgres") if path.parts[4].isdigit()]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    program = shutil.which("postgres")
    return None if program is None else Path(program).resolve().parent


def missing() -> str | None:
    """Why no instance can run here; None if it can."""
    if find_postgresql() is None:
        return "PostgreSQL is not installed: apt-get install postgresql"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(UNPRIVILEGED)
        except KeyError:
            return f"root runs the tests, and there is no user {UNPRIVILEGED} to run PostgreSQL"
        command = [sys.executable, "-c", "import patroni, psycopg"]
        if subprocess.run(command, **identity(), cwd="/", capture_output=True).returncode:
            return f"the user {UNPRIVILEGED} cannot read {sys.executable} or its packages"
    return None


def identity() -> dict[str, Any]:
    """The arguments of `subprocess` that make a process unprivileged."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(UNPRIVILEGED)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class PatroniInstance:
    """One Patroni with its PostgreSQL, which can be killed, paused and started again.

    Args:
        name: the name of the member.
        directory: an existing directory that all users may enter. The instance gets a directory in it.
        etcd_hosts: the addresses that Patroni's section `etcd3` names.
        guard: kills the processes when the program of the test ends.
        times: `ttl`, `loop_wait` and `retry_timeout`, seconds.
        synchronous: whether a standby must have each commit. Tests turn it off to see whether the checks notice.

    Attributes:
        rest_address, sql_port: where Patroni's REST API and PostgreSQL listen on 127.0.0.1.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        etcd_hosts: list[str],
        guard: ProcessGuard,
        times: dict[str, int],
        *,
        synchronous: bool = True,
    ) -> None:
        self.name = name
        self.rest_port, self.sql_port = free_ports(2)
        self.directory = directory / name
        self.data = self.directory / "data"
        self.log_path = self.directory / "patroni.log"
        self.config_path = self.directory / "patroni.yml"
        self._guard = guard
        self._guarded = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.directory.mkdir()
        self.config_path.write_text(
            yaml.safe_dump(self.config(etcd_hosts, times, synchronous), sort_keys=False)
        )

    def config(
        self, etcd_hosts: list[str], times: dict[str, int], synchronous: bool
    ) -> dict[str, Any]:
        """The configuration of Patroni. docs/how-to/patroni.md shows the same one; a test compares them."""
        address = f"127.0.0.1:{self.sql_port}"
        rest = f"127.0.0.1:{self.rest_port}"
        return {
            "scope": "orders",
            "name": self.name,
            "restapi": {"listen": rest, "connect_address": rest},
            "etcd3": {"hosts": list(etcd_hosts)},
            "bootstrap": {
                "dcs": {
                    **times,
                    "synchronous_mode": synchronous,
                    "postgresql": {
                        "use_pg_rewind": True,
                        "parameters": {"shared_buffers": "32MB", "max_connections": 50},
                    },
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": address,
                "connect_address": address,
                "bin_dir": str(find_postgresql()),
                "data_dir": str(self.data),
                "pgpass": str(self.directory / "pgpass"),
                "parameters": {"unix_socket_directories": str(self.directory)},
                "pg_hba": [
                    "host all all 127.0.0.1/32 scram-sha-256",
                    "host replication replicator 127.0.0.1/32 scram-sha-256",
                ],
                "authentication": {
                    "superuser": {"username": "postgres", "password": "change-me"},
                    "replication": {"username": "replicator", "password": "change-me-too"},
                },
                "remove_data_directory_on_rewind_failure": True,
                "remove_data_directory_on_diverged_timelines": True,
            },
        }

    @property
    def dsn(self) -> str:
        """How a client connects to this instance, whatever its role."""
        return (
            f"host=127.0.0.1 port={self.sql_port} user=postgres password=change-me dbname=postgres"
            f" connect_timeout=2 application_name=drill"
        )

    def spawn(self) -> None:
        """Start Patroni without waiting for it. It starts PostgreSQL."""
        assert self._process is None, f"{self.name} is already running"
        if user := identity():
            os.chown(self.directory, user["user"], user["group"])
        environment = {key: text for key, text in os.environ.items() if key[:2] != "PG"}
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "patroni", str(self.config_path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={**environment, "HOME": str(self.directory)},
                start_new_session=True,
                **identity(),
            )
        self._guard.watch(self._process.pid)

    def processes(self) -> list[int]:
        """All processes of this instance: they work in its directory. Patroni and the server come first."""
        return processes_below(self.directory)

    def patroni_processes(self) -> list[int]:
        """The processes of this instance that do not belong to the PostgreSQL server."""
        return [pid for pid in self.processes() if _working_directory(pid) == self.directory]

    def guard_server(self) -> None:
        """Let the guard kill the server, too: it would survive its Patroni."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError):
            return
        if pid != self._guarded and _working_directory(pid) == self.data:
            self._guard.watch(pid)
            self._guarded = pid

    def kill(self) -> None:
        """Send SIGKILL to Patroni and to all processes of PostgreSQL, and wait for their ends."""

        kill_below(self.directory)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self, *, server: bool) -> None:
        """Send SIGSTOP to Patroni, and to all processes of PostgreSQL if `server`. Wait until they have stopped."""

        def stopped() -> bool:
            running = [
                pid
                for pid in (self.processes() if server else self.patroni_processes())
                if _state(pid) not in ("T", "Z", "")
            ]
            for pid in running:
                _signal(pid, signal.SIGSTOP)
            return not running

        wait_for(stopped, _STOP_S, f"{self.name} to stop")

    def resume(self) -> None:
        """Send SIGCONT to all processes."""
        for pid in self.processes():
            _signal(pid, signal.SIGCONT)

    def get(self, path: str, timeout_s: float = 1.0) -> tuple[int, dict[str, Any]]:
        """Ask Patroni's REST API. Return the status and the object; 0 and nothing if it does not answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=timeout_s)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            decoded: dict[str, Any] = json.loads(response.read())
            return response.status, decoded
        except (OSError, http.client.HTTPException, ValueError):
            return 0, {}
        finally:
            connection.close()

    def log_tail(self, lines: int = 30) -> str:
        """The end of what Patroni and PostgreSQL printed."""
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def processes_below(directory: Path) -> list[int]:
    """The processes that work in this directory, or in one below it."""
    return sorted(
        pid
        for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
        if (found := _working_directory(pid)) is not None and found.is_relative_to(directory)
    )


def kill_below(directory: Path) -> None:
    """Send SIGKILL to the processes that work in this directory or below it, and wait for their ends."""

    def gone() -> bool:
        left = [pid for pid in processes_below(directory) if _state(pid) not in ("Z", "")]
        for pid in left:
            _signal(pid, signal.SIGKILL)
        return not left

    wait_for(gone, _STOP_S, f"the end of the processes in {directory}")


def _working_directory(pid: int) -> Path | None:
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:
        return None  # it has ended, or belongs to another user


def _state(pid: int) -> str:
    """The state letter of a process: T is stopped. Empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return ""


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has just ended
