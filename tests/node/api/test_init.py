"""`Init` at several nodes at the same time, in many random orders: one cluster, or none and helpful errors."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from qcore.core.entry import Membership
from qcore.core.version import ClusterVersion, VersionSupport
from qcore.errors import (
    ChangeRefused,
    ConfigError,
    OutcomeUnknown,
    QcoreError,
    RemoteProtocolError,
)
from qcore.node.api.init_request import Initialiser
from qcore.node.api.new_cluster import new_cluster
from qcore.node.peers.peer_router import ConnectionStatus
from qcore.replica.events import Reply
from qcore.replica.peers.identity import ClusterIdentity, PeerHello
from qcore.replica.peers.known_members import WAS_WIPED
from qcore.runtime.real import REAL

MEMBERS = [(1, "10.0.0.1:80"), (2, "10.0.0.2:80"), (3, "10.0.0.3:80")]
VERSION = ClusterVersion(3, "register", 1)
SUPPORT = VersionSupport(1, 3, "register", 1, 1)
TIMEOUT_MS = 1000


@dataclass
class Log:
    """A node's log, with what `Initialiser` reads of it."""

    first: str = ""
    commit_index: int = 0

    @property
    def is_pristine(self) -> bool:
        return not self.first


class Machine:
    """One node: its data, its process, and its connections to others."""

    def __init__(self, world: World, node_id: int) -> None:
        self.world, self.node_id = world, node_id
        self.log = Log()
        self.starts()

    def starts(self) -> None:
        """Start the process with the data on its disk."""
        cluster = Membership.from_json(self.log.first).cluster_id if self.log.first else None
        self.identity = ClusterIdentity(self.node_id, cluster)
        self.wanted: dict[int, str] = {}
        self.known: dict[int, ConnectionStatus] = {}
        self.open: dict[int, tuple[Machine, ClusterIdentity, str]] = {}
        self.settled: Callable[[Reply], None] = lambda reply: None
        self.init = Initialiser(
            self.identity, self.log, self, self.write, lambda: VERSION, TIMEOUT_MS, REAL.new_token
        )
        self.init.listening_on(dict(MEMBERS)[self.node_id])

    # -- PeerConnections -----------------------------------------------------------------------------------

    def connect_to(self, nodes: Mapping[int, str], keys: Mapping[int, str] | None = None) -> None:
        for peer in [*self.open]:
            if peer not in nodes:
                self.close(peer)
        self.wanted, self.known = dict(nodes), {}

    def connection_statuses(self) -> dict[int, ConnectionStatus]:
        return self.known

    def close(self, peer: int) -> None:
        """Close the connection; the other end notices at some later time."""
        _, identity, cluster = self.open.pop(peer)
        self.known.pop(peer, None)
        self.world.later.append(lambda: identity.release(cluster))

    # -- steps of the simulation -------------------------------------------------------------------

    def write(
        self, membership: Membership, same: bool, timeout_ms: int, done: Callable[[Reply], None]
    ) -> None:
        del timeout_ms
        self.settled = done
        self.world.written.setdefault(membership.cluster_id, set()).add(self.node_id)
        self.take(membership.to_json() + ("" if same else " "))

    def take(self, first: str) -> None:
        """The first entries are in the log: from this node's `Init`, or from a leader."""
        self.log.first = first
        cluster = Membership.from_json(first).cluster_id
        self.identity.join(cluster)
        self.wanted = {node: address for node, address in MEMBERS if node != self.node_id}

    def connect(self, other: Machine) -> None:
        """Send `Hello`, if a connection is wanted."""
        if other.node_id not in self.wanted or other.node_id in self.open:
            return
        offered, address = self.identity.hello_cluster_id, other.address
        try:
            other.identity.accept(self.node_id, offered)
        except RemoteProtocolError as error:
            self.known[other.node_id] = ConnectionStatus(
                address, None, f"refused: {error}", rejected=True
            )
            return
        self.open[other.node_id] = (other, other.identity, offered)
        answer = other.identity.hello_cluster_id
        if answer and answer != offered:
            self.close(other.node_id)
            problem = f"it belongs to {answer}"
            self.known[other.node_id] = ConnectionStatus(address, None, problem, rejected=True)
            return
        index = 1 if other.log.first else 0
        peer = PeerHello(other.node_id, answer, membership_index=index, support=SUPPORT)
        self.known[other.node_id] = ConnectionStatus(address, peer, None, rejected=False)

    def replicate(self) -> None:
        """Do what a leader does: send the first entries, and commit them once a majority of the members has them."""
        if not self.log.first:
            return
        for other, identity, offered in [*self.open.values()]:
            current = other.identity is identity and offered == self.identity.cluster_id
            if current and not other.log.first:
                other.take(self.log.first)
        holders = self.world.holders(self.identity.cluster_id)
        if len(holders) > len(MEMBERS) // 2:
            for machine in holders:
                machine.log.commit_index = 1
                done, machine.settled = machine.settled, lambda reply: None
                done(Reply(1, "", 1, None))

    @property
    def address(self) -> str:
        return dict(MEMBERS)[self.node_id]


