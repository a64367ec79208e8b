"""`qcore cluster init` and `qcore cluster status`; `health` and `hash` are in `qcore.cli.cluster.health`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcore.cli.cluster.health import hash_, health
from qcore.cli.exits import ExitCode
from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
    split_endpoints,
)
from qcore.errors import ConfigError, QcoreError

if TYPE_CHECKING:
    from qcore.client.client import QcoreClient

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Initialise a cluster and look at it."
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
            help="The voters: ID=host:port, separated by commas; by default the one node at the endpoint.",
        ),
    ] = None,
    init_token: Annotated[
        str | None,
        typer.Option(
            "--init-token",
            envvar="QCORE_INIT_TOKEN",
            help="A text of your own, new for each cluster: the same command may then be given to several nodes.",
        ),
    ] = None,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Begin a cluster. The request goes to the first endpoint, which must be one of the nodes.

    Give it to one node only; or, with --init-token, to as many of them as you like.
    """
    from qcore.cli.runner import run
    from qcore.client.client import QcoreClient

    targets = split_endpoints(endpoints)
    members = [] if nodes is None else parse_nodes(nodes)
    if nodes is not None and not members:
        # As of a shell variable that is not set: a cluster of one node is not what was meant, and for good.
        raise ConfigError(
            "--nodes is empty: name the voters, 1=HOST:PORT,2=HOST:PORT,..., or leave the option out to begin with "
            "the one node at the endpoint"
        )
    if init_token is not None:
        _check_token(init_token, members)
    if len(targets) > 1 and not members:
        # It would begin a cluster of the first node alone, for good, while the user means all of them.
        raise ConfigError(
            f"--endpoints names {len(targets)} nodes, but there is no --nodes: name the voters with "
            "--nodes 1=HOST:PORT,2=HOST:PORT,..., or give one endpoint to begin with that node alone"
        )

    async def work() -> dict[str, Any]:
        async with QcoreClient(targets, timeout_s=timeout, admin=True) as client:
            return await initialise(client, members, targets[0], init_token)

    metrics = run(work())
    cluster_id = metrics["qcore"]["cluster_id"]
    if output is OutputFormat.json:
        print(json.dumps({"cluster_id": cluster_id, "nodes": members}))
    else:
        nodes_of = metrics["membership_config"]["membership"]["nodes"]
        names = ", ".join(f"{key} at {nodes_of[key]['addr']}" for key in sorted(nodes_of, key=int))
        print(f"cluster {cluster_id} begins with node {names}")


async def initialise(
    client: QcoreClient, members: list[tuple[int, str]], endpoint: str, token: str | None
) -> dict[str, Any]:
    """Begin the cluster; returns the metrics object of the node that was asked.

    Raises:
        ResultNotShown: it has begun, and the node did not answer afterwards.
    """
    from qcore.cli.cluster.member import ResultNotShown

    await client.init(members, endpoint=endpoint, token=token)
    try:
        return await client.get_metrics(endpoint)
    except QcoreError as error:
        raise ResultNotShown(
            f"the cluster has begun, but its id cannot be shown: {error}"
        ) from None


def _check_token(token: str, members: list[tuple[int, str]]) -> None:
    """Whether a node would take this token.

    Raises:
        ConfigError: it would not.
    """
    from qcore.transport.wire import MAX_TOKEN_LENGTH

    if not 1 <= len(token) <= MAX_TOKEN_LENGTH:
        raise ConfigError(
            f"--init-token has {len(token)} characters; it must have 1 to {MAX_TOKEN_LENGTH}"
        )
    if not members:
        raise ConfigError(
            "--init-token is for one command that is given to several nodes: name all voters with --nodes"
        )


