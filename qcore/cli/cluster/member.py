"""`qcore member`: shows and changes the members of a cluster."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from dataclasses import replace as replaced
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from qcore.cli.clients.connection import with_client
from qcore.cli.cluster.node_list import parse_nodes
from qcore.cli.cluster.node_metrics import best_informed
from qcore.cli.exits import ResultNotShown
from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
    split_endpoints,
)
from qcore.cli.output import show
from qcore.errors import ChangeRefused, ConfigError, QcoreError

if TYPE_CHECKING:
    from qcore.client.client import Client

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Show and change the members of a cluster."
)

PublicKeyOption = Annotated[
    str | None,
    typer.Option(
        "--public-key",
        metavar="KEY",
        help="The new node's public key, which `qcore node key` prints on its machine. Not needed if the node has a "
        "join token.",
    ),
]
IdsArgument = Annotated[list[int], typer.Argument(metavar="ID", min=1, help="Node ids.")]


@dataclass(slots=True, frozen=True)
class Members:
    """The leader's effective configuration, and the progress of the members; or the committed one of another node.

    Attributes:
        voters, learners: ids.
        addresses: `host:port` by id.
        index: the log index of the configuration; a change can require that it is still the effective one.
        is_joint: whether a membership change is in progress.
        leader: the leader's id; None if this is what another node knows.
        last_index: the last index of the leader's log.
        matched: the match index of each other member, by id.
        keys: the public keys, by id; none under apply rules below 5.
    """

    voters: list[int]
    learners: list[int]
    addresses: dict[int, str]
    index: int
    is_joint: bool
    leader: int | None
    last_index: int
    matched: dict[int, int]
    keys: dict[int, str] = field(default_factory=dict)


def members_of(metrics: Mapping[str, Any]) -> Members:
    """Extract the members from the leader's metrics object."""
    return replaced(
        _configured(_effective(metrics), metrics),
        leader=metrics["id"],
        last_index=metrics["last_log_index"] or 0,
        matched={
            int(key): 0 if log_id is None else log_id["index"]
            for key, log_id in (metrics["replication"] or {}).items()
        },
    )


def members_without_leader(metrics: Mapping[str, Any]) -> Members:
    """Extract the newest committed configuration from the metrics object of any node."""
    committed = metrics["qcore"].get("committed_membership")
    return _configured(committed or _effective(metrics), metrics)


