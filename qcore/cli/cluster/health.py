"""`qcore cluster health` and `qcore cluster hash`: all members of a cluster, whichever node is asked."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import typer

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
    from qcore.cli.cluster.cluster import MetricsOrError

#: A member that lags by more entries than this is reported. It may still be catching up.
_MAX_LAG = 10_000
_POLL_S = 0.05
#: For one answer of one node.
_ANSWER_S = 2.0
#: For so long `health` looks for an index at which all members can be compared.
_COMPARE_S = 1.0
_NO_CLUSTER = "the node belongs to no cluster: initialise it, or add it to one"


def health(
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 5.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Say what is wrong with the cluster, asking every member that the leader names.

    Exit code 0: nothing, or only warnings; 3: no node answered; 5: something, which is listed.
    """
    from qcore.cli.runner import run

    problems, warnings = run(_check_members(split_endpoints(endpoints), timeout))
    if output is OutputFormat.json:
        body = {"healthy": not problems, "problems": problems, "warnings": warnings}
        print(json.dumps(body))
    else:
        print("\n".join([*(problems or ["healthy"]), *(f"warning: {text}" for text in warnings)]))
    if problems:
        raise typer.Exit(ExitCode.UNHEALTHY)


def hash_(
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 10.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Compare the state of all members at one index that all have applied, also under load.

    Exit code 0: equal; 3: no node answered; 5: they differ, or there was no common index in time.
    """
    from qcore.cli.runner import run

    index, hashes = run(_hashes(split_endpoints(endpoints), timeout))
    equal = index is not None and len(set(hashes.values())) == 1
    if output is OutputFormat.json:
        print(json.dumps({"equal": equal, "applied_index": index, "hashes": hashes}))
    elif not hashes:
        print(_NO_CLUSTER)
    else:
        for address, digest in hashes.items():
            print(f"{address}  {'-' if index is None else index}  {digest}")
    if not equal:
        raise typer.Exit(ExitCode.UNHEALTHY)


async def _nodes(endpoints: list[str], timeout_s: float) -> dict[int, str]:
    """Addresses of all members by their id: the leader's view, or without one any node's.

    Raises:
        TransportError: no node answered.
    """
    from qcore.cli.cluster.cluster import metrics_of_all

    answers = await metrics_of_all(endpoints, timeout_s)
    views = [answer for answer in answers if not isinstance(answer, QcoreError)]
    if not views:
        raise next(answer for answer in answers if isinstance(answer, QcoreError))
    best = max(views, key=lambda view: (view["state"] == "Leader", view["qcore"]["commit_index"]))
    nodes = best["membership_config"]["membership"]["nodes"]
    return {node_id: nodes[str(node_id)]["addr"] for node_id in sorted(int(key) for key in nodes)}


async def _check_members(endpoints: list[str], timeout_s: float) -> tuple[list[str], list[str]]:
    """Problems and warnings, one line each."""
    from qcore.cli.cluster.cluster import metrics_of_all

    nodes = await _nodes(endpoints, timeout_s)
    if not nodes:
        return [_NO_CLUSTER], []
    members = {address: node_id for node_id, address in nodes.items()}
    asked = list({**dict.fromkeys(endpoints), **dict.fromkeys(members)})
    said = dict(zip(asked, await metrics_of_all(asked, timeout_s), strict=True))
    answers = [said[address] for address in members]
    problems, warnings = removed_nodes({endpoint: said[endpoint] for endpoint in endpoints})
    differences, uncompared = await _compare(members, answers, timeout_s)
    warnings += [*clock_warnings(members, answers), *priority_warnings(answers), *uncompared]
    return [
        *problems,
        *address_problems(nodes),
        *member_problems(members, answers),
        *differences,
    ], warnings


def removed_nodes(answers: dict[str, MetricsOrError]) -> tuple[list[str], list[str]]:
    """Which of the nodes that were named belong to the cluster no more: problems if there is no other, or warnings."""
    views = {
        endpoint: answer
        for endpoint, answer in answers.items()
        if not isinstance(answer, QcoreError)
    }
    removed = {
        endpoint: view["qcore"]["removed"]
        for endpoint, view in views.items()
        if view["qcore"].get("removed")
    }
    lines = [f"{endpoint} was removed: {why}" for endpoint, why in removed.items()]
    return (lines, []) if len(removed) == len(views) else ([], lines)


async def _compare(
    members: dict[str, int], answers: list[MetricsOrError], timeout_s: float
) -> tuple[list[str], list[str]]:
    """How the states of the members differ, and which could not be compared; a line each.

    Members that have the same digests on record are compared by what they answered. Others (0.1.0, or with too few
    entries for a record) are asked again for a while: they may be seen at one index.
    """
    from qcore.cli.cluster.cluster import metrics_of_all

    seen: dict[str, dict[int, str]] = {}
    deadline = time.monotonic() + min(timeout_s, _COMPARE_S)
    while True:
        _collect_digests(seen, members, answers)
        problems, warnings = state_problems(seen)
        if not warnings or time.monotonic() > deadline:
            return problems, warnings
        await asyncio.sleep(_POLL_S)
        answers = await metrics_of_all(list(members), min(timeout_s, _ANSWER_S))


def _collect_digests(
    seen: dict[str, dict[int, str]], members: dict[str, int], answers: list[MetricsOrError]
) -> None:
    """Keep the digests that each member gave, by index; those that gave an answer at all are in `seen`."""
    from qcore.node.peers.divergence import digests_in

    for (address, node_id), answer in zip(members.items(), answers, strict=True):
        if isinstance(answer, QcoreError) or answer["qcore"].get("removed"):
            continue
        if answer["id"] == node_id:
            seen.setdefault(address, {}).update(digests_in(answer))


def state_problems(seen: dict[str, dict[int, str]]) -> tuple[list[str], list[str]]:
    """Differences of the members' states, and a warning if not all were compared; from digests by index by address."""
    from qcore.node.peers.divergence import compare

    found = compare(seen)
    problems: list[str] = []
    if found.differs_at is not None:
        said = ", ".join(f"{address}: {digest}" for address, digest in found.digests.items())
        problems.append(f"the states of the members differ at index {found.differs_at} ({said})")
    left = [address for address in seen if address not in found.compared]
    if len(seen) < 2 or not left or not any(seen.values()):
        return problems, []
    at = ", ".join(f"{address} at {max(seen[address], default='no index')}" for address in left)
    return problems, [
        f"the state was not compared, no index was seen that another member had applied too: {at}"
    ]


def address_problems(nodes: dict[int, str]) -> list[str]:
    """What is wrong with the addresses of the members (id -> address), one line each. 0.1.0 took any."""
    from qcore.node.api.member_addresses import member_address, members_problem

    problems: list[str] = []
    for node_id, address in nodes.items():
        try:
            member_address(address, f"node {node_id}")
        except ConfigError as error:
            problems.append(f"{error}; remove the node and add it again with that address")
    problem = members_problem(nodes)
    if problem is not None:
        problems.append(f"the configuration of the cluster: {problem}")
    return problems


def member_problems(members: dict[str, int], answers: list[MetricsOrError]) -> list[str]:
    """What is wrong, one line each, from what every member (address and id) answered."""
    problems: list[str] = []
    views: dict[str, dict[str, Any]] = {}
    for address, answer in zip(members, answers, strict=True):
        if isinstance(answer, QcoreError):
            problems.append(f"{address} does not answer: {answer}")
        elif answer["id"] != members[address]:
            problems.append(
                f"{address} is node {answer['id']}, not node {members[address]}: check the addresses of the members"
            )
        else:
            views[address] = answer
    if len({view["qcore"]["cluster_id"] for view in views.values()}) > 1:
        said = ", ".join(
            f"{address}: {view['qcore']['cluster_id']}" for address, view in views.items()
        )
        problems.append(f"the members do not belong to one cluster ({said})")
    for key, what in (("current_leader", "leader"), ("current_term", "term")):
        if len({view[key] for view in views.values()}) > 1:
            said = ", ".join(f"{address}: {view[key]}" for address, view in views.items())
            problems.append(f"the members do not agree on the {what} ({said})")
    if not any(view["state"] == "Leader" for view in views.values()):
        problems.append("no member leads")
        problems += _no_voter_may_lead(list(views.values()))
    end = max((view["qcore"]["commit_index"] for view in views.values()), default=0)
    for address, view in views.items():
        lag = end - view["qcore"]["applied_index"]
        if lag > _MAX_LAG:
            problems.append(f"{address} is {lag} entries behind")
        if view["qcore"].get("leader_ready") is False:
            problems.append(f"{address} leads and has not committed an entry of its term yet")
        for peer, why in view["qcore"].get("peer_refusals", {}).items():
            problems.append(f"{address} has no connection to node {peer}: {why}")
        if view["qcore"]["disk_full"]:
            problems.append(f"{address} has no space on its disk")
        if "Err" in view["running_state"]:
            problems.append(f"{address} has failed: {view['running_state']['Err']}")
        if len(view["membership_config"]["membership"]["configs"]) > 1:
            problems.append(f"{address} is in the middle of a membership change")
    return problems


def clock_warnings(members: dict[str, int], answers: list[MetricsOrError]) -> list[str]:
    """What does no harm yet, one line each: wall clocks that the leader finds far from a quorum's.

    Where no quorum is known to agree, one line for all of them: any may be the wrong one.
    """
    from qcore.core.clocks.wall_time import quorum_within

    views = [answer for answer in answers if not isinstance(answer, QcoreError)]
    leaders = [view for view in views if view["state"] == "Leader"]
    if not leaders:
        return []
    leader = max(leaders, key=lambda view: int(view["current_term"]))
    clock: dict[str, Any] = leader["qcore"].get("clock") or {}  # 0.1.0 does not say
    skew, bound = clock.get("wall_skew_us"), clock.get("max_wall_skew_us")
    if skew is None or bound is None:
        return []
    addresses = {node_id: address for address, node_id in members.items()}
    skews = {leader["id"]: skew}
    for peer, offset in clock["peer_wall_offsets_us"].items():
        if offset is not None:
            skews[int(peer)] = skew + offset
    names = {node_id: addresses.get(node_id, f"node {node_id}") for node_id in sorted(skews)}
    far = [node_id for node_id in names if abs(skews[node_id]) > bound]
    if far and not quorum_within(_newest_configs([leader]), skews, bound):
        spread = max(skews.values()) - min(skews.values())
        warnings = [
            f"the wall clocks of {', '.join(names.values())} are up to {spread / 1e6:.1f} s apart, and no quorum is "
            "known to agree: it cannot be known which clock is wrong: check their time synchronisation"
        ]
    else:
        warnings = [
            f"{names[node_id]}: its wall clock is {_offset(skews[node_id])} a quorum's: "
            "check its time synchronisation"
            for node_id in far
        ]
    ahead = clock["log_time_ahead_us"]
    if ahead is not None:
        warnings.append(
            f"the newest time stamp in the log is {_offset(ahead)} a quorum's clocks: time stamps stand still until "
            "these reach it (sessions are not affected)"
        )
    return warnings


def _offset(ahead_us: int) -> str:
    return f"{abs(ahead_us) / 1e6:.1f} s {'ahead of' if ahead_us > 0 else 'behind'}"


def priority_warnings(answers: list[MetricsOrError]) -> list[str]:
    """What may go wrong, one line each: too many voters of priority 0 (the rule of `qcore.core.leadership.priorities`).

    A member says its own priority; for one that does not answer the leader may know it. Unknown ones may lead.
    """
    from qcore.core.leadership.priorities import too_many_zero_priorities

    views = [answer for answer in answers if not isinstance(answer, QcoreError)]
    zeros = _never_lead(views)
    for view in views:
        told = view["qcore"].get("priorities") or {}
        zeros += [int(member) for member, priority in told.items() if priority == 0]
    for voters in _newest_configs(views):
        found = [voter for voter in voters if voter in zeros]
        if too_many_zero_priorities(len(found), len(voters)):
            return [
                f"{found} of the voters {voters} have priority 0 and never lead; they must be fewer than half: "
                "one crash can leave no node that may lead"
            ]
    return []


def _no_voter_may_lead(views: list[dict[str, Any]]) -> list[str]:
    """The problem that no voter of those that answer may ever lead; without a leader only, since a leader is proof."""
    zeros = _never_lead(views)
    voters = sorted({voter for config in _newest_configs(views) for voter in config})
    reached = [view["id"] for view in views if view["id"] in voters]
    if not reached or any(voter not in zeros for voter in reached):
        return []
    silent = [voter for voter in voters if voter not in reached]
    start = f"start one of {silent}, or " if silent else ""
    return [
        f"no voter may lead: all voters that answer ({reached}) have priority 0: {start}restart one of them with "
        "another --priority"
    ]


def _never_lead(views: list[dict[str, Any]]) -> list[int]:
    return [view["id"] for view in views if view["qcore"].get("priority", 1) == 0]


def _newest_configs(views: list[dict[str, Any]]) -> list[list[int]]:
    """The voters in force, two lists in a joint phase, as the member says that has committed most."""
    if not views:
        return []
    best = max(views, key=lambda view: (view["state"] == "Leader", view["qcore"]["commit_index"]))
    configs: list[list[int]] = best["membership_config"]["membership"]["configs"]
    return configs


async def _hashes(endpoints: list[str], timeout_s: float) -> tuple[int | None, dict[str, str]]:
    """The newest index at which every member was seen, and its state hash there.

    Under load the nodes are never seen at one moment: then it is one that they have on record. Members without a
    record (0.1.0) are asked until there is an index at which all were seen. Without one in time: None, and
    what each said last.
    """
    from qcore.cli.cluster.cluster import metrics_of_all

    deadline = time.monotonic() + timeout_s
    nodes = await _nodes(endpoints, min(timeout_s, _ANSWER_S))
    if not nodes:
        return None, {}
    members = {address: node_id for node_id, address in nodes.items()}
    if len(members) < len(nodes):
        raise ConfigError("two members have one address: `qcore cluster health` says which")
    seen: dict[str, dict[int, str]] = {address: {} for address in members}
    while True:
        answers = await metrics_of_all(list(members), _ANSWER_S)
        silent = {
            address
            for address, answer in zip(members, answers, strict=True)
            if isinstance(answer, QcoreError)
        }
        _collect_digests(seen, members, answers)
        common = set.intersection(*(set(said) for said in seen.values())) if seen else set()
        if common:
            index = max(common)
            return index, {address: said[index] for address, said in seen.items()}
        if time.monotonic() > deadline:
            return None, {
                address: f"at {max(said)}: {said[max(said)]}"
                if said
                else "unreachable"
                if address in silent
                else "it answers, and names no index"
                for address, said in seen.items()
            }
        await asyncio.sleep(_POLL_S)
