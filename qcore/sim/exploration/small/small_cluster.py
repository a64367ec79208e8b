"""`SmallCluster`: the states of a small cluster, as tuples of numbers, and what may happen in each."""

from __future__ import annotations

from typing import Final, TypeAlias

from qcore.core.entry import DurableState, Entry, HardState, Membership
from qcore.sim.exploration.bounds import BUDGETS, Bounds
from qcore.sim.exploration.small.choices import BUDGET_OF, Choice
from qcore.sim.exploration.small.fingerprints import of_entry
from qcore.sim.exploration.small.global_history import (
    Broken,
    Committed,
    GlobalHistory,
    log_mismatch,
)
from qcore.sim.exploration.small.local_node import LocalNode
from qcore.sim.exploration.small.local_steps import LocalSteps, Outcome, address_of

#: A state of the cluster: the number of each node's state, then those of the network and the history, then the budgets
#: that are left, packed into one number.
State: TypeAlias = tuple[int, ...]

#: Bits for each budget.
_BITS: Final = 7
_MASK: Final = (1 << _BITS) - 1
#: Kind of choice -> by how many bits its budget is shifted; -1: it has none.
SHIFT_OF: Final = {
    kind: -1 if budget is None else BUDGETS.index(budget) * _BITS
    for kind, budget in BUDGET_OF.items()
}