@dataclass
class World:
    """Three nodes, and the changes that are still to happen between them."""

    rng: random.Random
    later: list[Callable[[], None]] = field(default_factory=list)
    written: dict[str, set[int]] = field(default_factory=dict)
    outcomes: list[tuple[int, QcoreError | None]] = field(default_factory=list)
    now: int = 0

    def __post_init__(self) -> None:
        self.machines = [Machine(self, node_id) for node_id, _ in MEMBERS]

    def holders(self, cluster: str | None) -> list[Machine]:
        return [machine for machine in self.machines if machine.identity.cluster_id == cluster]

    def init(self, machine: Machine, token: str | None, members: list[tuple[int, str]]) -> None:
        machine.init.begin(
            members, token, self.now, lambda error: self.outcomes.append((machine.node_id, error))
        )

    def turn(self) -> None:
        """One random step."""
        machine, other = self.rng.sample(self.machines, 2)
        if self.later and self.rng.random() < 0.3:
            self.later.pop(self.rng.randrange(len(self.later)))()
        elif self.rng.random() < 0.6:
            machine.connect(other)
        else:
            machine.replicate()
        self.now += self.rng.randrange(2000)
        machine.init.advance(self.now)

    def restart(self, machine: Machine) -> None:
        """kill -9 the node and start it again: connections break, its data stays."""
        for peer in [*machine.open]:
            machine.close(peer)
        for other in self.machines:
            if machine.node_id in other.open:
                other.close(machine.node_id)
        machine.starts()
        if machine.log.first:
            machine.wanted = {node: address for node, address in MEMBERS if node != machine.node_id}

    def settle(self, turns: int = 400) -> None:
        for _ in range(turns):
            self.turn()

    def clusters(self) -> set[str | None]:
        return {machine.identity.cluster_id for machine in self.machines}

    def formed(self) -> list[str]:
        """Clusters that a majority of the nodes belongs to."""
        found = {cluster for cluster in self.clusters() if cluster}
        return [cluster for cluster in found if len(self.holders(cluster)) > len(MEMBERS) // 2]


@pytest.mark.parametrize("token", ["red", None])
def test_concurrent_inits_end_in_one_cluster_or_clear_errors(
    token: str | None,
) -> None:
    lost = 0
    for seed in range(80):
        world = World(random.Random(seed))
        for machine in world.rng.sample(world.machines, 3):
            for _ in range(world.rng.randrange(4)):
                world.turn()
            world.init(machine, token, MEMBERS)
        world.settle()
        assert len(world.written) <= 1, "no node writes the first entries of a second cluster"
        assert len(world.outcomes) == 3
        for _, error in world.outcomes:
            if error is not None:
                lost += 1
                assert isinstance(error, ChangeRefused | ConfigError)
                assert "nothing was written" in str(error).lower() or "already" in str(error)
                assert "--init-token" in str(error) or "cluster status" in str(error)
        if token is not None:
            assert [error for _, error in world.outcomes if error] == []
        world.init(world.machines[0], token, MEMBERS)  # the operator repeats it at one node
        world.settle()
        (cluster,) = world.clusters()
        assert cluster is not None
        assert len({machine.log.first for machine in world.machines}) == 1
    assert (lost > 0) == (token is None), "only without a token can an Init lose"


@pytest.mark.parametrize("token", ["red", None])
def test_kills_during_inits_never_leave_two_working_clusters(token: str | None) -> None:
    for seed in range(80):
        world = World(random.Random(1000 + seed))
        for _ in range(6):
            world.init(world.rng.choice(world.machines), token, MEMBERS)
            for _ in range(world.rng.randrange(12)):
                world.turn()
            world.restart(world.rng.choice(world.machines))
        world.settle()
        assert len(world.formed()) <= 1
        if token is not None:
            assert len(world.written) <= 1
            firsts = {machine.log.first for machine in world.machines if machine.log.first}
            assert len(firsts) <= 1, "byte for byte"


def test_one_token_with_two_lists_forms_at_most_one_cluster() -> None:
    for seed in range(40):
        world = World(random.Random(seed))
        world.init(world.machines[0], "red", MEMBERS[:2])
        world.init(world.machines[1], "red", MEMBERS)
        world.init(world.machines[2], "red", MEMBERS)
        world.settle()
        assert len(world.written) <= 1
        assert len([error for _, error in world.outcomes if error]) >= 1


def test_the_cluster_id_of_a_token_covers_the_first_entries() -> None:
    def made(token: str, members: list[tuple[int, str]], version: ClusterVersion | None) -> str:
        return new_cluster(members, 1, token, version, new_token=REAL.new_token).cluster_id

    one = made("red", MEMBERS, VERSION)
    assert one == made("red", MEMBERS[::-1], VERSION)
    moved = [*MEMBERS[:2], (3, "10.0.0.4:80")]
    others = [
        made("blue", MEMBERS, VERSION),
        made("red", MEMBERS[:2], VERSION),
        made("red", moved, VERSION),
        made("red", MEMBERS, None),
        made("red", MEMBERS, ClusterVersion(2, "register", 1)),
    ]
    assert len({one, *others}) == 6
    assert (
        new_cluster(MEMBERS, 1, new_token=REAL.new_token).cluster_id
        != new_cluster(MEMBERS, 1, new_token=REAL.new_token).cluster_id
    )
    upgraded = new_cluster(
        MEMBERS, 1, "red", ClusterVersion(3, "register", 2), new_token=REAL.new_token
    )
    assert upgraded.is_cluster(one), "a newer program knows the cluster by its token"
    assert not new_cluster(MEMBERS, 1, "blue", VERSION, new_token=REAL.new_token).is_cluster(one)


def answered(
    rejections: Mapping[int, str], members: Mapping[int, PeerHello], token: str | None
) -> tuple[Machine, list[QcoreError | None]]:
    """Run an `Init` at node 1 whose peers answer like this; returns the node and the outcomes."""
    world = World(random.Random(1))
    machine = world.machines[0]
    world.init(machine, token, MEMBERS)
    for peer, text in rejections.items():
        machine.known[peer] = ConnectionStatus("h:1", None, text, rejected=True)
    for peer, introduction in members.items():
        machine.known[peer] = ConnectionStatus("h:1", introduction, None, rejected=False)
    machine.init.advance(world.now)
    machine.init.advance(world.now + TIMEOUT_MS * 1000)
    return machine, [error for _, error in world.outcomes]


def test_a_wiped_member_writes_nothing_on_a_repeated_init() -> None:
    """Otherwise the node would hold a log like a member's, without its earlier votes."""
    plain = PeerHello(3, "", support=SUPPORT)
    machine, (error,) = answered({2: f"refused by h:1: node 1 {WAS_WIPED}; ..."}, {3: plain}, "red")
    assert isinstance(error, ConfigError)
    assert "was wiped" in str(error)
    assert machine.log.is_pristine
    assert machine.identity.hello_cluster_id == ""


@pytest.mark.parametrize(("token", "written"), [("red", False), (None, True)])
def test_an_init_with_a_token_needs_answers_from_all_nodes(
    token: str | None, written: bool
) -> None:
    """This node was wiped, node 3 is new, and node 2 is down and holds acknowledged writes.

    Only a token gives both clusters the same id, so that the two logs could meet.
    """
    plain = PeerHello(3, "", support=SUPPORT)
    machine, outcomes = answered({}, {3: plain}, token)
    assert machine.log.is_pristine is not written
    if not written:
        (error,) = outcomes
        assert isinstance(error, ChangeRefused)
        assert error.name == "unreachable"
        assert "all of them" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "refused by h:1: the peer says that it is node 1, and so does this node: two nodes have the same id, or ...",
        "h:1 is node 3, not node 2: check the addresses of the members",
    ],
)
def test_an_init_with_the_address_of_another_node_is_rejected(text: str) -> None:
    """A majority accepts, but the node with the wrong address would never join, without an error."""
    machine, (error,) = answered({2: text}, {3: PeerHello(3, "", support=SUPPORT)}, None)
    assert isinstance(error, ConfigError)
    assert "gives a node an address that is not its own" in str(error)
    assert text in str(error)
    assert machine.log.is_pristine