def _effective(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """The effective configuration, in the form of `committed_membership`."""
    return {
        "index": metrics["qcore"]["membership_index"],
        "membership": metrics["membership_config"]["membership"],
        "learners": metrics["qcore"]["learners"],
    }


def _configured(found: Mapping[str, Any], metrics: Mapping[str, Any]) -> Members:
    """The members of a configuration, without a leader."""
    configs, nodes = found["membership"]["configs"], found["membership"]["nodes"]
    return Members(
        voters=configs[0] if configs else [],
        learners=found["learners"],
        addresses={int(node): each["addr"] for node, each in nodes.items()},
        index=found["index"],
        is_joint=len(configs) > 1,
        leader=None,
        last_index=0,
        matched={},
        keys={int(node): key for node, key in metrics["qcore"].get("public_keys", {}).items()},
    )


@app.command("list")
def list_(
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """List the members, and how far each is behind the leader.

    Without a leader it lists the configuration that one node has committed, which may be old.

    A table has the beginning of each public key, other formats have all of it. Compare it with
    `qcore node key` on the machine of the node.
    """

    async def work(client: Client) -> Members:
        leader = asyncio.ensure_future(client.leader_metrics())
        await asyncio.wait([leader], timeout=min(_LEADER_WAIT_S, timeout / 2))
        if not leader.done() and (known := await _known_without_leader(client, endpoints)):
            leader.cancel()
            return known
        return members_of(await leader)

    _show(_run(endpoints, timeout, work), output)


@app.command()
def add(
    member: Annotated[
        str, typer.Argument(metavar="ID=HOST:PORT", help="The new node. It must be running.")
    ],
    public_key: PublicKeyOption = None,
    voter: Annotated[bool, typer.Option("--voter", help="Then promote it to a voter.")] = False,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 60.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Add a node as a learner and wait until it has caught up.

    The node proves a join token (see token), or you give its public key.
    A learner has no vote until it is promoted.
    """
    node_id, address = _parse_member(member)

    async def work(client: Client) -> None:
        await client.add_learner(node_id, address, public_key)
        if voter:
            await _change(client, add={node_id})

    _show(_run(endpoints, timeout, _then_read_members(work)), output)


@app.command()
def promote(
    ids: IdsArgument,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 60.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Make learners voters, all in one membership change."""
    work = _then_read_members(lambda client: _change(client, add=set(ids)))
    _show(_run(endpoints, timeout, work), output)


@app.command()
def demote(
    ids: IdsArgument,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 60.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Make voters learners, all in one membership change."""
    work = _then_read_members(lambda client: _change(client, demote=set(ids)))
    _show(_run(endpoints, timeout, work), output)


@app.command()
def remove(
    ids: IdsArgument,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 60.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Remove members, all in one membership change. Stop their processes afterwards."""
    work = _then_read_members(lambda client: _change(client, remove=set(ids)))
    _show(_run(endpoints, timeout, work), output)


@app.command()
def replace(
    old: Annotated[int, typer.Argument(metavar="OLD_ID", min=1, help="The voter to remove.")],
    new: Annotated[
        str,
        typer.Argument(metavar="ID=HOST:PORT", help="The new node. It must be running."),
    ],
    public_key: PublicKeyOption = None,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 60.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Replace a voter with a new node.

    The new node first catches up as a learner. Then one membership change promotes it and removes
    the old voter.
    """
    node_id, address = _parse_member(new)
    if node_id == old:
        raise ConfigError(
            f"{new}: the new node needs another id; for another address use `qcore member move`"
        )

    async def work(client: Client) -> None:
        members = members_of(await client.leader_metrics())
        if old not in members.voters:
            raise ChangeRefused("unknown_member", f"node {old} is not a voter")
        await client.add_learner(node_id, address, public_key)
        await _change(client, add={node_id}, remove={old})

    _show(_run(endpoints, timeout, _then_read_members(work)), output)


@app.command()
def move(
    node: Annotated[int, typer.Argument(metavar="ID", min=1, help="The member.")],
    address: Annotated[
        str, typer.Option("--address", metavar="HOST:PORT", help="Where it runs now.")
    ],
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 60.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Change the address of a member. It keeps its data, its role and its vote.

    Start it at the new address first, with its data directory. A member that was started with
    --advertise-addr moves by itself.
    """
    from qcore.transport.address import Address

    target = str(Address.parse(address, "--address"))
    work = _then_read_members(lambda client: client.move_member(node, target))
    _show(_run(endpoints, timeout, work), output)


@app.command()
def reinstall(
    node: Annotated[int, typer.Argument(metavar="ID", min=1, help="The member.")],
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 60.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Replace the state and the log of a member by a new snapshot of the leader.

    For a member that differs from the others (`qcore cluster health`). It keeps its id and its
    vote, and serves again afterwards.

    Exit code 4: the leader rejected it, and nothing changed; 6: the member may still be reinstalled.
    """

    async def work(client: Client) -> int:
        return await client.reinstall_member(node)

    index = with_client(endpoints, timeout, work, admin=True, attempt_timeout_s=timeout)
    show(
        output,
        {"node": node, "index": index},
        text=f"node {node} has the state and the log of the leader up to index {index}",
    )


@app.command()
def token(
    ttl: Annotated[
        int, typer.Option("--ttl", min=1, help="How long it is valid, in seconds.")
    ] = 3600,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Print a join token, with which one new node proves who it is.

    Keep it in a file that only the node's user may read, start the new node with --join-token-file,
    and add it. The node then joins no other cluster. A token is a secret, and serves once.
    """
    made = with_client(
        endpoints, timeout, lambda client: client.create_join_token(ttl_s=ttl), admin=True
    )
    body = {"token_id": made.token_id, "expires_s": ttl, "token": made.text()}
    show(output, body, text=made.text())


@app.command()
def tokens(
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """List the join tokens that were not used."""
    found = with_client(endpoints, timeout, lambda client: client.list_join_tokens(), admin=True)
    rows = [asdict(each) for each in found]
    show(output, {"tokens": rows}, rows=rows)


@app.command("withdraw-token")
def withdraw_token(
    token_id: Annotated[
        str, typer.Argument(metavar="TOKEN_ID", help="The token, as tokens lists it.")
    ],
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Withdraw a join token: no node can join with it any more."""
    with_client(endpoints, timeout, lambda client: client.delete_join_token(token_id), admin=True)
    show(output, {"token_id": token_id}, text=f"withdrew the join token {token_id}")


# -- implementation ------------------------------------------------------------------------------

_NONE: frozenset[int] = frozenset()

#: How long `list` waits for a leader before it asks other nodes, seconds. An election takes less.
_LEADER_WAIT_S: Final = 3.0


async def _known_without_leader(client: Client, endpoints: str) -> Members | None:
    """What the node with the highest commit index knows, with a warning on stderr; None if no node answers."""
    asked = [asyncio.ensure_future(client.get_metrics(each)) for each in split_endpoints(endpoints)]
    answered, silent = await asyncio.wait(asked, timeout=_LEADER_WAIT_S)
    for each in silent:
        each.cancel()
    known = [each.result() for each in answered if each.exception() is None]
    known = [each for each in known if each["membership_config"]["membership"]["configs"]]
    if not known:
        return None
    best = best_informed(known)
    members = members_without_leader(best)
    print(
        f"warning: no leader answers: this is the configuration of index {members.index}, the newest that node "
        f"{best['id']} has committed; it may be old",
        file=sys.stderr,
    )
    return members


async def _change(
    client: Client,
    add: set[int] | frozenset[int] = _NONE,
    demote: set[int] | frozenset[int] = _NONE,
    remove: set[int] | frozenset[int] = _NONE,
) -> None:
    """Change the leader's effective configuration. The change is rejected if that configuration changes meanwhile.

    Raises:
        ChangeRefused: a node does not have the role that the change requires, or another change is in progress.
    """
    members = members_of(await client.leader_metrics())
    if members.is_joint:
        raise ChangeRefused("pending", "another change is in progress: wait until it ends")
    voters, learners = set(members.voters), set(members.learners)
    _require(add, learners | voters, "is not a member: add it first")
    _require(demote, voters, "is not a voter")
    _require(remove, voters | learners, "is not a member")
    new_voters = (voters | add) - demote - remove
    new_learners = (learners | demote) - add - remove
    await client.change_membership(
        sorted(new_voters), learners=sorted(new_learners), expected_index=members.index
    )


def _require(ids: set[int] | frozenset[int], allowed: set[int], problem: str) -> None:
    for node_id in sorted(ids - allowed):
        raise ChangeRefused("unknown_member", f"node {node_id} {problem}")


async def _read_members(client: Client) -> Members:
    return members_of(await client.leader_metrics())


def _then_read_members(
    work: Callable[[Client], Awaitable[None]],
) -> Callable[[Client], Awaitable[Members]]:
    async def work_and_read(client: Client) -> Members:
        await work(client)
        try:
            return await _read_members(client)
        except QcoreError as error:
            raise ResultNotShown(
                f"the change is done, but the members cannot be shown: {error}"
            ) from None

    return work_and_read


def _run(endpoints: str, timeout_s: float, work: Callable[[Client], Awaitable[Members]]) -> Members:
    return with_client(endpoints, timeout_s, work, admin=True, attempt_timeout_s=timeout_s)


def _parse_member(text: str) -> tuple[int, str]:
    pairs = parse_nodes(text, "member")
    if len(pairs) != 1:
        raise ConfigError(f"{text!r} is not one ID=host:port, for example 4=127.0.0.1:8084")
    return pairs[0]


def _show(members: Members, output: OutputFormat) -> None:
    rows: list[dict[str, Any]] = []
    for node_id, address in sorted(members.addresses.items()):
        match_index: int | None = None
        if members.leader is not None:
            is_leader = node_id == members.leader
            match_index = members.last_index if is_leader else members.matched.get(node_id, 0)
        role = "voter" if node_id in members.voters else "learner"
        if role == "learner" and node_id not in members.learners:
            role = "leaving"
        rows.append(
            {
                "id": node_id,
                "address": address,
                "role": role,
                "leader": node_id == members.leader,
                "match_index": match_index,
                "behind": None if match_index is None else max(0, members.last_index - match_index),
                "public_key": _shown_key(members.keys.get(node_id), output),
            }
        )
    body = {
        "membership_index": members.index,
        "joint": members.is_joint,
        "leader": members.leader,
        "members": rows,
    }
    show(output, body, rows=rows)


def _shown_key(key: str | None, output: OutputFormat) -> str | None:
    from qcore.security.keys.node_key import fingerprint

    return fingerprint(key) if key and output is OutputFormat.table else key
