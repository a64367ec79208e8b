"""The checks of `qcore cluster health`: pure functions from the members' metrics objects to problems and warnings."""

from __future__ import annotations

from typing import Any, Final

from qcore.cli.cluster.node_metrics import (
    Metrics,
    MetricsOrError,
    best_informed,
    is_denied,
    successful,
)
from qcore.errors import ConfigError, QcoreError

#: A member that lags by more entries than this is a problem. It may still be catching up.
_MAX_LAG: Final = 10_000


def removed_nodes(responses: dict[str, MetricsOrError]) -> tuple[list[str], list[str]]:
    """Report nodes that the cluster has removed, as (problems, warnings).

    They are problems if every node that responds is removed, else warnings.

    Args:
        responses: by the endpoints that the user named.
    """
    metrics = {
        endpoint: response
        for endpoint, response in responses.items()
        if not isinstance(response, QcoreError)
    }
    removed = {
        endpoint: each["qcore"]["removed"]
        for endpoint, each in metrics.items()
        if each["qcore"].get("removed")
    }
    lines = [f"{endpoint} was removed: {why}" for endpoint, why in removed.items()]
    return (lines, []) if len(removed) == len(metrics) else ([], lines)


def state_problems(digests: dict[str, dict[int, str]]) -> tuple[list[str], list[str]]:
    """Compare the states of the members; return (problems, warnings).

    A warning names the members that could not be compared.

    Args:
        digests: state digests by index, by member address.
    """
    from qcore.replica.divergence.member_comparison import compare

    found = compare(digests)
    problems: list[str] = []
    if found.differs_at is not None:
        details = ", ".join(f"{address}: {digest}" for address, digest in found.digests.items())
        problems.append(f"the states of the members differ at index {found.differs_at} ({details})")
    uncompared = [address for address in digests if address not in found.compared]
    if len(digests) < 2 or not uncompared or not any(digests.values()):
        return problems, []
    indexes = ", ".join(
        f"{address} at {max(digests[address], default='no index')}" for address in uncompared
    )
    return problems, [
        f"the state was not compared, because no other member was seen at the same index: {indexes}"
    ]


def address_problems(nodes: dict[int, str]) -> list[str]:
    """Check the addresses of the members; return one line for each problem.

    0.1.0 accepted any address.

    Args:
        nodes: addresses by id.
    """
    from qcore.node.addresses.member_addresses import member_address, members_problem

    problems: list[str] = []
    for node_id, address in nodes.items():
        try:
            member_address(address, f"node {node_id}")
        except ConfigError as error:
            problems.append(f"{error}; then run `qcore member move {node_id}` with that address")
    problem = members_problem(nodes)
    if problem is not None:
        problems.append(f"the configuration of the cluster: {problem}")
    return problems


def member_problems(members: dict[str, int], responses: list[MetricsOrError]) -> list[str]:
    """Check the responses of all members; return one line for each problem.

    Args:
        members: ids by address.
        responses: in the order of `members`.
    """
    problems: list[str] = []
    metrics: dict[str, Metrics] = {}
    elsewhere: dict[str, Metrics] = {}
    for address, response in zip(members, responses, strict=True):
        if isinstance(response, QcoreError):
            what = "does not show its state" if is_denied(response) else "does not answer"
            problems.append(f"{address} {what}: {response}")
        elif response["id"] != members[address]:
            problems.append(
                f"{address} is node {response['id']}, not node {members[address]}: "
                "check the addresses of the members"
            )
            elsewhere[address] = response
        else:
            metrics[address] = response
    clusters = {each["qcore"]["cluster_id"] for each in metrics.values()}
    for address, each in elsewhere.items():
        # A member at the address of another one, such as after an exchange, is still a member: it may lead.
        is_known = not clusters or each["qcore"]["cluster_id"] in clusters
        if is_known and each["id"] in members.values():
            metrics[address] = each
    problems += _disagreements(metrics)
    if not any(each["state"] == "Leader" for each in metrics.values()):
        problems.append("no member leads")
        problems += _no_voter_may_lead(list(metrics.values()))
    end = max((each["qcore"]["commit_index"] for each in metrics.values()), default=0)
    for address, each in metrics.items():
        problems += _problems_of(address, each, end)
    return problems


def _disagreements(metrics: dict[str, Metrics]) -> list[str]:
    """Members that name different clusters, leaders or terms."""
    problems: list[str] = []
    if len({each["qcore"]["cluster_id"] for each in metrics.values()}) > 1:
        details = ", ".join(
            f"{address}: {each['qcore']['cluster_id']}" for address, each in metrics.items()
        )
        problems.append(f"the members do not belong to one cluster ({details})")
    for key, what in (("current_leader", "leader"), ("current_term", "term")):
        if len({each[key] for each in metrics.values()}) > 1:
            details = ", ".join(f"{address}: {each[key]}" for address, each in metrics.items())
            problems.append(f"the members do not agree on the {what} ({details})")
    return problems


