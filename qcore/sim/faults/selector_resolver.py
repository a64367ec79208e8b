"""Resolves the symbolic names of a scenario, such as `leader`, to node ids when an action fires."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from random import Random

from qcore.sim.faults.triggers import NodeEvent
from qcore.sim.scenario.values import Selector
from qcore.sim.verdict.monitor import Monitor

#: Names of nodes by their current state, which a repair therefore resolves again.
_STATES = ("all", "down", "paused")


class ActionNotReady(Exception):
    """An action cannot fire yet, e.g. because it names `leader` and there is none. Try again later."""


@dataclass(slots=True, frozen=True)
class _Choice:
    """The rules for random picks; see `SelectorResolver.resolve`."""

    rng: Random
    taken: Collection[int]
    among: Collection[int] | None
    preferred: Collection[int] | None

    def allows(self, node: int) -> bool:
        return node not in self.taken and (self.among is None or node in self.among)

    def prefers(self, node: int) -> bool:
        return self.preferred is None or node in self.preferred


class SelectorResolver:
    """Resolves selectors against the state of the run, and remembers the results.

    A repair means the same nodes as the fault that it repairs: after `crash: leader`, `restart: leader` starts the node
    that crashed.

    Args:
        monitor: knows which node leads and which nodes run.
        clients: the ids of the clients, as network vertices (negative).
        lease_holders: the nodes that hold a lease now.

    Attributes:
        event: the event that fired the current action, to which `sender`, `receiver` and `event_node` refer.
    """

    def __init__(
        self,
        monitor: Monitor,
        clients: Sequence[int],
        lease_holders: Callable[[], Sequence[int]] = tuple,
    ) -> None:
        self._monitor = monitor
        self._clients = clients
        self._lease_holders = lease_holders
        self.event: NodeEvent | None = None
        self._last_resolved: dict[str, tuple[int, ...]] = {}

    def resolve(
        self,
        selector: Selector,
        rng: Random,
        *,
        taken: Collection[int] = (),
        among: Collection[int] | None = None,
        preferred: Collection[int] | None = None,
    ) -> tuple[int, ...]:
        """The node ids (and clients, negative) that a selector names, each once, in ascending order.

        Args:
            selector: the names.
            rng: draws random picks.
            taken: nodes that the same action names already. `rest` and random picks leave them out.
            among: random picks (`random`, `majority`, `minority`) are limited to these, on which the action can act.
            preferred: random picks take these first.

        Raises:
            ActionNotReady: there is currently no leader, no such follower, or too few nodes to pick from.
        """
        found: list[int] = []
        for term in sorted(selector.terms, key=_phase):
            choice = _Choice(rng, {*taken, *found}, among, preferred)
            ids = self._term(term, selector.pool, choice)
            if isinstance(term, str):
                self._last_resolved[term] = ids
                if term == "leader":
                    self._last_resolved["old_leader"] = ids
            found += [node for node in ids if node not in found]
        return tuple(sorted(found))

    def resolve_groups(
        self, groups: Sequence[Selector], rng: Random, preferred: Collection[int] | None = None
    ) -> list[tuple[int, ...]]:
        """Resolve several selectors that share `rest` and random picks. Definite names come first.

        Raises:
            ActionNotReady: as `resolve`.
        """
        resolved: dict[int, tuple[int, ...]] = {}
        taken: list[int] = []
        order = sorted(range(len(groups)), key=lambda i: max(_phase(t) for t in groups[i].terms))
        for position in order:
            resolved[position] = self.resolve(
                groups[position], rng, taken=taken, preferred=preferred
            )
            taken += resolved[position]
        return [resolved[position] for position in range(len(groups))]

    def resolve_as_before(
        self, selector: Selector, rng: Random, among: Collection[int]
    ) -> tuple[int, ...]:
        """As `resolve`, but a name that last meant nodes in `among` means them again.

        Random picks take nodes in `among` first.

        Raises:
            ActionNotReady: as `resolve`.
        """
        found: list[int] = []
        for term in selector.terms:
            before = [node for node in self._last_resolved.get(str(term), ()) if node in among]
            if isinstance(term, str) and term not in _STATES and before:
                ids: Sequence[int] = before
            else:
                ids = self._term(term, selector.pool, _Choice(rng, (), None, among))
            found += [node for node in ids if node not in found]
        return tuple(sorted(found))

    def _term(
        self, term: int | str, pool: tuple[int | str, ...], choice: _Choice
    ) -> tuple[int, ...]:
        if isinstance(term, int):
            return (term,)
        joined = tuple(node for node, facts in self._monitor.facts.items() if facts.joined)
        taken = choice.taken
        name, _, number = term.partition("_")
        match name:
            case "leader":
                return (self._leader(),)
            case "old":
                return self._old_leader()
            case "followers":
                leader = self._leader()
                return tuple(n for n in joined if n != leader and n not in taken)
            case "follower":
                return (self._follower(int(number)),)
            case "rest":
                excluded = taken or (self._leader(),)
                return tuple(node for node in joined if node not in excluded)
            case "all":
                return joined
            case "down":
                return tuple(n for n in joined if not self._monitor.facts[n].up)
            case "paused":
                return tuple(n for n, facts in self._monitor.facts.items() if facts.paused)
            case "majority":
                return self._pick(len(joined) // 2 + 1, ("all",), choice)
            case "minority":
                return self._pick((len(joined) - 1) // 2, ("all",), choice)
            case "random":
                return self._pick(int(number or 1), pool, choice)
            case "voters":
                return self._monitor.committed_membership.voters
            case "learners":
                learners = self._monitor.committed_membership.learners
                return _some(learners, "there is no learner")
            case "candidate" | "candidates":
                facts = self._monitor.facts
                campaigning = [
                    n for n in facts if facts[n].role == "candidate" and facts[n].running
                ]
                every = _some(campaigning, "no node is a candidate")
                return every if name == "candidates" else (choice.rng.choice(every),)
            case "lease":
                return _some(self._lease_holders(), "no node holds the lease")
            case "sender" | "receiver" | "event":
                return self._node_of_event(name)
            case "clients":
                return tuple(self._clients)
            case "client":
                return (-int(number),)
        raise AssertionError(f"selector term {term!r} is not known")  # values.py rejects it

    def _leader(self) -> int:
        leader = self._monitor.leader
        if leader is None:
            raise ActionNotReady("there is no leader")
        return leader

    def _old_leader(self) -> tuple[int, ...]:
        if "old_leader" in self._last_resolved:
            return self._last_resolved["old_leader"]
        leader = self._monitor.leader
        for elected in reversed(self._monitor.record.leaders):
            if elected.node != leader:
                return (elected.node,)
        raise ActionNotReady("there is no former leader")

    def _follower(self, number: int) -> int:
        leader = self._leader()
        running = [n for n, facts in self._monitor.facts.items() if facts.running and n != leader]
        if number > len(running):
            raise ActionNotReady(f"there is no follower number {number}")
        return running[number - 1]

    def _node_of_event(self, name: str) -> tuple[int, ...]:
        event = self.event
        if event is None or not event.node:
            raise ActionNotReady("no event fired this action")
        if name == "event":
            return (event.node,)
        is_own = event.is_sender if name == "sender" else not event.is_sender
        return (event.node if is_own else event.peer,)

    def _pick(self, amount: int, pool: tuple[int | str, ...], choice: _Choice) -> tuple[int, ...]:
        facts = self._monitor.facts
        everywhere = _Choice(choice.rng, (), None, None)
        named = [node for term in pool for node in self._term(term, (), everywhere)]
        candidates = [
            node for node in facts if facts[node].joined and node in named and choice.allows(node)
        ]
        if amount > len(candidates):
            raise ActionNotReady(f"there are not {amount} nodes to pick from")
        first = [node for node in candidates if choice.prefers(node)]
        if amount <= len(first):
            return tuple(sorted(choice.rng.sample(first, amount)))
        others = [node for node in candidates if not choice.prefers(node)]
        return tuple(sorted([*first, *choice.rng.sample(others, amount - len(first))]))


def _some(nodes: Sequence[int], problem: str) -> tuple[int, ...]:
    """The nodes in ascending order.

    Raises:
        ActionNotReady: there are none.
    """
    if not nodes:
        raise ActionNotReady(problem)
    return tuple(sorted(nodes))


def _phase(term: int | str) -> int:
    """The order of resolution: definite names first, then random picks, then `rest`."""
    if isinstance(term, int):
        return 0
    name = term.partition("_")[0]
    if name in ("random", "majority", "minority"):
        return 1
    return 2 if name in ("followers", "rest", "all") else 0
