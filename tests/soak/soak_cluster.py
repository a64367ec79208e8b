"""`SoakCluster`: real nodes with TLS in a network whose links can be cut, and a spare node for membership changes."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from qcore.processes import NodeProcess, ProcessCluster, wait_for
from qcore.security.tls import TlsFiles
from tests.process.support.commands import run_qcore
from tests.security.certificates import Authority
from tests.soak import soak_node
from tests.soak.networks import Network

TIMING: Final = (
    *("--heartbeat-ms", "60", "--election-timeout-min-ms", "300"),
    *("--election-timeout-max-ms", "600"),
)
#: Snapshots are frequent, and the log behind them is short.
SNAPSHOTS: Final = ("--snapshot-entries", "5000", "--keep-entries", "2000")
BACKUPS: Final = ("--backup-interval-s", "15", "--backup-keep", "3")
#: With less free space a node takes no writes, MiB. The small disk is larger.
LEAST_FREE_MIB: Final = 32
QUOTA: Final = ("--min-free-disk-bytes", str(LEAST_FREE_MIB << 20))
OPTIONS: Final = (*TIMING, *SNAPSHOTS, *BACKUPS, *QUOTA)
#: The size of the disk that is filled, MiB.
_SMALL_DISK_MIB: Final = 192


class SoakCluster:
    """Nodes 1 to n are members. A spare node with a new id joins and leaves now and then.

    Args:
        directory: an empty directory.
        size: the number of members.
        network: where they run.
        environment: further variables of each node.
        has_faulty_disks: whether disks can be slow, and the last member's is small, if this machine can mount one.

    Attributes:
        small_disk: the member whose data directory is on a small, separate file system; None where none can be mounted.
        restarts_s: how long each restart took until the node listened, seconds.
    """

    def __init__(
        self,
        directory: Path,
        size: int,
        network: Network,
        environment: dict[str, str],
        *,
        has_faulty_disks: bool = True,
    ) -> None:
        self._directory = directory
        self._network = network
        self._has_faulty_disks = has_faulty_disks
        self._authority = Authority(directory)
        self._certificates = 0
        self.small_disk: int | None = None
        self.spare: NodeProcess | None = None
        self.restarts_s: list[float] = []
        self.tls = TlsFiles(ca=self._authority.path)
        context = ssl.create_default_context(cafile=self._authority.path)
        self.cluster = ProcessCluster(directory, size, OPTIONS, environment, context)
        for node in self.cluster.nodes.values():
            self._place(node, node.node_id)
        self._spare_place = size + 1
        self._next_spare_id = size + 1
        self._context = context
        self._environment = environment

    def __enter__(self) -> Self:
        if self._has_faulty_disks:
            self._mount()
        try:
            self._begin()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.spare is not None:
            self.spare.kill()
        self.cluster.__exit__(kind, error, trace)
        if self.small_disk is not None:
            subprocess.run(["umount", "-l", self._small_directory()], check=False)

    def _begin(self) -> None:
        self.renew_certificates()
        self.cluster.start()
        members = ",".join(f"{node_id}={address}" for node_id, address in self.cluster.members)
        self.command("cluster", "init", "--nodes", members)
        self.cluster.wait_converged()

    @property
    def nodes(self) -> dict[int, NodeProcess]:
        """The members, by id."""
        return self.cluster.nodes

    def leader(self) -> NodeProcess:
        """The member that leads; the spare node never does, because it stays a learner for most of the time."""
        return self.cluster.wait_leader(60)

    def command(self, *words: str, check: bool = True) -> str:
        """Run a `qcore` command as an operator does. Returns its output."""
        done = run_qcore(
            *words,
            endpoints=self.cluster.endpoints,
            environment={"QCORE_TLS_CA": str(self._authority.path)},
        )
        assert not check or done.returncode == 0, (words, done.returncode, done.stderr)
        return done.stdout + done.stderr

    def offline(self, *words: str) -> None:
        """Run a `qcore` command that needs no node."""
        done = run_qcore(*words)
        assert done.returncode == 0, (words, done.returncode, done.stderr)

    def newest_backup(self) -> Path:
        """The newest scheduled backup, whichever node wrote it."""

        def newest() -> Path | None:
            found = self._directory.glob("backups*/*.snapshot")
            return max(found, key=lambda file: file.name, default=None)

        return wait_for(newest, 60, "a scheduled backup")

    def start(self, node: NodeProcess) -> None:
        """Start a node again, and note how long it takes."""
        began = time.monotonic()
        node.start(60)
        self.restarts_s.append(time.monotonic() - began)

    def heal(self) -> None:
        """End every fault: of links, disks and processes."""
        self._network.heal()
        self.fill_disk(full=False)
        for node in self.nodes.values():
            self.slow_flag(node).unlink(missing_ok=True)
            if node.running and node.paused:
                node.resume()
            elif not node.running:
                self.start(node)

    # -- certificates ----------------------------------------------------------------------------

    def renew_certificates(self) -> None:
        """Write a new certificate for each node; the nodes read them again by themselves."""
        self._certificates += 1
        for number in range(1, len(self.nodes) + 2):
            self._authority.issue(f"node{number}", self._network.host(number))

    # -- disks -----------------------------------------------------------------------------------

    def slow_flag(self, node: NodeProcess) -> Path:
        """The file that slows down the disk of a node."""
        return node.data_dir.with_name(node.data_dir.name + ".slow")

    def fill_disk(self, *, full: bool) -> None:
        """Fill the small disk, or empty it again."""
        if self.small_disk is None:
            return
        ballast = self._small_directory() / "ballast"
        if not full:
            ballast.unlink(missing_ok=True)
            return
        with open(ballast, "wb", buffering=0) as file:
            block = bytes(64 * 1024)
            try:
                while file.write(block):
                    pass
            except OSError:
                pass  # this is what was wanted: no space is left

    def _small_directory(self) -> Path:
        return self._directory / "small"

    def _mount(self) -> None:
        directory = self._small_directory()
        directory.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={_SMALL_DISK_MIB}m", "tmpfs", directory],
            check=False,
            capture_output=True,
        )
        if mounted.returncode == 0:
            self.small_disk = len(self.nodes)
            self.nodes[self.small_disk].data_dir = directory / f"node{self.small_disk}"

    # -- the spare node --------------------------------------------------------------------------

    def add_spare(self) -> None:
        """Start a node with a new id, and add it as a voter."""
        node_id, self._next_spare_id = self._next_spare_id, self._next_spare_id + 1
        (port,) = (self.nodes[1].port,) if self._network.has_faults else (self.nodes[1].port + 40,)
        spare = NodeProcess(
            node_id, port, self._directory, OPTIONS, self._environment, self._context
        )
        self._place(spare, self._spare_place)
        self.spare = spare
        spare.start(60)
        key = spare.public_key()
        assert key is not None
        self.command("member", "add", f"{node_id}={spare.address}", "--public-key", key, "--voter")

    def remove_spare(self) -> None:
        """Remove the spare node, until it is no member any more, and delete its data."""
        spare = self.spare
        if spare is None:
            return

        def removed() -> bool:
            text = self.command("member", "remove", str(spare.node_id), check=False)
            listed = self.command("member", "list", check=False)
            return "ADDRESS" in listed and spare.address not in listed and bool(text)

        wait_for(removed, 120, "the removal of the spare node")
        spare.kill()
        shutil.rmtree(spare.data_dir, ignore_errors=True)
        self.spare = None

    def _place(self, node: NodeProcess, place: int) -> None:
        """Let the node run in a namespace, with its certificate."""
        node.host = self._network.host(place)
        node.prefix = self._network.prefix(place)
        if self._has_faulty_disks:
            node.program = (str(soak_node.__file__),)
        backups = self._directory / f"backups{place}"
        backups.mkdir(exist_ok=True)
        node.arguments += ("--backup-dir", str(backups))
        certificate = self._directory / f"node{place}.crt"
        tls: Sequence[str] = (
            *("--tls-cert", str(certificate), "--tls-key", str(certificate.with_suffix(".key"))),
            *("--tls-ca", str(self._authority.path)),
        )
        node.arguments += tls
