"""The figures of `qcore top`: asks all members, and makes rates and times of two answers of each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from qcore.cli.cluster.node_metrics import Metrics
from qcore.cli.next_steps import add_next_step, error_text
from qcore.errors import QcoreError, TransportError

if TYPE_CHECKING:
    from qcore.client.client import Client

#: The response to `GetActivity`.
Activity = Mapping[str, Any]

#: How many log lines, and how many changes, are kept of each node.
_KEPT: Final = 200
#: A member that is silent for longer than this, by the leader's clock, is down, ms.
SILENT_MS: Final = 1500


@dataclass(slots=True)
class Rates:
    """What the nodes did between two answers, in a second; times in ms. None: there was nothing to measure.

    `committed` is how many entries the member that committed the most did, and `applied` those of the slowest.
    """

    reads: float | None = None
    writes: float | None = None
    failed: float | None = None
    committed: float | None = None
    applied: float | None = None
    read_p50: float | None = None
    read_p99: float | None = None
    write_p50: float | None = None
    write_p99: float | None = None
    commit_p50: float | None = None
    commit_p99: float | None = None


@dataclass(slots=True)
class NodeAnswers:
    """What one node has answered.

    Attributes:
        address: where it is asked.
        node: its id; None before its first answer.
        metrics: its newest metrics object; None if it did not answer this time.
        activity: the same for `GetActivity`; also None for a node of an older version.
        before: the `GetActivity` before, for rates.
        entries: how many entries it committed and applied in a second; None before its second answer.
        events: its newest events, oldest first. They stay when it does not answer any more.
        problem: why there is no answer.
        error: the same as an error.
    """

    address: str
    node: int | None = None
    metrics: Metrics | None = None
    activity: Activity | None = None
    before: Activity | None = None
    entries: tuple[float, float] | None = None
    events: list[Mapping[str, Any]] = field(default_factory=list)
    problem: str = ""
    error: QcoreError | None = None


@dataclass(slots=True)
class MemberRow:
    """One member for the table; None for what is not known."""

    node: int
    address: str
    role: str
    term: int | None = None
    commit: int | None = None
    applied: int | None = None
    lag_entries: int | None = None
    lag_ms: int | None = None
    waiting: int | None = None
    disk_free_bytes: int | None = None
    memory_bytes: int | None = None
    clients: int | None = None
    uptime_s: float | None = None
    is_up: bool = False
    state: str = ""


@dataclass(slots=True)
class ClusterFigures:
    """What one screen shows.

    `leader_says` is the node that names the leader, if the leader itself does not answer. `older` are the nodes of a
    version that has no `GetActivity`.
    """

    cluster_id: str | None
    leader: int | None
    term: int | None
    members: list[MemberRow]
    rates: Rates
    leaders: list[Mapping[str, Any]]
    changes: list[Mapping[str, Any]]
    lines: list[Mapping[str, Any]]
    lines_hidden: bool
    leader_says: int | None = None
    older: list[int] = field(default_factory=list)


class ClusterSampler:
    """Asks the endpoints, and the members that they name.

    Args:
        client: asks.
        endpoints: the first nodes.
    """

    def __init__(self, client: Client, endpoints: Iterable[str]) -> None:
        self._client = client
        self._nodes = {address: NodeAnswers(address) for address in endpoints}
        self._newest: Metrics | None = None
        #: By address: what waits for an answer.
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def ask(self, wait_s: float | None = None) -> None:
        """Ask every node once more; those that an answer names for the first time, too.

        Args:
            wait_s: how long to wait for the slowest; None for as long as it takes. What it answers later counts then.
        """
        await self._ask_all([*self._nodes.values()], wait_s)
        known = {each.metrics["id"] for each in self._nodes.values() if each.metrics is not None}
        fresh = [
            NodeAnswers(address)
            for node, address in _addresses(self._best()).items()
            if node not in known and address not in self._nodes
        ]
        if fresh:
            self._nodes |= {each.address: each for each in fresh}
            await self._ask_all(fresh, wait_s)

    async def _ask_all(self, nodes: Iterable[NodeAnswers], wait_s: float | None) -> None:
        for node in nodes:
            if node.address not in self._asking:
                self._asking[node.address] = asyncio.create_task(self._ask(node))
        await asyncio.wait(self._asking.values(), timeout=wait_s)
        for address, task in [*self._asking.items()]:
            if task.done():
                del self._asking[address]
                task.result()  # raises what is a bug

    def close(self) -> None:
        """Wait for no more answers."""
        for task in self._asking.values():
            task.cancel()

    def error(self) -> QcoreError | None:
        """The error to report if no node has answered; preferably of one that could be reached."""
        errors = [each.error for each in self._nodes.values() if each.error is not None]
        if len(errors) < len(self._nodes):
            return None
        return next((each for each in errors if not isinstance(each, TransportError)), errors[0])

    async def _ask(self, node: NodeAnswers) -> None:
        events = node.activity or node.before
        after = 0 if events is None else events["sequence"]
        try:
            metrics, activity = await asyncio.gather(
                self._client.get_metrics(node.address), self._activity(node.address, after)
            )
        except QcoreError as error:
            node.metrics, node.before, node.activity, node.entries = None, events, None, None
            node.error = add_next_step(error)
            node.problem = error_text(error)
            return
        if activity and events and activity["started_us"] != events["started_us"]:
            # The node was started again: its numbers begin again, and its counters, too.
            activity, events = await self._activity(node.address, 0), None
        if activity is not None:
            node.events = newest_events([*node.events, *activity["events"]])
        node.entries = _entry_rates(node.metrics, metrics)
        node.node, node.metrics = metrics["id"], dict(metrics)
        node.before, node.activity = events, activity
        node.error, node.problem = None, ""

    async def _activity(self, address: str, after: int) -> Activity | None:
        fields = {"after": after, "lines": _KEPT}
        try:
            response: Activity = (await self._client.request(address, "GetActivity", fields))[
                "response"
            ]
        except QcoreError as error:
            if "unknown message type" not in str(error):
                raise
            return None  # a node of an older version
        return response

    def _best(self) -> Metrics | None:
        """The metrics of the node that knows the newest configuration; while none answers, the ones before."""
        found = [each.metrics for each in self._nodes.values() if each.metrics is not None]
        self._newest = max(
            found, key=lambda each: each["qcore"]["membership_index"], default=self._newest
        )
        return self._newest

    def figures(self) -> ClusterFigures:
        """What the nodes have answered, put together."""
        best = self._best()
        by_id: dict[int, NodeAnswers] = {}
        for each in self._nodes.values():
            if each.metrics is not None:
                by_id.setdefault(each.metrics["id"], each)
        leaders = [each for each in by_id.values() if _role(each) == "leader"]
        head = max(leaders, key=lambda each: _metrics(each)["current_term"], default=None)
        witness = None if head is not None else _witness(by_id.values())
        known = witness if head is None else _metrics(head)
        rates = rates_of([each for each in by_id.values() if each.activity and each.before])
        entries = [each.entries for each in by_id.values() if each.entries is not None]
        if entries:
            rates.committed = max(committed for committed, _ in entries)
            rates.applied = min(applied for _, applied in entries)
        addresses = _addresses(best)
        ids = sorted({*addresses, *by_id})
        by_address = {each.address: each for each in self._nodes.values()}
        return ClusterFigures(
            cluster_id=None if best is None else best["qcore"]["cluster_id"],
            leader=None if known is None else known["current_leader"],
            term=None if known is None else known["current_term"],
            members=[
                _row(node, addresses.get(node, ""), by_id.get(node), head, by_address)
                for node in ids
            ],
            rates=rates,
            leaders=_leaders(self._nodes.values()),
            changes=_changes(self._nodes.values()),
            lines=_events(self._nodes.values(), "line"),
            lines_hidden=any(
                each.activity["lines_hidden"] for each in by_id.values() if each.activity
            ),
            leader_says=witness["id"] if witness else None,
            older=[node for node, each in by_id.items() if each.activity is None],
        )


def _metrics(node: NodeAnswers) -> Metrics:
    assert node.metrics is not None, "it has answered"
    return node.metrics


def _role(node: NodeAnswers) -> str:
    return str(_metrics(node)["qcore"]["role"])


def _witness(nodes: Iterable[NodeAnswers]) -> Metrics | None:
    """The metrics of the node that knows the newest leader; None if none knows one."""
    found = [_metrics(each) for each in nodes if _metrics(each)["current_leader"] is not None]
    return max(found, key=lambda each: each["current_term"], default=None)


def _entry_rates(before: Metrics | None, now: Metrics) -> tuple[float, float] | None:
    """The entries that a node committed and applied in a second; None if it was started in between."""
    if before is None:
        return None
    was, extra = before["qcore"], now["qcore"]
    seconds = extra["uptime_seconds"] - was["uptime_seconds"]
    if seconds <= 0:
        return None
    committed, applied = (
        (extra[name] - was[name]) / seconds for name in ("commit_index", "applied_index")
    )
    return committed, applied


def _addresses(best: Metrics | None) -> dict[int, str]:
    if best is None:
        return {}
    nodes = best["membership_config"]["membership"]["nodes"]
    return {int(node): each["addr"] for node, each in nodes.items()}


def _row(
    node: int,
    address: str,
    answers: NodeAnswers | None,
    head: NodeAnswers | None,
    by_address: Mapping[str, NodeAnswers],
) -> MemberRow:
    follower = _follower(node, head)
    lag = (follower or {}).get("lag_entries"), (follower or {}).get("lag_ms")
    if answers is None:
        row = MemberRow(node, address, "unknown", lag_entries=lag[0], lag_ms=lag[1])
        why = by_address[address].problem if address in by_address else ""
        row.state = _state_of_silent(follower, head, why)
        return row
    metrics = _metrics(answers)
    extra = metrics["qcore"]
    measured = {} if answers.activity is None else answers.activity["counters"]["process"]
    problem = _problem(metrics)
    return MemberRow(
        node,
        address or answers.address,
        extra["role"],
        term=metrics["current_term"],
        commit=extra["commit_index"],
        applied=extra["applied_index"],
        lag_entries=lag[0],
        lag_ms=lag[1],
        waiting=sum(extra["queues"].values()),
        disk_free_bytes=_whole(measured.get("disk_free_bytes")),
        memory_bytes=_whole(measured.get("resident_bytes")),
        clients=extra["connections"]["clients"],
        uptime_s=extra["uptime_seconds"],
        is_up=not problem,
        state=problem or "up",
    )


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _problem(metrics: Metrics) -> str:
    """What is wrong with a node that answers; empty for nothing."""
    extra = metrics["qcore"]
    if "Err" in metrics["running_state"]:
        return f"failed: {metrics['running_state']['Err']}"
    if metrics["state"] == "Shutdown":
        return "is stopping"
    if extra.get("removed"):
        return str(extra["removed"])
    if extra.get("diverged_at") is not None:
        return f"differs from a majority (index {extra['diverged_at']})"
    if extra["disk_full"]:
        return "its disk is full"
    if not extra["cluster_id"]:
        return "belongs to no cluster yet"
    return "knows no leader" if metrics["current_leader"] is None else ""


def _state_of_silent(follower: Mapping[str, Any] | None, head: NodeAnswers | None, why: str) -> str:
    """What is known of a member that did not answer."""
    if head is not None and follower is not None and "silent_ms" in follower:
        leader = _metrics(head)["id"]
        if follower["silent_ms"] > SILENT_MS:
            seconds = follower["silent_ms"] // 1000
            return f"down: silent to node {leader} for {seconds} s"
        return f"follows node {leader}, not reachable from here"
    return f"no answer: {why}" if why else "no answer"


def _follower(node: int, head: NodeAnswers | None) -> Mapping[str, Any] | None:
    """What the leader knows of a member; from its metrics if it is of an older version."""
    if head is None or _metrics(head)["id"] == node:
        return None
    if head.activity is not None:
        found: Mapping[str, Any] | None = (head.activity["counters"]["followers"] or {}).get(
            str(node)
        )
        return found
    replicated = _metrics(head)["replication"] or {}
    if str(node) not in replicated:
        return None
    match = (replicated[str(node)] or {}).get("index", 0)
    return {"match": match, "lag_entries": (_metrics(head)["last_log_index"] or 0) - match}


# -- rates and times ---------------------------------------------------------------------------------


def rates_of(nodes: Sequence[NodeAnswers]) -> Rates:
    """The sums over nodes that have answered twice."""
    rates = Rates()
    times: dict[str, list[list[int]]] = {"read": [], "write": [], "commit": []}
    bounds: list[float] = []
    for each in nodes:
        assert each.activity is not None and each.before is not None, "they have answered twice"  # noqa: PT018 - one thought
        now, before = each.activity["counters"], each.before["counters"]
        seconds = (each.activity["now_us"] - each.before["now_us"]) / 1e6
        if seconds <= 0:
            continue
        gained = {
            (kind, outcome): (number - before["requests"][kind][outcome]) / seconds
            for kind, outcomes in now["requests"].items()
            for outcome, number in outcomes.items()
        }
        failed = sum(rate for (_, outcome), rate in gained.items() if outcome != "ok")
        rates.reads = (rates.reads or 0.0) + gained["read", "ok"]
        rates.writes = (rates.writes or 0.0) + gained["write", "ok"]
        rates.failed = (rates.failed or 0.0) + failed
        for kind in ("read", "write"):
            times[kind].append(
                _gained(now["request_seconds"][kind], before["request_seconds"][kind])
            )
        times["commit"].append(_gained(now["commit_seconds"], before["commit_seconds"]))
        bounds = now["commit_seconds"]["bounds"]
    rates.read_p50, rates.read_p99 = _both(times["read"], bounds)
    rates.write_p50, rates.write_p99 = _both(times["write"], bounds)
    rates.commit_p50, rates.commit_p99 = _both(times["commit"], bounds)
    return rates


def _gained(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[int]:
    return [count - earlier for count, earlier in zip(now["counts"], before["counts"], strict=True)]


def _both(histograms: Sequence[Sequence[int]], bounds: Sequence[float]) -> tuple[float | None, ...]:
    counts = [sum(column) for column in zip(*histograms, strict=True)]
    return bucket_percentile_ms(counts, bounds, 0.5), bucket_percentile_ms(counts, bounds, 0.99)


def bucket_percentile_ms(
    counts: Sequence[int], bounds: Sequence[float], share: float
) -> float | None:
    """About the time that this share of the observations does not exceed, ms; None if there are none.

    Args:
        counts: the observations in each bucket; the last one has no bound.
        bounds: the upper bounds, in seconds.
        share: from 0 to 1.
    """
    wanted = share * sum(counts)
    if not wanted:
        return None
    below = 0
    for place, count in enumerate(counts):
        if count and below + count >= wanted:
            low = bounds[place - 1] if place else 0.0
            high = bounds[place] if place < len(bounds) else low
            return 1000 * (low + (high - low) * (wanted - below) / count)
        below += count
    return 1000 * bounds[-1]


# -- events ------------------------------------------------------------------------------------------


def newest_events(events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that are kept. Lines do not displace changes."""
    lines = [event for event in events if event["kind"] == "line"]
    changes = [event for event in events if event["kind"] != "line"]
    return [*changes[-_KEPT:], *lines[-_KEPT:]]


def _events(nodes: Iterable[NodeAnswers], kind: str) -> list[Mapping[str, Any]]:
    """The events of this kind of all nodes, each with its node, newest first."""
    # A node that is asked at two addresses counts once.
    by_id = {each.node: each.events for each in nodes if each.node is not None}
    found = [
        {"node": node, **event}
        for node, events in by_id.items()
        for event in events
        if event["kind"] == kind
    ]
    return sorted(found, key=lambda event: (event["t_us"], event["node"]), reverse=True)


def _leaders(nodes: Iterable[NodeAnswers]) -> list[Mapping[str, Any]]:
    """The leader of each term, by the node that knew it first; newest term first."""
    first: dict[int, Mapping[str, Any]] = {}
    for event in _events(nodes, "leader"):
        if event["leader"] is not None:
            first[event["term"]] = event
    return [first[term] for term in sorted(first, reverse=True)]


def _changes(nodes: Iterable[NodeAnswers]) -> list[Mapping[str, Any]]:
    """The configurations, by the node that used each first; newest first."""
    first = {event["index"]: event for event in _events(nodes, "members")}
    return [first[index] for index in sorted(first, reverse=True)]