def test_an_init_writes_nothing_if_the_cluster_exists() -> None:
    """No node remembers this one, and it may have been a member: it becomes one again only through the leader."""
    world = World(random.Random(1))
    cluster = new_cluster(MEMBERS, 1, "red", VERSION, new_token=REAL.new_token).cluster_id
    member = PeerHello(2, cluster, membership_index=1, support=SUPPORT)
    plain = PeerHello(3, "", support=SUPPORT)
    machine, (error,) = answered({}, {2: member, 3: plain}, "red")
    assert isinstance(error, OutcomeUnknown)
    assert machine.log.is_pristine
    assert not world.written


def test_an_init_at_nodes_with_another_version_says_so() -> None:
    mine = new_cluster(MEMBERS, 1, "red", VERSION, new_token=REAL.new_token).cluster_id
    other = new_cluster(MEMBERS, 2, "red", ClusterVersion(1), new_token=REAL.new_token).cluster_id
    text = f"refused by h:1: node 1 belongs to cluster {mine}, node 2 to cluster {other}"
    machine, (error,) = answered({2: text, 3: text}, {}, "red")
    assert isinstance(error, ConfigError)
    assert "--max-rules" in str(error)
    assert machine.log.is_pristine


def test_the_reason_of_a_rejection_decides_whether_to_retry() -> None:
    busy = "refused by h:1: node 2 is about to join cluster x and cannot listen"
    foreign = "refused by h:1: node 1 belongs to cluster x, node 3 to cluster y"
    _, (error,) = answered({2: busy, 3: busy}, {}, None)
    assert isinstance(error, ChangeRefused)
    assert error.name == "initialising"
    accepts = PeerHello(2, "", support=SUPPORT)
    machine, (error,) = answered({3: foreign}, {2: accepts}, None)
    assert isinstance(error, ConfigError), "even if a majority accepts"
    assert machine.log.is_pristine
    _, (error,) = answered({2: "refused by h:1: it is another node"}, {}, None)
    assert isinstance(error, ChangeRefused)
    assert error.name == "unreachable"
    assert "node 3 at 10.0.0.3:80: it has not answered yet" in str(error)
