"""From symbolic names in a scenario to node ids, at the moment when an action fires."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random

from qcore.sim.scenario.values import Selector
from qcore.sim.verdict.monitor import Monitor


class ActionNotReady(Exception):
    """A name cannot be resolved at this moment, e.g. `leader` while there is none: look again later."""


@dataclass(slots=True, frozen=True)
class _Choice:
    """How random picks choose; see `SelectorResolver.resolve`."""

    rng: Random
    taken: Collection[int]
    among: Collection[int] | None
    preferred: Collection[int] | None

    def allows(self, node: int) -> bool:
        return node not in self.taken and (self.among is None or node in self.among)

    def prefers(self, node: int) -> bool:
        return self.preferred is None or node in self.preferred


class SelectorResolver:
    """Resolves selectors against the state of the run, and remembers what names meant.

    What `leader` meant when a fault struck is what it means when the fault is taken back: after
    `crash: leader`, `restart: leader` starts that very node.

    Args:
        monitor: knows who leads and who runs.
        clients: the ids of the clients, as network vertices (negative).
    """

    def __init__(self, monitor: Monitor, clients: Sequence[int]) -> None:
        self._monitor = monitor
        self._clients = clients
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
        """Node ids (and clients, negative), without repetition, in ascending order.

        Args:
            selector: what the scenario says.
            rng: draws random picks.
            taken: nodes already named in the same action: `rest` and random picks leave them out.
            among: random picks (`random`, `majority`, `minority`) are of these only: on which the action can act.
            preferred: random picks are of these as long as there are enough.

        Raises:
            ActionNotReady: there is no leader, no such follower, or too few to pick from now.
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
        """Several selectors that share `rest` and random picks: the definite ones are settled first.

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
        """As `resolve`, but a name that meant nodes of `among` when it was last used means them again.

        Random picks are of `among` as long as there are enough.

        Raises:
            ActionNotReady: as `resolve`.
        """
        found: list[int] = []
        for term in selector.terms:
            before = [node for node in self._last_resolved.get(str(term), ()) if node in among]
            if isinstance(term, str) and before:
                ids: Sequence[int] = before
            else:
                ids = self._term(term, selector.pool, _Choice(rng, (), None, among))
            found += [node for node in ids if node not in found]
        return tuple(sorted(found))

    def _term(self, term: int | str, pool: str, choice: _Choice) -> tuple[int, ...]:
        if isinstance(term, int):
            return (term,)
        everyone = tuple(node for node, facts in self._monitor.facts.items() if facts.joined)
        taken = choice.taken
        name, _, number = term.partition("_")
        match name:
            case "leader":
                return (self._leader(),)
            case "old":
                return self._old_leader()
            case "followers":
                leader = self._leader()
                return tuple(n for n in everyone if n != leader and n not in taken)
            case "follower":
                return (self._follower(int(number)),)
            case "rest":
                left_out = taken or (self._leader(),)
                return tuple(node for node in everyone if node not in left_out)
            case "all":
                return everyone
            case "down":
                return tuple(n for n in everyone if not self._monitor.facts[n].up)
            case "paused":
                return tuple(n for n, facts in self._monitor.facts.items() if facts.paused)
            case "majority":
                return self._pick(len(everyone) // 2 + 1, "all", choice)
            case "minority":
                return self._pick((len(everyone) - 1) // 2, "all", choice)
            case "random":
                return self._pick(int(number or 1), pool, choice)
            case "clients":
                return tuple(self._clients)
            case "client":
                return (-int(number),)
        raise AssertionError(f"selector term {term!r} is not known")  # values.py lets none through

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

    def _pick(self, amount: int, pool: str, choice: _Choice) -> tuple[int, ...]:
        facts = self._monitor.facts
        candidates = [node for node in facts if facts[node].joined and choice.allows(node)]
        if pool == "followers":
            leader = self._leader()
            candidates = [node for node in candidates if node != leader]
        elif pool == "down":
            candidates = [node for node in candidates if not facts[node].up]
        if amount > len(candidates):
            raise ActionNotReady(f"there are not {amount} nodes to pick from")
        first = [node for node in candidates if choice.prefers(node)]
        if amount <= len(first):
            return tuple(sorted(choice.rng.sample(first, amount)))
        others = [node for node in candidates if not choice.prefers(node)]
        return tuple(sorted([*first, *choice.rng.sample(others, amount - len(first))]))


def _phase(term: int | str) -> int:
    """Definite names first, then random picks, then whatever is left."""
    if isinstance(term, int):
        return 0
    name = term.partition("_")[0]
    if name in ("random", "majority", "minority"):
        return 1
    return 2 if name in ("followers", "rest", "all") else 0
