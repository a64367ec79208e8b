"""Rejects scenarios whose restarts can give a node a combination of settings that contradict each other.

The settings of one item combine with those that earlier items gave. Items take effect in the order of the run: by
time, with repetitions. Sometimes only the run decides whether or when an item changes a node: if the item uses a
symbolic name, waits for an event, comes at a random time, or crashes a node that may be down. Then every possibility
counts. The check misses no combination that a run can reach, and rejects a few that no run reaches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from qcore.errors import ConfigError
from qcore.sim.scenario.actions.node_actions import Restart, StopAction, Wipe
from qcore.sim.scenario.distributions import Distribution
from qcore.sim.scenario.generated.random_times import bounds
from qcore.sim.scenario.specs.cluster_spec import ClusterSpec
from qcore.sim.scenario.specs.node_settings import NodeSettings
from qcore.sim.scenario.timeline import Item
from qcore.sim.scenario.values import microseconds

#: Settings that restrict each other. Every other setting is valid or invalid by itself.
_TIED = ("election_timeout_ms", "heartbeat_ms", "check_quorum", "lease_reads")


@dataclass(frozen=True, slots=True, eq=False)
class _SettingsChange:
    """An action that changes settings of nodes.

    Attributes:
        number: the item's number in the timeline.
        settings: the settings that it gives.
        ids: the nodes that it names by id.
        may_name_any: whether it uses a symbolic name, which may mean any node.
        roams: whether it may act at any moment from the earliest time of its item on, or not at all.
        names_all: whether it names all nodes.
        certain: whether it changes its node in every run.
    """

    number: int
    settings: NodeSettings
    ids: frozenset[int]
    may_name_any: bool
    roams: bool
    names_all: bool
    certain: bool

    def on(self, state: _State) -> _State:
        return tuple(
            before if getattr(self.settings, name) is None else self
            for name, before in zip(_TIED, state, strict=True)
        )


#: For each tied setting, the change that gave its current value; None for the value of the cluster.
_State = tuple[_SettingsChange | None, ...]


def check_combinations(
    cluster: ClusterSpec, timeline: tuple[Item, ...], nodes: Collection[int], until_us: int
) -> None:
    """Check every combination of settings that a node can have during the run.

    Raises:
        ValueError: a combination contradicts itself. The error names the items that gave the settings.
    """
    changes = _settings_changes(timeline)
    _check_priorities(cluster, changes, nodes)
    for node in sorted(nodes):
        mine = [one for one in changes if one.may_name_any or node in one.ids]
        for one in mine:
            _check(cluster, node, one.number, one.settings, "")
        seen: set[_State] = set()
        for number, states in _reachable(timeline, mine, until_us):
            for state in sorted(states - seen, key=_numbers):
                _check_state(cluster, node, number, state)
            seen |= states


def _check_priorities(
    cluster: ClusterSpec, changes: list[_SettingsChange], nodes: Collection[int]
) -> None:
    """Reject items that together give every node priority 0, so that no node may lead."""
    giving = [one for one in changes if one.settings.priority is not None]
    if any(one.settings.priority for one in giving):
        return
    left = {node for node in nodes if cluster.priority_of(node)}
    for one in giving:
        left -= {*nodes} if one.names_all else one.ids
        if not left:
            raise ValueError(
                f"timeline[{one.number}]: with it all of the nodes {sorted(nodes)} have priority 0, so that no node "
                "could ever lead again: leave one of them another priority"
            )


def _settings_changes(timeline: tuple[Item, ...]) -> list[_SettingsChange]:
    found: list[_SettingsChange] = []
    random_moment = False  # of the item, or of the one to whose time it adds
    for number, item in enumerate(timeline):
        if item.when is None:
            absolute = item.at_ms is not None
            gap = item.at_ms if absolute else item.after_ms
            random_moment = isinstance(gap, Distribution) or (random_moment and not absolute)
        for action in item.possible_actions:
            if isinstance(action, StopAction) and action.settings is not None:
                terms = action.nodes.terms
                ids = frozenset(term for term in terms if isinstance(term, int))
                may_name_any = item.when is not None or any(isinstance(term, str) for term in terms)
                # A restart of several nodes starts only the nodes that are down, if some are down.
                sure = isinstance(action, Wipe) or (isinstance(action, Restart) and len(ids) == 1)
                roams = may_name_any or item.is_random or random_moment
                certain = sure and not roams
                found.append(
                    _SettingsChange(
                        number, action.settings, ids, may_name_any, roams, "all" in terms, certain
                    )
                )
    return found


def _reachable(
    timeline: tuple[Item, ...], mine: list[_SettingsChange], until_us: int
) -> Iterator[tuple[int, set[_State]]]:
    """After each firing: the number of the item that fired, and all states that one node can have."""
    states: set[_State] = {(None,) * len(_TIED)}
    ends: dict[int, int] = {}  # item that may act at any moment -> until when
    first = {one.number for one in mine}
    again = {one.number for one in mine if not one.roams}
    for time, number in _firings(timeline, first, again, until_us):
        for one in mine:
            if one.number == number and one.roams:
                last = timeline[number].until_ms
                ends[number] = until_us if last is None else microseconds(last)
            elif one.number == number:
                changed = {one.on(state) for state in states}
                states = changed if one.certain else states | changed
        roaming = [one for one in mine if one.roams and ends.get(one.number, -1) >= time]
        size = 0
        while size != len(states):
            size = len(states)
            states |= {one.on(state) for one in roaming for state in states}
        yield number, states


def _firings(
    timeline: tuple[Item, ...], wanted: set[int], repeated: set[int], until_us: int
) -> Iterator[tuple[int, int]]:
    """The times (microseconds) and numbers of the `wanted` items, in the order of the run.

    An item that is not in `repeated` is listed once: from then on it may act at any moment.
    """
    queue: list[tuple[int, int, int, int]] = []
    before = 0.0
    for number, item in enumerate(timeline):
        at_ms = bounds(item.at_ms)[0]
        if item.when is None:
            at_ms = before = at_ms if item.at_ms is not None else before + bounds(item.after_ms)[0]
        if number in wanted:
            queue.append((microseconds(at_ms), number, number, 1))
    heapify(queue)
    order = len(timeline)
    while queue:
        time, _, number, times = heappop(queue)
        item = timeline[number]
        last = until_us if item.until_ms is None else min(until_us, microseconds(item.until_ms))
        if time > last:
            continue
        yield time, number
        if (
            number in repeated
            and item.every_ms is not None
            and (item.times is None or times < item.times)
        ):
            order += 1
            again = time + max(1, microseconds(bounds(item.every_ms)[0]))
            heappush(queue, (again, order, number, times + 1))


def _numbers(state: _State) -> tuple[int, ...]:
    return tuple(-1 if giver is None else giver.number for giver in state)


def _check_state(cluster: ClusterSpec, node: int, number: int, state: _State) -> None:
    givers = [(name, giver) for name, giver in zip(_TIED, state, strict=True) if giver is not None]
    values = {name: getattr(giver.settings, name) for name, giver in givers}
    together = ""
    if len({giver.number for _, giver in givers}) > 1:
        places = ", ".join(f"{name} by timeline[{giver.number}]" for name, giver in givers)
        together = f" (it may be given {places}; give settings that go together in the same item)"
    # No need to validate again: each value comes from validated settings.
    _check(cluster, node, number, NodeSettings.model_construct(**values), together)


def _check(
    cluster: ClusterSpec, node: int, number: int, settings: NodeSettings, together: str
) -> None:
    where = f"timeline[{number}]: settings of node {node}: "
    try:
        rules = cluster.replica_config(node, settings).max_rules
    except ConfigError as error:
        raise ValueError(f"{where}{error}{together}") from None
    if rules < cluster.rules:
        raise ValueError(
            f"{where}with max_rules {rules} it cannot apply the rules {cluster.rules} that the cluster begins with: "
            "lower cluster.rules, or raise max_rules"
        )
