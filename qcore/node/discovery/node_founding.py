"""`NodeFounding`: the parts of a node that found a cluster, and that answer founders."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from ssl import SSLContext
from typing import TYPE_CHECKING

from qcore.core.raft import RaftCore
from qcore.errors import ConfigError, QcoreError
from qcore.node.addresses.member_addresses import member_address
from qcore.node.api.client_requests import RequestHandler
from qcore.node.config import NodeConfig
from qcore.node.discovery.founding_requests import FoundingRequests
from qcore.node.discovery.promise_file import PromiseFile
from qcore.node.discovery.protocol.founding import Founder, Founding
from qcore.node.discovery.voter import Voter
from qcore.node.observability.logs import NodeLog
from qcore.node.surroundings import Surroundings
from qcore.replica.peers.identity import ClusterIdentity
from qcore.security.keys.node_key import NodeKey
from qcore.transport.wire import Init

if TYPE_CHECKING:
    from qcore.node.discovery.auto_init import AutoInit, Pace
    from qcore.node.discovery.discovery_config import DiscoveryConfig


class NodeFounding:
    """Takes part in the founding of a cluster, if the settings say so.

    It adds its handlers to those of `requests`.

    Args:
        config: settings.
        identity, core, key: of this node.
        requests: begins the cluster.
        world: where the node runs.
        tls: of connections to other nodes.
        log: gets the lines.

    Attributes:
        pace: how fast this node acts; None for the default.

    Raises:
        StorageError: the promises of this node cannot be read.
    """

    def __init__(
        self,
        config: NodeConfig,
        identity: ClusterIdentity,
        core: RaftCore,
        key: NodeKey,
        requests: RequestHandler,
        world: Surroundings,
        tls: SSLContext | None,
        log: NodeLog,
    ) -> None:
        self._config = config
        self._identity = identity
        self._key = key
        self._requests = requests
        self._world = world
        self._tls = tls
        self._log = log
        self._voter = Voter(
            identity,
            world.promises or PromiseFile(config.data_dir),
            lambda: core.is_pristine,
            lambda founding: self._id_of(founding.token, founding.founders),
            world.runtime,
        )
        self._answers = FoundingRequests(
            identity,
            key,
            self._own,
            config.discovery.expect,
            self._voter,
            lambda: requests.initialiser.begins_with,
        )
        handlers = requests.handlers
        handlers |= {**self._answers.handlers, Init: self._answers.instead_of(handlers[Init])}
        self.pace: Pace | None = None
        self._task: asyncio.Task[None] | None = None
        self._auto: AutoInit | None = None

    @property
    def state(self) -> str | None:
        """What this node waits for, or does, if it begins a cluster with other founders; else None."""
        return None if self._auto is None else self._auto.state or "looking for the founders"

    def start(self, awaited_cluster: str | None = None) -> None:
        """Begin, if the settings say so and this node belongs to no cluster. The node listens already.

        Args:
            awaited_cluster: the cluster for which this node has a join token: then it founds none.
        """
        discovery = self._config.discovery
        if self._identity.cluster_id is not None:
            return
        if not discovery.auto_init:
            if discovery.expect or discovery.discover:
                self._log.warning("without --auto-init, --expect and --discover have no effect")
            return
        if awaited_cluster is not None:
            self._log.info("this node has a join token, so it founds no cluster")
            return
        self._voter.takes_part = True
        self._auto = self._auto_init(discovery)
        self._task = asyncio.get_running_loop().create_task(
            self._run(self._auto), name="qcore auto-init"
        )

    def _auto_init(self, discovery: DiscoveryConfig) -> AutoInit:
        # Late: few nodes begin a cluster by themselves, and the others start faster without these modules.
        from qcore.node.discovery.auto_init import AutoInit, Pace
        from qcore.node.discovery.finder import Finder
        from qcore.node.discovery.founder_client import FounderClient
        from qcore.node.discovery.places import places_of

        runtime = self._world.runtime
        return AutoInit(
            self._identity,
            self._own,
            discovery.expect,
            self._requests.initialiser.begins_with,
            proposes=self._config.raft.priority > 0,
            voter=self._voter,
            finder=Finder(places_of(discovery.discover), runtime, self._world.make_announcer),
            client=FounderClient(self._key, self._config.limits, runtime, self._tls),
            new_founding=self._new_founding,
            begin_cluster=lambda founding: self.begin_cluster(founding),
            log=self._log,
            runtime=runtime,
            pace=self.pace or Pace(),
        )

    async def stop(self) -> None:
        """End, and take part in no more votes."""
        self._answers.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, founding: AutoInit) -> None:
        try:
            await founding.run()
        except QcoreError as error:
            self._log.error("this node founds no cluster", why=str(error))

    def _own(self) -> Founder:
        """This node as a founder."""
        where = f"the address of node {self._config.node_id}"
        address = self._requests.initialiser.own_address
        with suppress(ConfigError):  # only a member may listen on all addresses
            address = member_address(address, where)
        return Founder(self._config.node_id, address, self._key.public)

    def _new_founding(self, founders: tuple[Founder, ...]) -> Founding:
        token = self._world.runtime.new_token()
        return Founding(token, self._id_of(token, founders), founders)

    def _id_of(self, token: str, founders: tuple[Founder, ...]) -> str:
        """The id of the cluster.

        Raises:
            ConfigError: this node cannot begin the cluster.
        """
        initialiser = self._requests.initialiser
        if not initialiser.needs_keys:
            raise ConfigError("--auto-init needs apply rules 5 or newer: see --max-rules")
        nodes, keys = _nodes_and_keys(founders)
        return initialiser.planned(nodes, token, keys).cluster_id

    async def begin_cluster(self, founding: Founding) -> QcoreError | None:
        """Begin the cluster of a founding that is decided; returns the error, or None once it has begun."""
        if (own := self._id_of(founding.token, founding.founders)) != founding.cluster_id:
            return ConfigError(
                f"the founders have decided to begin cluster {founding.cluster_id}, and this node would begin it as "
                f"{own}: start it with the program, --machine and --max-rules with which it accepted the founding"
            )
        settled: asyncio.Future[QcoreError | None] = asyncio.get_running_loop().create_future()

        def done(error: QcoreError | None) -> None:
            if error is None:
                self._requests.after_init(lambda: None)
            if not settled.done():
                settled.set_result(error)

        nodes, keys = _nodes_and_keys(founding.founders)
        now = self._world.runtime.monotonic_us()
        self._requests.initialiser.begin(nodes, founding.token, now, done, keys, is_decided=True)
        self._requests.schedule_init_check()
        return await settled


def _nodes_and_keys(founders: tuple[Founder, ...]) -> tuple[list[tuple[int, str]], dict[int, str]]:
    """Founders as an `Init` names them: ids and addresses, and public keys by id."""
    return (
        [(each.node_id, each.address) for each in founders],
        {each.node_id: each.public_key for each in founders},
    )
