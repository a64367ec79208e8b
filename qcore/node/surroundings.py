"""`Surroundings`: what a node needs from the world in which it runs, so that the same node runs in a process and in the
simulator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qcore.node.discovery.promise_file import NoPromises, PromiseStore
from qcore.node.peers.known_members_file import LoadKnownMembers, load_known_members
from qcore.node.peers.node_key_file import LoadNodeKey, load_or_create_key
from qcore.node.runtime.disk_writer import MakeWriter, thread_or_loop
from qcore.node.watches.divergence import DivergenceMark
from qcore.runtime.interface import Runtime
from qcore.runtime.real import REAL
from qcore.security.users.password import ARGON2, PasswordHashing

if TYPE_CHECKING:
    from qcore.node.discovery.finder import Announcer, MakeAnnouncer


def announcer(name: str, runtime: Runtime) -> Announcer:
    """See `qcore.node.discovery.mdns.mdns_announcer`."""
    from qcore.node.discovery.mdns import mdns_announcer  # late: few nodes announce themselves

    return mdns_announcer(name, runtime)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The world of a node. The defaults are those of a process that runs one node.

    Attributes:
        runtime: clocks, entropy, connections, and threads.
        own_process: whether the process runs only this node, so that signals may be handled.
        make_writer: makes the writer of the log; by default a disk thread and the event loop.
        load_members: loads the members that this node knows; by default from a file in the data directory.
        load_key: loads the key of this node; by default from a file in the data directory.
        promises: remembers what this node has promised to other founders; None for a file in the data directory.
        make_announcer: announces this node in the local network.
        divergence_mark: remembers that this node is diverged; None for a file in the data directory.
        hashing: makes and checks the hashes of passwords.
        measures_stalls: whether to measure how late the event loop is.
    """

    runtime: Runtime = REAL
    own_process: bool = True
    make_writer: MakeWriter = thread_or_loop
    load_members: LoadKnownMembers = load_known_members
    load_key: LoadNodeKey = load_or_create_key
    promises: PromiseStore | None = None
    make_announcer: MakeAnnouncer = announcer
    divergence_mark: DivergenceMark | None = None
    hashing: PasswordHashing = ARGON2
    measures_stalls: bool = True


#: For `promises`: of a node that founds no cluster.
NO_PROMISES: Final = NoPromises()
#: The world of a process that runs one node.
PROCESS = Surroundings()
