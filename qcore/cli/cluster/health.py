"""`qcore cluster health` and `qcore cluster hash`: both query every member, whichever node the user names."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final

import typer

from qcore.cli.cluster.backup_checks import backup_warnings
from qcore.cli.cluster.health_checks import (
    address_problems,
    clock_warnings,
    member_problems,
    priority_warnings,
    removed_nodes,
    state_problems,
)
from qcore.cli.cluster.node_metrics import (
    MetricsOrError,
    best_informed,
    error_of_all,
    metrics_of_all,
    successful,
)
from qcore.cli.exits import ExitCode
from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
    split_endpoints,
)
from qcore.cli.output import show
from qcore.errors import ConfigError, QcoreError

_POLL_S: Final = 0.05
#: Timeout of one response of one node.
_RESPONSE_TIMEOUT_S: Final = 2.0
#: How long `health` looks for an index at which it can compare all members.
_COMPARE_TIMEOUT_S: Final = 1.0
NO_CLUSTER: Final = (
    "the node belongs to no cluster: begin one with `qcore cluster init`, or add the node to one with "
    "`qcore member add`"
)


def health(
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 5.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Check every member of the cluster and list the problems.

    One reachable endpoint is enough: the command finds the other members.

    Exit code 0: healthy, possibly with warnings; 3: no node answered; 4: the user may not see it; 5: there are
    problems.
    """
    from qcore.cli.runner import run

    problems, warnings = run(_check_members(split_endpoints(endpoints), timeout))
    body = {"healthy": not problems, "problems": problems, "warnings": warnings}
    lines = [*(problems or ["healthy"]), *(f"warning: {text}" for text in warnings)]
    show(output, body, text="\n".join(lines))
    if problems:
        raise typer.Exit(ExitCode.UNHEALTHY)


def hash_(
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 10.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Compare the states of all members at an index that all have applied.

    It also works while clients write.

    Exit code 0: equal; 3: no node answered; 4: the user may not see it; 5: different, or no common index was found in
    time.
    """
    from qcore.cli.runner import run

    index, hashes = run(_hashes(split_endpoints(endpoints), timeout))
    equal = index is not None and len(set(hashes.values())) == 1
    show(
        output,
        {"equal": equal, "applied_index": index, "hashes": hashes},
        rows=[
            {"address": address, "applied_index": index, "hash": digest}
            for address, digest in hashes.items()
        ],
        columns=("address", "applied_index", "hash"),
        text=None if hashes else NO_CLUSTER,
    )
    if not equal:
        if hashes:
            what = (
                "no index was found that all members have applied"
                if index is None
                else "the states differ"
            )
            print(f"error: {what}: `qcore cluster health` says more", file=sys.stderr)
        raise typer.Exit(ExitCode.UNHEALTHY)


async def _member_addresses(endpoints: list[str], timeout_s: float) -> dict[int, str]:
    """The addresses of all members by id, as the leader knows them, or else the node with the highest commit index.

    Raises:
        QcoreError: no node answered, or none shows its metrics to this user.
    """
    responses = await metrics_of_all(endpoints, timeout_s)
    if (error := error_of_all(responses)) is not None:
        raise error
    nodes = best_informed(successful(responses))["membership_config"]["membership"]["nodes"]
    return {node_id: nodes[str(node_id)]["addr"] for node_id in sorted(int(key) for key in nodes)}


async def _check_members(endpoints: list[str], timeout_s: float) -> tuple[list[str], list[str]]:
    """Query all members and return (problems, warnings), one line each."""
    nodes = await _member_addresses(endpoints, timeout_s)
    if not nodes:
        return [NO_CLUSTER], []
    members = {address: node_id for node_id, address in nodes.items()}
    queried = list({**dict.fromkeys(endpoints), **dict.fromkeys(members)})
    by_address = dict(zip(queried, await metrics_of_all(queried, timeout_s), strict=True))
    responses = [by_address[address] for address in members]
    problems, warnings = removed_nodes({endpoint: by_address[endpoint] for endpoint in endpoints})
    differences, uncompared = await _compare_states(members, responses, timeout_s)
    warnings += [*clock_warnings(members, responses), *priority_warnings(responses), *uncompared]
    warnings += backup_warnings(members, responses, time.time())
    return [
        *problems,
        *address_problems(nodes),
        *member_problems(members, responses),
        *differences,
    ], warnings


async def _compare_states(
    members: dict[str, int], responses: list[MetricsOrError], timeout_s: float
) -> tuple[list[str], list[str]]:
    """Compare the states of the members and return (problems, warnings).

    Members that have recorded digests at a common index are compared by their first responses. Others (0.1.0, or too
    few entries for a record) are polled for a while, because two members may be seen at the same index.
    """
    digests: dict[str, dict[int, str]] = {}
    deadline = time.monotonic() + min(timeout_s, _COMPARE_TIMEOUT_S)
    while True:
        _collect_digests(digests, members, responses)
        problems, warnings = state_problems(digests)
        if not warnings or time.monotonic() > deadline:
            return problems, warnings
        await asyncio.sleep(_POLL_S)
        responses = await metrics_of_all(list(members), min(timeout_s, _RESPONSE_TIMEOUT_S))


def _collect_digests(
    digests: dict[str, dict[int, str]], members: dict[str, int], responses: list[MetricsOrError]
) -> None:
    """Add the reported digests to `digests`: by index, by address. Every member that responds gets an item."""
    from qcore.node.watches.divergence import digests_in

    for (address, node_id), response in zip(members.items(), responses, strict=True):
        if isinstance(response, QcoreError) or response["qcore"].get("removed"):
            continue
        if response["id"] == node_id:
            digests.setdefault(address, {}).update(digests_in(response))


async def _hashes(endpoints: list[str], timeout_s: float) -> tuple[int | None, dict[str, str]]:
    """The newest index at which all members were seen, and each member's state hash at that index.

    Under load the members are rarely seen at the same applied index; then a recorded digest gives the common index.
    Members without recorded digests (0.1.0) are polled until a common index appears. If none appears in time, the index
    is None, and the texts describe the last response of each member.

    Raises:
        TransportError: no node answered.
        ConfigError: two members have the same address.
    """
    deadline = time.monotonic() + timeout_s
    nodes = await _member_addresses(endpoints, min(timeout_s, _RESPONSE_TIMEOUT_S))
    if not nodes:
        return None, {}
    members = {address: node_id for node_id, address in nodes.items()}
    if len(members) < len(nodes):
        raise ConfigError("two members have the same address: `qcore cluster health` names them")
    digests: dict[str, dict[int, str]] = {address: {} for address in members}
    while True:
        responses = await metrics_of_all(list(members), _RESPONSE_TIMEOUT_S)
        silent = {
            address
            for address, response in zip(members, responses, strict=True)
            if isinstance(response, QcoreError)
        }
        _collect_digests(digests, members, responses)
        common = set.intersection(*map(set, digests.values())) if digests else set()
        if common:
            index = max(common)
            return index, {address: by_index[index] for address, by_index in digests.items()}
        if time.monotonic() > deadline:
            return None, {
                address: f"at {max(by_index)}: {by_index[max(by_index)]}"
                if by_index
                else "unreachable"
                if address in silent
                else "it answers, but reports no index"
                for address, by_index in digests.items()
            }
        await asyncio.sleep(_POLL_S)
