"""`AutoInit`: finds the other founders, agrees with them on one founding, and begins the cluster.

Each round looks for the founders, asks each who it is, and judges the answers. Once all founders are there, one of them
proposes: first the one with the lowest id, later another, if that one does not. What a founder has accepted is finished
by any of them. The task ends when this node is a member.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TypeVar

from qcore.display import located
from qcore.errors import QcoreError
from qcore.node.discovery.finder import Finder
from qcore.node.discovery.founder_client import FounderClient, Location
from qcore.node.discovery.founding_messages import acceptance_in, ballot_of
from qcore.node.discovery.protocol.candidates import Candidate, Judgement, judged
from qcore.node.discovery.protocol.founding import (
    MAX_ROUND,
    Ballot,
    Founder,
    Founding,
    difference,
    identities_of,
    is_absurd,
)
from qcore.node.discovery.protocol.proposal import Proposal
from qcore.node.discovery.voter import Voter
from qcore.node.observability.logs import NodeLog
from qcore.replica.peers.identity import ClusterIdentity
from qcore.runtime.interface import Runtime
from qcore.transport.address import Address
from qcore.transport.wire import FoundingVote

T = TypeVar("T")

#: Makes a new founding of these founders.
NewFounding = Callable[[tuple[Founder, ...]], Founding]
#: Begins the cluster of a founding that is decided; returns the error, or None once it has begun.
BeginCluster = Callable[[Founding], Awaitable[QcoreError | None]]


@dataclass(slots=True, frozen=True)
class Pace:
    """How fast a founder acts, in seconds. None of it decides whether the result is right.

    Attributes:
        shortest_s, longest_s: the pause between two rounds; it doubles while nothing changes.
        turn_s: how long a founder waits for each founder with a lower id to propose first.
        finish_s: how long a founder waits until another one has begun the cluster that it has accepted.
        patient_rounds: how many ballots wait for the promises of all founders, before those of a majority do.
    """

    shortest_s: float = 0.5
    longest_s: float = 5.0
    turn_s: float = 0.5
    finish_s: float = 5.0
    patient_rounds: int = 3


class AutoInit:
    """The founding at this node.

    Args:
        identity: of this node.
        own: returns this node as a founder.
        expect: how many founders there are.
        begins_with: the version with which this node would begin a cluster, in words.
        proposes: whether this node may begin a cluster; a node that never leads may not.
        voter: the votes of this node.
        finder: where the others are.
        client: asks them.
        new_founding: see `NewFounding`.
        begin_cluster: see `BeginCluster`.
        log: gets a line for each change.
        runtime: the world that the node runs in.
        pace: see `Pace`.
    """

    def __init__(
        self,
        identity: ClusterIdentity,
        own: Callable[[], Founder],
        expect: int,
        begins_with: str,
        *,
        proposes: bool,
        voter: Voter,
        finder: Finder,
        client: FounderClient,
        new_founding: NewFounding,
        begin_cluster: BeginCluster,
        log: NodeLog,
        runtime: Runtime,
        pace: Pace,
    ) -> None:
        self._identity = identity
        self._own = own
        self._expect = expect
        self._begins_with = begins_with
        self._proposes = proposes
        self._voter = voter
        self._finder = finder
        self._client = client
        self._new_founding = new_founding
        self._begin_cluster = begin_cluster
        self._log = log
        self._runtime = runtime
        self._pace = pace
        self._rng: Random = runtime.new_rng()
        #: Where a node was found, by its key.
        self._locations: dict[str, Location] = {}
        self._shown = ""
        #: What this node waits for, or does; empty at the beginning.
        self.state = ""
        self._ballots = 0

    async def run(self) -> None:
        """Found the cluster, and return once this node is a member."""
        own = self._own()
        await self._finder.start(Address.parse(own.address))
        try:
            await self._run(own)
        finally:
            await self._finder.stop()
        if (cluster_id := self._identity.cluster_id) is not None:
            self._log.info("this node belongs to a cluster now", cluster=cluster_id)

    async def _run(self, own: Founder) -> None:
        pace = self._pace
        pause_s = pace.shortest_s
        ready_at, heard = None, self._voter.heard
        while self._identity.cluster_id is None:
            before = self._shown
            judgement = await self._look(own)
            founders = self._founders(judgement)
            now = self._runtime.seconds()
            if not founders or not self._proposes:
                ready_at = None
            elif ready_at is None or self._voter.heard > heard:
                # Another founder is active: do not outbid it.
                ready_at, heard = now + self._turn_s(own), self._voter.heard
            if ready_at is not None and now >= ready_at:
                await self._propose(founders)
                ready_at, heard = None, self._voter.heard
            pause_s = (
                pace.shortest_s
                if founders or self._shown != before
                else min(2 * pause_s, pace.longest_s)
            )
            await asyncio.sleep(pause_s * self._rng.uniform(0.5, 1.0))

    def _turn_s(self, own: Founder) -> float:
        """How long to wait before this founder proposes."""
        pace = self._pace
        wait_s = (own.node_id - 1) * pace.turn_s
        if self._ballots or self._voter.heard.round:
            wait_s += self._rng.uniform(0.0, pace.turn_s)
        if self._voter.accepted is not None and self._voter.accepted.ballot.node_id != own.node_id:
            wait_s += pace.finish_s
        return wait_s

    # -- looking for founders ---------------------------------------------------------------------

    async def _look(self, own: Founder) -> Judgement:
        """Find the others, and give the voter the founders if they are all there."""
        locations, problems = await self._finder.locations()
        results = await _all([partial(self._client.introduced, each) for each in locations])
        candidates: list[Candidate] = []
        for location, result in zip(locations, results, strict=True):
            if isinstance(result, QcoreError):
                problems.append(located(str(location), str(result)))
            elif result.founder.public_key != own.public_key:
                candidates.append(result)
                self._locations[result.founder.public_key] = location
        accepted = self._voter.accepted
        accepted_id = "" if accepted is None else accepted.founding.cluster_id
        judgement = judged(own, self._expect, candidates, self._begins_with, accepted_id)
        if judgement.founders:
            self._voter.founders = judgement.founders
        elif judgement.is_conflict:
            self._voter.founders = ()
        self._show(judgement, problems)
        return judgement

    def _founders(self, judgement: Judgement) -> tuple[Founder, ...]:
        """The founders of which this node takes part in a ballot; none if it does not."""
        accepted = self._voter.accepted
        if accepted is None:
            # Also while one of them does not answer any more: a founder that has died must not block the others.
            return self._voter.founders
        founders = accepted.founding.founders
        if judgement.founders and identities_of(judgement.founders) != identities_of(founders):
            self._report(
                "warning",
                "the founders are not those of the founding that this node has accepted",
                cluster=accepted.founding.cluster_id,
                why=difference(identities_of(founders), identities_of(judgement.founders)),
            )
        return founders

    def _show(self, judgement: Judgement, problems: list[str]) -> None:
        if judgement.is_conflict:
            self._report("error", "no cluster begins here", why=judgement.waiting_for)
        elif judgement.waiting_for:
            fields = {"unreachable": "; ".join(problems)[:1000]} if problems else {}
            self._report("info", "waiting for founders", why=judgement.waiting_for, **fields)
        else:
            self._report("info", "all founders are there", founders=self._expect)

    def _report(self, level: str, event: str, **fields: str | int) -> None:
        """Log a line, unless it is the same as the last one."""
        self.state = ": ".join(
            [event, *(str(value) for name, value in fields.items() if name == "why")]
        )
        shown = f"{event} {fields}"
        if shown != self._shown:
            self._shown = shown
            getattr(self._log, level)(event, **fields)

    # -- a ballot ---------------------------------------------------------------------------------

    async def _propose(self, founders: tuple[Founder, ...]) -> None:
        """Try to get a founding decided, and begin its cluster."""
        own_id = self._identity.node_id
        highest = max(self._voter.heard, self._voter.promises.promised)
        ballot = Ballot(min(highest.round + 1, MAX_ROUND), own_id)
        try:
            fresh = self._new_founding(founders)
            proposal = Proposal(ballot, fresh, wants_all=self._ballots < self._pace.patient_rounds)
            self._ballots += 1
            founding = await self._ask_promises(proposal, founders)
            if founding is not None and await self._ask_acceptance(proposal, founding):
                await self._begin(founding)
        except QcoreError as error:
            self._report("error", "this node cannot begin the cluster", why=str(error))

    async def _ask_promises(
        self, proposal: Proposal, founders: tuple[Founder, ...]
    ) -> Founding | None:
        refusal = await self._voter.promise(proposal.ballot, proposal.founders)
        if refusal:
            self._report("info", "this node makes no proposal", why=refusal)
            return None
        proposal.promised(self._identity.node_id, self._voter.accepted)
        client, ballot = self._client, proposal.ballot
        votes = await self._votes(
            founders,
            lambda place, voter: client.promise(place, voter, ballot, proposal.founders),
        )
        for voter, vote in votes.items():
            proposal.promised(voter, acceptance_in(vote))
        return proposal.founding()

    async def _ask_acceptance(self, proposal: Proposal, founding: Founding) -> bool:
        refusal = await self._voter.accept(proposal.ballot, founding)
        if refusal:
            self._report("info", "this node makes no proposal", why=refusal)
            return False
        proposal.accepted(self._identity.node_id)
        client, ballot = self._client, proposal.ballot
        votes = await self._votes(
            founding.founders,
            lambda place, voter: client.accept(place, voter, ballot, founding),
        )
        for voter in votes:
            proposal.accepted(voter)
        return proposal.is_decided

    async def _votes(
        self,
        founders: tuple[Founder, ...],
        ask: Callable[[Location, Founder], Awaitable[FoundingVote]],
    ) -> dict[int, FoundingVote]:
        """The votes that the others have granted, by id."""
        others = [each for each in founders if each.node_id != self._identity.node_id]
        results = await _all([partial(ask, self._location(each), each) for each in others])
        granted: dict[int, FoundingVote] = {}
        refusals: list[str] = []
        for voter, vote in zip(others, results, strict=True):
            if isinstance(vote, QcoreError):
                refusals.append(f"node {voter.node_id}: {vote}")
                continue
            promised = ballot_of(vote.promised)
            if is_absurd(promised, max(self._voter.heard, self._voter.promises.promised)):
                refusals.append(f"node {voter.node_id} is faulty: it is at ballot {promised.round}")
                continue
            self._voter.heard = max(self._voter.heard, promised)
            if vote.granted:
                granted[voter.node_id] = vote
            else:
                refusals.append(f"node {voter.node_id}: {vote.why}")
        if refusals:
            self._report("info", "not all founders agree yet", why="; ".join(refusals)[:1000])
        return granted

    def _location(self, founder: Founder) -> Location:
        found = self._locations.get(founder.public_key)
        return found or Location(Address.parse(founder.address))

    async def _begin(self, founding: Founding) -> None:
        self._report(
            "info",
            "the founders have decided to begin a cluster",
            cluster=founding.cluster_id,
            founders=len(founding.founders),
        )
        error = await self._begin_cluster(founding)
        if error is not None:
            self._report("warning", "the cluster has not begun yet", why=str(error))


async def _all(work: Sequence[Callable[[], Awaitable[T]]]) -> list[T | QcoreError]:
    """The results in this order, with its `QcoreError` in place of each that failed so."""

    async def caught(each: Callable[[], Awaitable[T]]) -> T | QcoreError:
        try:
            return await each()
        except QcoreError as error:
            return error

    return list(await asyncio.gather(*map(caught, work)))