class SmallCluster:
    """What may happen in a cluster of these bounds.

    Attributes:
        bounds: the bounds.
        steps: the tables of the nodes' states and steps.
        size: nodes, spares included.
        networks: sorted numbers of the messages in flight, by number of the network.
        histories: histories by number.
        initial: the state in which an exploration begins.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.steps = LocalSteps(bounds)
        self.size = bounds.nodes + bounds.spares
        self.networks: list[tuple[int, ...]] = []
        self.histories: list[GlobalHistory] = []
        self._network_numbers: dict[tuple[int, ...], int] = {}
        self._history_numbers: dict[GlobalHistory, int] = {}
        self._after: dict[int, int | Broken] = {}
        self._complete: dict[int, Broken | None] = {}
        self._matching: dict[int, None] = {}  # pairs of logs that match
        self._deliveries: list[int] = []
        self._duplicates: list[int] = []
        self.initial = self._first_state()

    # -- the first state -------------------------------------------------------------------------

    def _first_state(self) -> State:
        voters = tuple(range(1, self.bounds.nodes + 1))
        addresses = tuple([(node, address_of(node)) for node in voters])
        membership = Membership(voters=voters, addresses=addresses, cluster_id="explored")
        entry = Entry(1, 1, "membership", membership.to_json(), 0)
        locals_: list[int] = []
        for node in range(1, self.size + 1):
            member = node in voters
            disk = DurableState(HardState(1, None, 1), None, [entry]) if member else DurableState()
            started, _ = LocalNode.start(self.bounds.config(node), disk, self.bounds.sync)
            locals_.append(self.steps.state_number(started))
        history = GlobalHistory(committed=(Committed(of_entry(entry), 1),))
        none = self.network_number(())
        state = (*locals_, none, self.history_number(history), 0)
        if self.bounds.start == "leader":
            state = self._with_leader(state)
        return (*state[:-1], self._all_budgets())

    def _all_budgets(self) -> int:
        return sum(
            getattr(self.bounds, name) << (place * _BITS) for place, name in enumerate(BUDGETS)
        )

    def _with_leader(self, state: State) -> State:
        """Node 1 campaigns, wins, and informs all others that its first entry is committed."""
        for kind in ("timeout", "heartbeat"):
            state = self._must(state, Choice(kind, 1))
            while (choice := self._next_quiet(state)) is not None:
                state = self._must(state, choice)
        return state

    def _next_quiet(self, state: State) -> Choice | None:
        """A sync or the delivery of the oldest message, while there is any."""
        for place in range(self.size):
            node = self.steps.states[state[place]]
            if node.unsynced:
                return Choice("sync", node.core.node_id)
        for message in self.networks[state[-3]]:
            return Choice("deliver", self.steps.messages[message].receiver, message)
        return None

    def _must(self, state: State, choice: Choice) -> State:
        after = self.apply(state, choice)
        assert not isinstance(after, Broken), f"the first leader breaks a property: {after}"
        return after

    # -- numbers ---------------------------------------------------------------------------------

    def network_number(self, messages: tuple[int, ...]) -> int:
        """The number of a network with these messages, which are sorted."""
        number = self._network_numbers.get(messages)
        if number is None:
            number = self._network_numbers[messages] = len(self.networks)
            self.networks.append(messages)
        return number

    def history_number(self, history: GlobalHistory) -> int:
        """The number of a history."""
        number = self._history_numbers.get(history)
        if number is None:
            number = self._history_numbers[history] = len(self.histories)
            self.histories.append(history)
        return number

    def budget_left(self, state: State, kind: str) -> int:
        """How many more choices of a kind the budgets allow."""
        shift = SHIFT_OF[kind]
        return 1 << 30 if shift < 0 else state[-1] >> shift & _MASK

    def _used(self, state: State, kind: str) -> int:
        """How many choices of a kind were made."""
        shift = SHIFT_OF[kind]
        return (self._all_budgets() >> shift & _MASK) - (state[-1] >> shift & _MASK)

    # -- what may happen -------------------------------------------------------------------------

    def choices(self, state: State) -> list[int]:
        """The numbers of the choices in this state, without those that would change nothing."""
        steps, left = self.steps, state[-1]
        found: list[int] = []
        previous = -1
        lose = left >> SHIFT_OF["drop"] & _MASK
        again = left >> SHIFT_OF["duplicate"] & _MASK
        for message in self.networks[state[-3]]:
            if message == previous:
                continue
            previous = message
            choice = self._delivery(message)
            receiver = steps.choices[choice].node
            if steps.outcome(state[receiver - 1], choice) is not None:
                found.append(choice)
                if again:
                    found.append(steps.choice_number(Choice("duplicate", receiver, message)))
                if lose:
                    found.append(steps.choice_number(Choice("drop", receiver, message)))
        for place in range(self.size):
            local = state[place]
            for choice in steps.offers(local):
                shift = SHIFT_OF[steps.choices[choice].kind]
                if shift < 0 or left >> shift & _MASK:
                    found.append(choice)
            if steps.leads(local):
                for kind in ("write", "read"):
                    if left >> SHIFT_OF[kind] & _MASK:
                        number = self._used(state, kind) + 1
                        found.append(steps.choice_number(Choice(kind, place + 1, number)))
        found.sort()
        return found

    def _delivery(self, message: int) -> int:
        known = self._deliveries
        while len(known) <= message:
            number = len(known)
            receiver = self.steps.messages[number].receiver
            known.append(self.steps.choice_number(Choice("deliver", receiver, number)))
        return known[message]

    def apply(self, state: State, choice: Choice) -> State | Broken:
        """The state after a choice, or the property that it broke."""
        return self.take(state, self.steps.choice_number(choice))

    def take(self, state: State, number: int) -> State | Broken:
        """The state after the choice of this number, or the property that it broke."""
        steps = self.steps
        kind, node, argument = steps.choices[number]
        flying = self.networks[state[-3]]
        if kind == "drop":
            left = list(flying)
            left.remove(argument)
            network = self.network_number(tuple(left))
            return (*state[:-3], network, state[-2], state[-1] - (1 << SHIFT_OF[kind]))
        step = number
        if kind == "duplicate":
            step = self._delivery(argument)
        outcome = steps.outcome(state[node - 1], step)
        history = state[-2]
        if kind == "read":
            history = self.history_number(self.histories[history].with_read(argument))
        shift = SHIFT_OF[kind]
        budgets = state[-1] if shift < 0 or self.bounds_free(state) else state[-1] - (1 << shift)
        if outcome is None:
            if kind != "deliver":
                return (*state[:-2], history, budgets)
            rest = list(flying)
            rest.remove(argument)
            return (*state[:-3], self.network_number(tuple(rest)), history, budgets)
        place = node - 1
        network = state[-3]
        term = steps.durable_term(outcome.local)
        aged = not self.bounds.late_messages and term != steps.durable_term(state[place])
        if kind == "deliver" or outcome.sent or aged:
            network = self._network_after(
                state,
                argument if kind == "deliver" else -1,
                outcome.sent,
                node if aged else 0,
                term,
            )
        if outcome.report is not None:
            found = self._history_after(history, node, outcome)
            if isinstance(found, Broken):
                return found
            history = found
        changed = (*state[:place], outcome.local, *state[node:-3], network, history, budgets)
        broken = self._check(changed, place, history != state[-2])
        return changed if broken is None else broken

    def _network_after(
        self, state: State, taken: int, sent: tuple[int, ...], aged: int, term: int
    ) -> int:
        """The network without the message taken, with those sent, and without those that `aged` is now too new for."""
        steps = self.steps
        after = list(self.networks[state[-3]])
        if taken >= 0:
            after.remove(taken)
        if aged:
            messages = steps.messages
            after = [
                message
                for message in after
                if messages[message].receiver != aged or not steps.is_lost_in(message, term)
            ]
        for message in sent:
            receiver = steps.messages[message].receiver
            if not steps.is_lost_in(message, steps.durable_term(state[receiver - 1])):
                after.append(message)
        after.sort()
        return self.network_number(tuple(after))

    def sent(self, state: State, choice: Choice) -> tuple[int, ...]:
        """The numbers of the messages that a choice sends."""
        kind, node, argument = choice
        step = Choice("deliver", node, argument) if kind == "duplicate" else choice
        if kind == "drop":
            return ()
        outcome = self.steps.outcome(state[node - 1], self.steps.choice_number(step))
        return () if outcome is None else outcome.sent

    def nodes_after(self, state: State, choice: Choice) -> State:
        """The state with the node of a choice as it is after it, for the text of a step that breaks a property."""
        kind, node, argument = choice
        step = Choice("deliver", node, argument) if kind == "duplicate" else choice
        outcome = self.steps.outcome(state[node - 1], self.steps.choice_number(step))
        if outcome is None:
            return state
        return (*state[: node - 1], outcome.local, *state[node:])

    def bounds_free(self, state: State) -> bool:
        """Whether the budgets do not count yet: the first leader is elected."""
        return state[-1] == 0

    def _history_after(self, history: int, node: int, outcome: Outcome) -> int | Broken:
        key = history << 32 | outcome.number
        found = self._after.get(key)
        if found is None:
            assert outcome.report is not None, "nothing changes the history"
            after = self.histories[history].after(node, outcome.report)
            found = after if isinstance(after, Broken) else self.history_number(after)
            self._after[key] = found
        return found

    def _check(self, state: State, place: int, history_changed: bool) -> Broken | None:
        """Leader completeness and log matching after a step of the node at `place`."""
        steps, history = self.steps, state[-2]
        mine = state[place]
        for other in range(self.size):
            local = state[other]
            if other == place or history_changed:
                key = local << 32 | history
                try:
                    broken = self._complete[key]
                except KeyError:
                    broken = self.histories[history].missing_at(steps.states[local])
                    self._complete[key] = broken
                if broken is not None:
                    return broken
            if other != place:
                key = steps.log_numbers[mine] << 32 | steps.log_numbers[local]
                if key not in self._matching:
                    broken = log_mismatch(steps.states[mine], steps.states[local])
                    if broken is not None:
                        return broken
                    self._matching[key] = None
        return None
