"""Election safety: at most one leader can be elected in a given term.

Source: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (extended
version), figure 3 and section 5.2. It rests on one vote per server and term, which is rule 2 of "RequestVote RPC" in
figure 2. Votes must survive a restart ("persistent state on all servers").
"""

from __future__ import annotations

from qcore.core.effects import RoleChanged, SaveHardState, Send, VoteGranted
from qcore.core.entry import HardState
from qcore.core.messages import RequestVoteResponse
from qcore.sim.invariants.node_view import NodeView, Report

CHECK = "election_safety"


class _Vote:
    """A vote of one server in one term of its current life.

    A vote counts once its response may have been sent. If the server crashes while the response still waits for the
    vote to be durable, the vote was never cast, and the server may vote again.
    """

    __slots__ = ("candidate", "saved_by", "sent_after")

    def __init__(self) -> None:
        self.candidate: int | None = None
        self.saved_by: int | None = None  # id of the first write that holds the vote
        self.sent_after: int | None = None  # smallest `after` of a response that grants it


class ElectionSafety:
    """Watches leaders and votes of all servers over the whole run."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._leaders: dict[int, tuple[int, int]] = {}  # term -> (node, life)
        self._cast: dict[tuple[int, int], int] = {}  # (node, term) -> candidate, of earlier lives
        self._votes: dict[int, dict[int, _Vote]] = {}  # node -> term -> vote of this life

    def on_start(self, view: NodeView, restored: HardState) -> None:
        """Keep the votes of the previous life that count: those whose response may have been sent."""
        for term, vote in self._votes.pop(view.node, {}).items():
            if vote.candidate is None:
                continue
            durable = restored.term > term or (
                restored.term == term and restored.voted_for == vote.candidate
            )
            left_early = (
                vote.sent_after is not None
                and vote.saved_by is not None
                and vote.sent_after < vote.saved_by
            )
            if durable or left_early:
                self._cast.setdefault((view.node, term), vote.candidate)
        self._votes[view.node] = {}

    def on_role(self, view: NodeView, effect: RoleChanged) -> None:
        if effect.role != "leader":
            return
        me = (view.node, view.life)
        first = self._leaders.setdefault(effect.term, me)
        if first == me:
            return
        if first[0] == view.node:
            note = f"node {view.node} leads term {effect.term} again after a restart"
        else:
            note = f"nodes {first[0]} and {view.node} both lead term {effect.term}"
        self._report(CHECK, view.node, note)

    def on_vote(self, view: NodeView, effect: VoteGranted) -> None:
        vote = self._vote(view.node, effect.term)
        if vote.candidate is None:
            vote.candidate = effect.candidate_id
        earlier = self._cast.get((view.node, effect.term), vote.candidate)
        if earlier != effect.candidate_id or vote.candidate != effect.candidate_id:
            other = earlier if earlier != effect.candidate_id else vote.candidate
            self._report(
                CHECK,
                view.node,
                f"node {view.node} voted for {other} and for {effect.candidate_id} "
                f"in term {effect.term}",
            )

    def on_hard_state(self, view: NodeView, effect: SaveHardState) -> None:
        state = effect.hard_state
        if state.term < view.term:
            self._report(
                CHECK,
                view.node,
                f"node {view.node} goes back from term {view.term} to {state.term}",
            )
        if state.voted_for is not None:
            vote = self._vote(view.node, state.term)
            if vote.saved_by is None:
                vote.saved_by = effect.write_id

    def on_send(self, view: NodeView, effect: Send) -> None:
        message = effect.message
        if type(message) is RequestVoteResponse and message.vote_granted:
            vote = self._vote(view.node, message.term)
            if vote.sent_after is None or effect.after < vote.sent_after:
                vote.sent_after = effect.after

    def _vote(self, node: int, term: int) -> _Vote:
        votes = self._votes.setdefault(node, {})
        vote = votes.get(term)
        if vote is None:
            vote = votes[term] = _Vote()
        return vote