@app.command()
def status(
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 5.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Show what each node says of itself.

    Exit code 0: every node answered and follows one leader; 3: no node answered; 5: anything else.
    """
    from qcore.cli.runner import run

    targets = split_endpoints(endpoints)
    answers = run(metrics_of_all(targets, timeout))
    healthy = is_healthy(answers)
    if output is OutputFormat.json:
        body = [
            {"endpoint": target, "ok": not isinstance(answer, QcoreError), **_json_of(answer)}
            for target, answer in zip(targets, answers, strict=True)
        ]
        print(json.dumps({"healthy": healthy, "nodes": body}))
    else:
        print(table(targets, answers))
    for target, answer in zip(targets, answers, strict=True):
        if isinstance(answer, QcoreError):
            print(f"error: {target}: {answer}", file=sys.stderr)
    if all(isinstance(answer, QcoreError) for answer in answers):
        raise typer.Exit(ExitCode.CANNOT_CONNECT)
    if not healthy:
        raise typer.Exit(ExitCode.UNHEALTHY)


@app.command()
def upgrade(
    to: Annotated[
        int | None,
        typer.Option("--to", min=1, help="The version; by default the newest that the leader has."),
    ] = None,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Raise the active version of the state machine, once every member supports it.

    There is no way back. `qcore cluster status` shows what is active and what each member supports.
    """
    from qcore.cli.runner import run
    from qcore.client.client import QcoreClient
    from qcore.core.version import ClusterVersion

    async def work() -> ClusterVersion:
        async with QcoreClient(split_endpoints(endpoints), timeout_s=timeout, admin=True) as client:
            return await client.upgrade_machine(to)

    active = run(work())
    if output is OutputFormat.json:
        print(active.to_json())
    else:
        print(f"version {active.machine_version} of state machine {active.machine} is active")


MetricsOrError = dict[str, Any] | QcoreError


async def metrics_of_all(endpoints: list[str], timeout_s: float) -> list[MetricsOrError]:
    """The metrics of each node, or why there are none; all asked at once."""
    from qcore.client.client import QcoreClient

    async def ask(client: QcoreClient, endpoint: str) -> MetricsOrError:
        try:
            return await client.get_metrics(endpoint)
        except QcoreError as error:
            return error

    async with QcoreClient(endpoints, attempt_timeout_s=timeout_s, admin=True) as client:
        return await asyncio.gather(*(ask(client, endpoint) for endpoint in endpoints))


def is_healthy(answers: list[MetricsOrError]) -> bool:
    """All nodes answered, are of one cluster, and know the same leader in the same term."""
    views: set[tuple[str | None, int | None, int]] = set()
    for answer in answers:
        if isinstance(answer, QcoreError):
            return False
        extra = answer["qcore"]
        if extra.get("removed"):
            return False
        views.add((extra["cluster_id"], answer["current_leader"], answer["current_term"]))
    cluster_id, leader, _ = next(iter(views))
    return len(views) == 1 and cluster_id is not None and leader is not None


def parse_nodes(text: str, what: str = "--nodes") -> list[tuple[int, str]]:
    """`1=host:port,2=host:port` as pairs; `what` names the text in an error.

    Raises:
        ConfigError: an item is not of that form.
    """
    from qcore.transport.address import parse_address

    pairs: list[tuple[int, str]] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        number, equals, address = item.partition("=")
        if not (equals and number.isascii() and number.isdigit() and int(number) > 0):
            raise ConfigError(f"{what}: {item!r} is not ID=host:port, for example 1=127.0.0.1:8080")
        pairs.append((int(number), str(parse_address(address, f"{what} {number}"))))
    return pairs


_COLUMNS = (
    "ENDPOINT",
    "NODE",
    "STATE",
    "TERM",
    "LEADER",
    "COMMIT",
    "APPLIED",
    "HASH",
    "RULES",
    "MACHINE",
)


def table(endpoints: list[str], answers: list[MetricsOrError]) -> str:
    """The answers as aligned columns."""
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for endpoint, answer in zip(endpoints, answers, strict=True):
        if isinstance(answer, QcoreError):
            rows.append((endpoint, "-", "unreachable", *["-"] * 7))
            continue
        extra = answer["qcore"]
        leader = answer["current_leader"]
        rows.append(
            (
                endpoint,
                str(answer["id"]),
                "removed" if extra.get("removed") else answer["state"],
                str(answer["current_term"]),
                "-" if leader is None else str(leader),
                str(extra["commit_index"]),
                str(extra["applied_index"]),
                extra["state_hash"][:12],
                _active(extra.get("apply_rules")),
                _machine(extra.get("machine")),
            )
        )
    return aligned(rows)


def _active(versions: dict[str, Any] | None) -> str:
    """`2`, or `1 of 1-2` where the node supports more than the active one; `?` of a node of 0.1.0."""
    if versions is None:
        return "?"
    active, (low, high) = versions["active"], versions["supported"]
    return str(active) if active == high else f"{active} of {low}-{high}"


def _machine(machine: dict[str, Any] | None) -> str:
    return "?" if machine is None else f"{machine['name']} {_active(machine)}"


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as columns under each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _json_of(answer: MetricsOrError) -> dict[str, Any]:
    if isinstance(answer, QcoreError):
        return {"error": str(answer), "detail": answer.detail()}
    return {"metrics": answer}
