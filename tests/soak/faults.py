"""The faults of a soak. Each acts for a while, and ends by itself or with `SoakCluster.heal`."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from qcore.processes import NodeProcess
from tests.soak.networks import Network
from tests.soak.soak_cluster import SoakCluster


@dataclass(frozen=True)
class Scene:
    """What a fault acts on.

    Attributes:
        files: a directory.
        pace: a factor for all waits.
        clients: how many clients read and write, besides those that increment.
        leader_killed_us: when a leader was killed, µs on the monotonic clock.
    """

    cluster: SoakCluster
    network: Network
    rng: random.Random
    files: Path
    pace: float = 1.0
    clients: int = 6
    leader_killed_us: list[int] = field(default_factory=list)

    def any_node(self) -> NodeProcess:
        """A running member."""
        return self.rng.choice(self.cluster.cluster.active())

    def wait(self, least_s: float, most_s: float) -> None:
        """Let the fault act for a random time."""
        time.sleep(self.pace * self.rng.uniform(least_s, most_s))


def kill_leader(scene: Scene) -> None:
    leader = scene.cluster.leader()
    scene.leader_killed_us.append(time.monotonic_ns() // 1000)
    leader.kill()
    scene.wait(0.2, 2)
    scene.cluster.start(leader)


def kill_a_node(scene: Scene) -> None:
    node = scene.any_node()
    node.kill()
    scene.wait(0.2, 5)
    scene.cluster.start(node)


def kill_all(scene: Scene) -> None:
    for node in scene.cluster.nodes.values():
        node.kill()
    scene.wait(0, 1)
    for node in scene.cluster.nodes.values():
        scene.cluster.start(node)


def kill_all_with_slow_disks(scene: Scene) -> None:
    """Writes wait for every disk at the moment at which all nodes die."""
    for node in scene.cluster.nodes.values():
        scene.cluster.slow_flag(node).touch()
    scene.wait(0.5, 1)
    for node in scene.cluster.nodes.values():
        node.kill()
    scene.cluster.heal()


def pause_leader(scene: Scene) -> None:
    leader = scene.cluster.leader()
    leader.pause()
    scene.wait(0.5, 4)
    leader.resume()


def pause_a_node(scene: Scene) -> None:
    node = scene.any_node()
    node.pause()
    scene.wait(0.1, 6)
    node.resume()


def rolling_restart(scene: Scene) -> None:
    """SIGTERM and a new start, one node after the other."""
    for node in list(scene.cluster.nodes.values()):
        code = node.stop(60)
        assert code == 0, f"node {node.node_id} ended with exit code {code} after SIGTERM"
        scene.cluster.start(node)


def transfer(scene: Scene) -> None:
    scene.cluster.command("leader", "transfer", check=False)


def slow_disk(scene: Scene) -> None:
    node = scene.any_node()
    scene.cluster.slow_flag(node).touch()
    scene.wait(1, 4)
    scene.cluster.slow_flag(node).unlink(missing_ok=True)


def full_disk(scene: Scene) -> None:
    scene.cluster.fill_disk(full=True)
    scene.wait(2, 5)
    scene.cluster.fill_disk(full=False)


def cut_leader(scene: Scene) -> None:
    scene.network.cut(scene.cluster.leader().node_id)
    scene.wait(1, 5)
    scene.network.heal()


def cut_a_node(scene: Scene) -> None:
    scene.network.cut(scene.any_node().node_id)
    scene.wait(0.5, 8)
    scene.network.heal()


def one_way_cut(scene: Scene) -> None:
    one, other = scene.rng.sample(sorted(scene.cluster.nodes), 2)
    scene.network.block(one, other)
    scene.wait(1, 5)
    scene.network.heal()


def slow_link(scene: Scene) -> None:
    scene.network.slow(scene.any_node().node_id)
    scene.wait(2, 5)
    scene.network.heal()


def change_members(scene: Scene) -> None:
    """A new node joins as a voter, and leaves again."""
    scene.cluster.add_spare()
    scene.wait(0.5, 2)
    scene.cluster.remove_spare()


def member_dies_during_change(scene: Scene) -> None:
    """A new node joins, and the leader dies while it leaves."""
    scene.cluster.add_spare()
    leader = scene.cluster.leader()
    leader.kill()
    scene.cluster.remove_spare()
    scene.cluster.start(leader)


def save_snapshot(scene: Scene) -> None:
    """Save the state into a file, and read the file."""
    file = scene.files / "state.snapshot"
    scene.cluster.command("snapshot", "save", str(file), "--force")
    assert file.stat().st_size > 0


def restore_backup(scene: Scene) -> None:
    """Verify the newest scheduled backup, restore it into a data directory, and check that directory."""
    backup = scene.cluster.newest_backup()
    scene.cluster.offline("snapshot", "verify", str(backup))
    restored = scene.files / "restored"
    shutil.rmtree(restored, ignore_errors=True)
    where = ("--data-dir", str(restored), "--id", "1", "--members", "1=127.0.0.1:1")
    scene.cluster.offline("snapshot", "restore", str(backup), *where)
    scene.cluster.offline("check", str(restored))


def renew_certificates(scene: Scene) -> None:
    scene.cluster.renew_certificates()


#: A fault acts on the scene, and returns when it is over.
Fault: TypeAlias = Callable[[Scene], None]

#: Faults for every machine.
ALWAYS: list[Fault] = [
    *(kill_leader, kill_a_node, kill_all, kill_all_with_slow_disks, pause_leader, pause_a_node),
    *(rolling_restart, transfer, slow_disk, change_members, member_dies_during_change),
    *(save_snapshot, restore_backup, renew_certificates),
]
LINKS: list[Fault] = [cut_leader, cut_a_node, one_way_cut, slow_link]
ALL_FAULTS: list[Fault] = [*ALWAYS, full_disk, *LINKS]


def possible_faults(scene: Scene, names: Collection[str] = ()) -> list[Fault]:
    """The faults that can be made here; only those with these names, if there are any."""
    disk = [full_disk] if scene.cluster.small_disk is not None else []
    links = LINKS if scene.network.has_faults else []
    return [fault for fault in (*ALWAYS, *disk, *links) if not names or fault.__name__ in names]
