"""`qcore cluster init`, `status` and `upgrade`; `qcore.cli.cluster.health` has `health` and `hash`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli.clients.connection import with_client
from qcore.cli.cluster.health import NO_CLUSTER, hash_, health
from qcore.cli.cluster.node_list import parse_keys, parse_nodes
from qcore.cli.cluster.node_metrics import (
    MetricsOrError,
    error_of_all,
    is_denied,
    metrics_of_all,
)
from qcore.cli.exits import ExitCode, ResultNotShown, exit_code_of
from qcore.cli.next_steps import error_text
from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
    split_endpoints,
)
from qcore.cli.output import Cell, show
from qcore.display import located
from qcore.errors import ConfigError, QcoreError, to_wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcore.client.client import Client
    from qcore.client.methods.metrics_types import Metrics
    from qcore.core.version import ClusterVersion

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Initialise, inspect and upgrade a cluster."
)
app.command()(health)
app.command("hash")(hash_)


@app.command()
def init(
    nodes: Annotated[
        str | None,
        typer.Option(
            "--nodes",
            envvar="QCORE_NODES",
            help="The voters: ID=host:port, separated by commas. Default: only the node at the endpoint.",
        ),
    ] = None,
    init_token: Annotated[
        str | None,
        typer.Option(
            "--init-token",
            envvar="QCORE_INIT_TOKEN",
            help="Any text that is unique to this cluster. With it, the same command may be sent to several nodes.",
        ),
    ] = None,
    public_key: Annotated[
        list[str] | None,
        typer.Option(
            "--public-key",
            metavar="ID=KEY",
            help="The public key of a voter, from `qcore node key` on its machine; once for each. "
            "Default: ask the nodes at these addresses. A node that shows another key stops the command.",
        ),
    ] = None,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Initialise a new cluster.

    The request goes to the first endpoint, which must be one of the nodes. Send it to only one
    node, or use --init-token to send it to any number of them.
    """
    targets = split_endpoints(endpoints)
    members = [] if nodes is None else parse_nodes(nodes)
    if nodes is not None and not members:
        # Probably an unset shell variable. A cluster of one node would be wrong, and permanent.
        raise ConfigError(
            "--nodes is empty: name the voters, 1=HOST:PORT,2=HOST:PORT,..., or leave the option out to begin with "
            "the one node at the endpoint"
        )
    if init_token is not None:
        _check_token(init_token, members)
    if len(targets) > 1 and not members:
        # The user means all these nodes. A cluster of the first one alone would be permanent.
        raise ConfigError(
            f"--endpoints names {len(targets)} nodes, but there is no --nodes: name the voters with "
            "--nodes 1=HOST:PORT,2=HOST:PORT,..., or give one endpoint to begin with that node alone"
        )

    from qcore.core.version import KEYS_SINCE_RULES

    keys = parse_keys(public_key or [])

    async def work(client: Client) -> Metrics:
        return await initialise(client, members, targets[0], init_token, keys)

    metrics = with_client(endpoints, timeout, work, admin=True)
    cluster_id = metrics["qcore"]["cluster_id"]
    nodes_of = metrics["membership_config"]["membership"]["nodes"]
    names = ", ".join(f"{key} at {nodes_of[key]['addr']}" for key in sorted(nodes_of, key=int))
    show(
        output,
        {"cluster_id": cluster_id, "nodes": members},
        text=f"cluster {cluster_id} begins with node {names}",
    )
    versions: dict[str, Any] | None = metrics["qcore"].get("apply_rules")
    newest = 1 if versions is None else versions["supported"][1]
    if newest < KEYS_SINCE_RULES:
        print(
            f"note: this cluster begins with apply rules {newest}, and so without public keys: members do not prove "
            f"who they are yet. It collects the keys once every member supports apply rules {KEYS_SINCE_RULES}",
            file=sys.stderr,
        )


async def initialise(
    client: Client,
    members: list[tuple[int, str]],
    endpoint: str,
    token: str | None,
    public_keys: Sequence[tuple[int, str]] = (),
) -> Metrics:
    """Initialise the cluster, and return the metrics object of the node at `endpoint`.

    Raises:
        ResultNotShown: the cluster is initialised, but the node did not answer afterwards.
    """
    await client.init(members, endpoint=endpoint, token=token, public_keys=public_keys)
    try:
        return await client.get_metrics(endpoint)
    except QcoreError as error:
        raise ResultNotShown(
            f"the cluster has begun, but its id cannot be shown: {error}"
        ) from None


def _check_token(token: str, members: list[tuple[int, str]]) -> None:
    """Check the token before it is sent.

    Raises:
        ConfigError: a node would reject the token.
    """
    from qcore.transport.wire import MAX_TOKEN_LENGTH

    if not 1 <= len(token) <= MAX_TOKEN_LENGTH:
        raise ConfigError(
            f"--init-token has {len(token)} characters; it must have 1 to {MAX_TOKEN_LENGTH}"
        )
    if not members:
        raise ConfigError(
            "--init-token is for one command that is sent to several nodes: name all voters with --nodes"
        )


