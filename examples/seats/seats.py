"""Seats of a theatre: a state machine, what its clients ask, and what must hold. See docs/simulation.md."""

import json
from collections.abc import Iterable
from hashlib import sha256
from random import Random

from qcore.machines import ApplyContext
from qcore.sim.oracles import Request, sometimes

SEATS = 3
NAMES = ("ada", "alan", "barbara", "donald", "edsger", "grace", "leslie", "nancy")


class Seats:
    """`book NAME` and `cancel NAME`; a query is a name, and its answer `seat`, `waits` or `none`."""

    name = "seats"
    versions = (1, 1)

    def __init__(self) -> None:
        self.booked: list[str] = []
        self.waiting: list[str] = []

    def apply(self, command: str, context: ApplyContext) -> str:
        what, _, who = command.partition(" ")
        if what == "book":
            if who in self.booked or who in self.waiting:
                return "already"
            has_seat = len(self.booked) < SEATS
            (self.booked if has_seat else self.waiting).append(who)
            return "seat" if has_seat else "waits"
        if what == "cancel" and who in self.waiting:
            self.waiting.remove(who)
            return "cancelled"
        if what == "cancel" and who in self.booked:
            self.booked.remove(who)
            self.next_one()
            return "cancelled"
        return "none"

    def next_one(self) -> None:
        """A seat became free: the first who waits gets it."""
        if self.waiting:
            self.booked.append(self.waiting.pop(0))

    def query(self, query: str) -> str:
        return "seat" if query in self.booked else "waits" if query in self.waiting else "none"

    def snapshot(self) -> Iterable[str]:
        return [json.dumps([self.booked, self.waiting])]

    def restore(self, chunks: Iterable[str]) -> None:
        self.booked, self.waiting = json.loads("".join(chunks))

    def state_hash(self) -> str:
        return sha256("".join(self.snapshot()).encode()).hexdigest()


class Overbooked(Seats):
    """The first planted bug: all who wait get the one free seat."""

    def next_one(self) -> None:
        self.booked += self.waiting
        self.waiting = []


class Unfair(Seats):
    """The second planted bug: the last who waits gets the free seat."""

    def next_one(self) -> None:
        if self.waiting:
            self.booked.append(self.waiting.pop())


class Shuffled(Seats):
    """The third planted bug: who waits is kept in a set, and the order of a set is arbitrary."""

    def next_one(self) -> None:
        waiting = set(self.waiting)
        if waiting:
            self.booked.append(waiting.pop())
            self.waiting = sorted(waiting)


# -- what the clients ask -------------------------------------------------------------------------


def requests(rng: Random) -> tuple[str, str]:
    """The next request of a client."""
    who = rng.choice(NAMES)
    if rng.random() < 0.4:
        return "read", who
    return "write", f"{rng.choice(('book', 'book', 'cancel'))} {who}"


# -- what must hold -------------------------------------------------------------------------------


def invariant(state: Seats) -> None:
    """Holds after every command, on every node."""
    assert len(state.booked) <= SEATS, f"{len(state.booked)} people for {SEATS} seats"


@sometimes
def a_person_waits(state: Seats) -> bool:
    """Without this the run would not try what matters."""
    return bool(state.waiting)


class Model:
    """What a correct machine answers. It shares no code with the machine."""

    def initial(self) -> tuple[str, ...]:
        return ()  # all people in the order of booking; the first three have the seats

    def step(
        self, state: tuple[str, ...], request: Request, answer: str | None
    ) -> tuple[bool, tuple[str, ...]]:
        right, after = self.right(state, request)
        return answer in (None, right), after

    def answer(self, state: tuple[str, ...], request: Request) -> str:
        return self.right(state, request)[0]

    def right(self, state: tuple[str, ...], request: Request) -> tuple[str, tuple[str, ...]]:
        what, _, who = request.text.rpartition(" ")
        if request.kind == "read":
            return self.place(state, who), state
        if what == "book":
            after = state if who in state else (*state, who)
            return "already" if who in state else self.place(after, who), after
        left = tuple(name for name in state if name != who)
        return "cancelled" if who in state else "none", left

    def place(self, state: tuple[str, ...], who: str) -> str:
        return "none" if who not in state else "seat" if who in state[:SEATS] else "waits"