def _problems_of(address: str, metrics: Metrics, end: int) -> list[str]:
    """The problems of one member. `end` is the highest commit index of all members."""
    problems: list[str] = []
    extra = metrics["qcore"]
    lag = end - extra["applied_index"]
    if lag > _MAX_LAG:
        problems.append(f"{address} is {lag} entries behind")
    if extra.get("leader_ready") is False:
        problems.append(f"{address} leads and has not committed an entry of its term yet")
    for peer, why in extra.get("peer_refusals", {}).items():
        problems.append(f"{address} has no connection to node {peer}: {why}")
    diverged_at = extra.get("diverged_at")
    if diverged_at is not None:
        problems.append(
            f"{address} differs from a majority of the voters at index {diverged_at} and serves no reads: run "
            f"`qcore member reinstall {metrics['id']}`"
        )
    if extra["disk_full"]:
        problems.append(f"{address} has no space on its disk")
    problems += [_quota_problem(address, name, q) for name, q in _reached(metrics)]
    if "Err" in metrics["running_state"]:
        problems.append(f"{address} has failed: {metrics['running_state']['Err']}")
    if len(metrics["membership_config"]["membership"]["configs"]) > 1:
        problems.append(f"{address} is in the middle of a membership change")
    return problems


def _reached(metrics: Metrics) -> list[tuple[str, dict[str, Any]]]:
    """The quotas that are used up. Those of the cluster count on its leader, which alone rejects commands."""
    quotas: dict[str, dict[str, Any]] = metrics["qcore"].get("quotas", {})  # older nodes have none
    leads = metrics["state"] == "Leader"
    return [
        (name, quota)
        for name, quota in quotas.items()
        if quota["reached"] and (leads or name == "disk")
    ]


def _quota_problem(address: str, name: str, quota: dict[str, Any]) -> str:
    use, limit = quota["use"], quota["limit"]
    match name:
        case "state":
            return (
                f"{address} leads and rejects commands that may add to the state, which has {use} bytes and a quota "
                f"of {limit}: delete something, or raise --state-quota-bytes of every node"
            )
        case "log":
            return (
                f"{address} leads and rejects commands, because the log has {use} bytes and a quota of {limit}: a "
                "snapshot should shorten it soon; otherwise look at the log lines of that node"
            )
    return (
        f"{address} rejects commands that may add to its data: {use} bytes of its disk are free, and {limit} must stay "
        "free; free some space"
    )


def clock_warnings(members: dict[str, int], responses: list[MetricsOrError]) -> list[str]:
    """Warn about each wall clock that the leader finds far from a quorum's.

    If no quorum is known to agree, any clock may be wrong: one warning then names them all.

    Args:
        members: ids by address.
        responses: in the order of `members`.
    """
    from qcore.core.clocks.wall_time import quorum_within

    leaders = [each for each in successful(responses) if each["state"] == "Leader"]
    if not leaders:
        return []
    leader = max(leaders, key=lambda each: int(each["current_term"]))
    clock: dict[str, Any] = leader["qcore"].get("clock") or {}  # 0.1.0 reports no clock
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
    if far and not quorum_within(_effective_voters([leader]), skews, bound):
        spread = max(skews.values()) - min(skews.values())
        warnings = [
            f"the wall clocks of {', '.join(names.values())} are up to {spread / 1e6:.1f} s apart, and no quorum is "
            "known to agree. Any of them may be wrong: check their time synchronisation"
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
            "these clocks reach it (sessions are not affected)"
        )
    return warnings


def _offset(ahead_us: int) -> str:
    return f"{abs(ahead_us) / 1e6:.1f} s {'ahead of' if ahead_us > 0 else 'behind'}"


def priority_warnings(responses: list[MetricsOrError]) -> list[str]:
    """Warn if too many voters have priority 0 (the rule of `qcore.core.leadership.priorities`).

    A member reports its priority. The leader may also report the priority of a member that does not respond. A voter
    of unknown priority counts as one that may lead.
    """
    from qcore.core.leadership.priorities import too_many_zero_priorities

    metrics = successful(responses)
    zeros = _zero_priority_nodes(metrics)
    for each in metrics:
        reported = each["qcore"].get("priorities") or {}
        zeros += [int(member) for member, priority in reported.items() if priority == 0]
    for voters in _effective_voters(metrics):
        found = [voter for voter in voters if voter in zeros]
        if too_many_zero_priorities(len(found), len(voters)):
            return [
                f"{found} of the voters {voters} have priority 0 and never lead; they must be fewer than half: "
                "one crash can leave no node that may lead"
            ]
    return []


def _no_voter_may_lead(metrics: list[Metrics]) -> list[str]:
    """Report that no voter that responds may ever lead.

    Call it only without a leader: a leader proves the opposite.
    """
    zeros = _zero_priority_nodes(metrics)
    voters = sorted({voter for config in _effective_voters(metrics) for voter in config})
    reached = [each["id"] for each in metrics if each["id"] in voters]
    if not reached or any(voter not in zeros for voter in reached):
        return []
    silent = [voter for voter in voters if voter not in reached]
    start = f"start one of {silent}, or " if silent else ""
    return [
        f"no voter may lead: all voters that answer ({reached}) have priority 0: {start}restart one of them with "
        "another --priority"
    ]


def _zero_priority_nodes(metrics: list[Metrics]) -> list[int]:
    return [each["id"] for each in metrics if each["qcore"].get("priority", 1) == 0]


def _effective_voters(metrics: list[Metrics]) -> list[list[int]]:
    """The voters of the effective configuration, as two lists if it is joint."""
    if not metrics:
        return []
    configs: list[list[int]] = best_informed(metrics)["membership_config"]["membership"]["configs"]
    return configs