@app.command()
def status(
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 5.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Show the state of each node at the endpoints.

    Exit code 0: every node answered and follows one leader; 3: no node answered; 4: the user may not see it; 5:
    anything else. A narrow terminal shows fewer columns; -o json has all.
    """
    from qcore.cli.runner import run

    targets = split_endpoints(endpoints)
    responses = run(metrics_of_all(targets, timeout))
    healthy = is_healthy(responses)
    nodes = [
        {"endpoint": target, "ok": not isinstance(response, QcoreError), **_as_json(response)}
        for target, response in zip(targets, responses, strict=True)
    ]
    show(
        output,
        {"healthy": healthy, "nodes": nodes},
        rows=status_rows(targets, responses),
        shorten={"hash": 6},
        leave_out=("qcore", "rules", "machine", "hash", "applied", "commit"),
    )
    if output is OutputFormat.table:
        print_waiting_raise(responses)
    problems = [
        located(target, problem)
        for target, response in zip(targets, responses, strict=True)
        if (problem := _problem(response))
    ]
    if not (healthy or problems):
        problems = [
            "the nodes do not follow one leader in one term: `qcore cluster health` says why, from any member"
        ]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if (error := error_of_all(responses)) is not None:
        raise typer.Exit(exit_code_of(error))
    if not healthy:
        raise typer.Exit(ExitCode.UNHEALTHY)


def _problem(response: MetricsOrError) -> str:
    """Why a node is no healthy member, and what to do next; empty if it is one."""
    if isinstance(response, QcoreError):
        return error_text(response)
    if response["qcore"]["cluster_id"] is None:
        return NO_CLUSTER
    if response["qcore"].get("removed"):
        return "the node was removed from its cluster: stop it, or add it again with `qcore member add`"
    return ""


@app.command()
def upgrade(
    to: Annotated[
        int | None,
        typer.Option(
            "--to", min=1, help="The version. Default: the newest one that the leader supports."
        ),
    ] = None,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Raise the active version of the state machine.

    Every member must support the version. The upgrade cannot be undone. `qcore cluster status` shows
    the active version, and the versions that each node supports.
    """

    async def work(client: Client) -> ClusterVersion:
        return await client.upgrade_machine(to)

    active = with_client(endpoints, timeout, work, admin=True)
    show(
        output,
        json.loads(active.to_json()),
        text=f"version {active.machine_version} of state machine {active.machine} is active",
    )


def is_healthy(responses: list[MetricsOrError]) -> bool:
    """Whether all nodes answered, belong to one cluster, and know the same leader in the same term."""
    views: set[tuple[str | None, int | None, int]] = set()
    for response in responses:
        if isinstance(response, QcoreError):
            return False
        extra = response["qcore"]
        if extra.get("removed"):
            return False
        views.add((extra["cluster_id"], response["current_leader"], response["current_term"]))
    cluster_id, leader, _ = next(iter(views))
    return len(views) == 1 and cluster_id is not None and leader is not None


_COLUMNS = (
    "endpoint",
    "node",
    "state",
    "term",
    "leader",
    "commit",
    "applied",
    "hash",
    "rules",
    "machine",
    "qcore",
)


def status_rows(endpoints: list[str], responses: list[MetricsOrError]) -> list[dict[str, Cell]]:
    """One row for each endpoint."""
    rows: list[dict[str, Cell]] = []
    for endpoint, response in zip(endpoints, responses, strict=True):
        if isinstance(response, QcoreError):
            state = "denied" if is_denied(response) else "unreachable"
            rows.append(dict.fromkeys(_COLUMNS) | {"endpoint": endpoint, "state": state})
            continue
        extra = response["qcore"]
        cells = (
            endpoint,
            response["id"],
            "removed" if extra.get("removed") else response["state"],
            response["current_term"],
            response["current_leader"],
            extra["commit_index"],
            extra["applied_index"],
            extra["state_hash"][:12],
            _active_version(extra.get("apply_rules")),
            _machine(extra.get("machine")),
            extra.get("version", "?"),
        )
        rows.append(dict(zip(_COLUMNS, cells, strict=True)))
    return rows


def _active_version(versions: dict[str, Any] | None) -> str:
    """`2`, or `1 of 1-2` if the node supports a newer version than the active one; `1` for a node of 0.1.0."""
    if versions is None:
        return "1"  # the only number that 0.1.0 knows
    active, (low, high) = versions["active"], versions["supported"]
    return str(active) if active == high else f"{active} of {low}-{high}"


def print_waiting_raise(responses: list[MetricsOrError]) -> None:
    """Print for which members the leader waits before it raises the apply rules, if it does."""
    for response in responses:
        if isinstance(response, QcoreError):
            continue
        rules = response["qcore"].get("apply_rules", {})
        if waits_for := rules.get("waits_for"):
            print(f"note: the apply rules stay at {rules['active']}: {waits_for}", file=sys.stderr)


def _machine(machine: dict[str, Any] | None) -> str:
    return "?" if machine is None else f"{machine['name']} {_active_version(machine)}"


def _as_json(response: MetricsOrError) -> dict[str, Any]:
    if isinstance(response, QcoreError):
        text, detail = to_wire(response)
        return {"error": text, "detail": detail}
    return {"metrics": response}
