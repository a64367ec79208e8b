"""`AddressWatch`: a leader gives members that have moved their new addresses.

A member that was started with another address for others than the configuration has for it announces that address. Its
key proves that it is the member. The leader then asks the node at the new address for the same proof, because it must
reach the member there. It trusts its own settings about its own address: behind a NAT it may not reach itself. Members
that moved together get their addresses in one change, so they may have exchanged them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from qcore.core.raft import RaftCore
from qcore.node.addresses.member_addresses import moved_member_problem, moved_members_problem
from qcore.node.observability.logs import NodeLog
from qcore.node.peers.member_moves import MemberMoves
from qcore.node.runtime.periodic import PeriodicTask
from qcore.node.runtime.submit_event import SubmitEvent
from qcore.replica.admin.membership_requests import not_ready
from qcore.replica.events import Reply
from qcore.runtime.interface import Runtime

_CHECK_INTERVAL_S: Final = 0.5
#: How long the members have to answer, and the pause after one did not.
_ASK_S: Final = 3.0
_RETRY_S: Final = 5.0
#: How long a change may take, ms.
_CHANGE_MS: Final = 10_000


class AddressWatch:
    """Looks twice a second whether a member has moved.

    Args:
        core: this node's core.
        own: the address that this node announces; empty for none.
        announced_by: returns the address that a member has announced.
        moves: checks the new addresses.
        submit_event: gives the replica the change.
        log: gets a line for each move.
        runtime: clocks.
    """

    def __init__(
        self,
        core: RaftCore,
        own: str,
        announced_by: Callable[[int], str | None],
        moves: MemberMoves,
        submit_event: SubmitEvent,
        log: NodeLog,
        runtime: Runtime,
    ) -> None:
        self._core = core
        self._own = own
        self._announced_by = announced_by
        self._moves = moves
        self._submit_event = submit_event
        self._log = log
        self._runtime = runtime
        self._timer = PeriodicTask(_CHECK_INTERVAL_S, self.check)
        self._task: asyncio.Task[None] | None = None
        self._changing = False
        self._retry_at = 0.0
        self._logged: dict[int, str] = {}

    def start(self) -> None:
        """Begin to look, on the running event loop."""
        self._timer.start()

    def stop(self) -> None:
        """Look no more."""
        self._timer.stop()
        if self._task is not None:
            self._task.cancel()

    def check(self) -> None:
        """Begin to move the members that have moved, if this node leads and no other change is in progress."""
        core = self._core
        if core.role != "leader" or self._changing or self._task is not None:
            return
        moved = self._moved()
        if not moved or core.membership.is_joint or not_ready(core) is not None:
            return
        if self._runtime.seconds() < self._retry_at:
            return
        self._task = asyncio.get_running_loop().create_task(self._move(moved), name="qcore moves")
        self._task.add_done_callback(self._asked)

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("moving members failed because of a bug", why=repr(error))

    def _moved(self) -> dict[int, str]:
        """The new addresses of members, by id. Only members whose key the configuration has move by themselves."""
        membership = self._core.membership
        found: dict[int, str] = {}
        for member, _key in membership.keys:
            is_own = member == self._core.node_id
            address = self._own if is_own else self._announced_by(member)
            if address and not self._moves.is_done(member, address):
                found[member] = address
        return found

    async def _move(self, moved: Mapping[int, str]) -> None:
        others = {each: moved[each] for each in moved if each != self._core.node_id}
        problems = await self._moves.unreached(others, _ASK_S) if others else {}
        reached = {each: address for each, address in moved.items() if each not in problems}
        known = dict(self._core.membership.addresses)
        if moved_members_problem(reached, known) is not None:
            # One wrong address must not keep the others from moving.
            for each, address in [*reached.items()]:
                if (problem := moved_member_problem(each, address, known)) is not None:
                    problems[each] = problem
                    del reached[each]
                else:
                    known[each] = address
        self._report(moved, problems)
        if problems:
            self._retry_at = self._runtime.seconds() + _RETRY_S
        if not reached or self._core.role != "leader" or not_ready(self._core) is not None:
            return
        self._changing = True

        def done(reply: Reply) -> None:
            self._changing = False
            if reply.error is not None:
                self._log.warning("members could not be moved", why=str(reply.error))
                self._retry_at = self._runtime.seconds() + _RETRY_S
            else:
                for each, address in reached.items():
                    self._log.info("member moved", peer=each, addr=address)

        self._submit_event(lambda number: self._moves.event(number, reached, _CHANGE_MS), done)

    def _report(self, moved: Mapping[int, str], problems: Mapping[int, str]) -> None:
        before = self._logged
        self._logged = {each: f"{moved[each]}: {why}" for each, why in problems.items()}
        for each, text in self._logged.items():
            if before.get(each) != text:
                self._log.warning(
                    "a member announces an address that it does not get", peer=each, why=text
                )
