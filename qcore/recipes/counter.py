"""`Counter`: an integer that many programs change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qcore.errors import ConfigError, OutcomeUnknown, QcoreError, WatchCompacted
from qcore.kv.txn_parts import Condition, Put, Range
from qcore.recipes.checked_arguments import check_integer
from qcore.recipes.key_reads import integer_of, page_of_txn, prefix_of
from qcore.recipes.recipe_errors import NotAcquired, is_temporary
from qcore.recipes.retries import PAUSE_S, RandomPauses, last_error_text
from qcore.time_limit import time_limit

if TYPE_CHECKING:
    from qcore.kv.key_values import Page
    from qcore.kv.kv_client import KeyValue


class Counter:
    """An integer that many programs change. It is 0 at first.

        counter = Counter(kv, "orders")
        number = await counter.add()

    **Guarantee.** Each `add` and `set` that returns took effect once, at one moment between its call and its return.
    So all results of `add(1)` differ, as long as no program calls `set`. A call that raises `OutcomeUnknown` took
    effect once, or not at all, or will do so later. One that raises another error has no effect. One that is cancelled
    may have taken effect.

    Each change is a transaction on the condition that the counter was not changed since it was read. If the answer
    to one does not arrive, the history of the cluster says whether it took effect, because the transaction also writes
    a mark. So nothing is counted twice, unless the client was made with `exactly_once=False`. Many programs that change
    one counter at the same time make each other repeat their attempts, with random pauses. Tasks that share one
    `Counter` take turns.

    - Disconnect, leader change: the attempt is repeated until the time is over.
    - Pause of the process: without effect.
    - Expiry: there is no lease.
    - Clock jump: without effect, because no clock is read.
    - End of the process: as if it was cancelled.

    Args:
        kv: the keys of the cluster.
        name: names the counter. Its value is the key `counter/NAME//value`, as decimal digits, as many as Python
            converts (4,300, see `sys.set_int_max_str_digits`). Delete the keys below `counter/NAME//` only when no
            program changes the counter.

    Raises:
        ConfigError: the name cannot be used.
    """

    def __init__(self, kv: KeyValue, name: str) -> None:
        self._title = f"counter {name}"
        self._prefix = prefix_of("counter", name)
        self.name = name
        self._kv = kv
        self._key = f"{self._prefix}value"
        self._mark_key = f"{self._prefix}mark"
        self._rng = kv.runtime.new_rng()
        self._turn = asyncio.Lock()

    async def get(self) -> int:
        """The value now.

        Raises:
            ConfigError: the key of the counter holds no integer.
            QcoreError: the cluster did not answer in time.
        """
        return _state_of(await self._kv.range(Range(self._key))).value

    async def add(self, amount: int = 1, *, timeout_s: float | None = None) -> int:
        """Add to the counter, and return the value after that.

        Args:
            amount: what to add. It may be negative.
            timeout_s: how long to try, seconds; None for any time.

        Raises:
            ConfigError: the amount is no integer, the key of the counter holds none, or the result has too many digits
                for Python.
            NotAcquired: the time was over first. It has no effect.
            OutcomeUnknown: before it was known whether it took effect, the time was over, the history was compacted,
                or the key was deleted.
            QcoreError: the cluster rejects a request.
        """
        check_integer(self._title, "amount", amount)
        return await self._change("this add", lambda value: value + amount, timeout_s)

    async def set(self, value: int, *, timeout_s: float | None = None) -> None:
        """Set the counter. It raises as `add`."""
        check_integer(self._title, "value", value)
        await self._change("this set", lambda _: value, timeout_s)

    # -- how it changes --------------------------------------------------------------------------

    async def _change(self, what: str, new: Callable[[int], int], timeout_s: float | None) -> int:
        change = _Change(what, new, f"{self._rng.getrandbits(128):032x}".encode())
        last_error: QcoreError | None = None
        pauses = RandomPauses(self._rng)
        try:
            async with time_limit(timeout_s), self._turn:
                state: _State | None = None
                while True:
                    try:
                        if state is None:
                            state = _state_of(await self._kv.range(Range(self._key)))
                            if await self._has_taken_effect(change, state):
                                return change.result
                        state = await self._attempt(change, state)
                        if state is None:
                            return change.result
                        await pauses.next()
                    except QcoreError as error:
                        if change.is_forgotten or not is_temporary(error):
                            if last_error is not None and change.doubt is not None:
                                raise OutcomeUnknown(
                                    f"{self._title}: whether {what} took effect cannot be found out: {error}"
                                ) from error
                            raise
                        last_error, state = error, None
                        await asyncio.sleep(PAUSE_S)
        except TimeoutError:
            why = last_error_text(last_error)
            if change.doubt is not None:
                raise OutcomeUnknown(
                    f"{self._title}: whether {what} took effect could not be found out within {timeout_s:g} s{why}"
                ) from None
            raise NotAcquired(
                f"{self._title}: {what} was not possible within {timeout_s:g} s{why}"
            ) from None

    async def _attempt(self, change: _Change, state: _State) -> _State | None:
        """Change the counter if it is still as it was read.

        Returns:
            None if it took effect; else the newer state.
        """
        change.result = change.new(state.value)
        try:
            text = str(change.result)
        except ValueError as error:
            raise ConfigError(f"{self._title}: {change.what}: {error}") from None
        is_repeated = change.doubt is not None
        if not is_repeated:
            change.doubt = state  # until there is an answer
        done = await self._kv.txn(
            [Condition.number("mod_revision", self._key, "=", state.mod_revision)],
            [Put(self._mark_key, change.mark), Put(self._key, text)],
            [Range(self._key)],
        )
        if done.succeeded:
            return None
        newer = _state_of(page_of_txn(done, 0))
        if is_repeated and await self._has_taken_effect(change, newer):
            return None
        change.doubt = None
        return newer

    async def _has_taken_effect(self, change: _Change, state: _State) -> bool:
        """Whether the attempt whose answer did not arrive took effect.

        If not, either it never will; or the counter is as it was, and the next attempt has the same condition, so only
        one of both can take effect.
        """
        doubt = change.doubt
        if doubt is None or doubt.mod_revision == state.mod_revision:
            return False
        if state.mod_revision < doubt.mod_revision:
            raise self._forgotten(change, "the key was deleted, or a backup was restored")
        # Only the first change after the state of that attempt can be the attempt. It writes the mark before the value.
        watch = self._kv.watch(prefix=self._prefix, from_revision=doubt.revision + 1)
        try:
            async with watch as changes:
                first = (await changes.next_change()).kv
        except WatchCompacted as error:
            raise self._forgotten(change, str(error)) from error
        change.doubt = None
        return first.key == self._mark_key.encode() and first.value == change.mark

    def _forgotten(self, change: _Change, why: str) -> OutcomeUnknown:
        change.is_forgotten = True
        return OutcomeUnknown(
            f"{self._title}: whether {change.what} took effect cannot be found out any more: {why}"
        )


@dataclass(slots=True)
class _State:
    """A counter as it was read.

    Attributes:
        value: its value.
        mod_revision: the revision of its last change; 0 if its key does not exist.
        revision: the newest revision when it was read.
    """

    value: int
    mod_revision: int
    revision: int


@dataclass(slots=True)
class _Change:
    """A change of a counter.

    Attributes:
        what: names it in errors.
        new: makes the new value from the old one.
        mark: what its transaction writes beside the value, and no other does.
        result: the new value of the last attempt.
        doubt: the state that the first attempt has seen of which no answer is known. There may be several with the
            same condition.
        is_forgotten: whether the history that says whether it took effect is compacted.
    """

    what: str
    new: Callable[[int], int]
    mark: bytes
    result: int = 0
    doubt: _State | None = None
    is_forgotten: bool = False


def _state_of(page: Page) -> _State:
    if not page.kvs:
        return _State(0, 0, page.revision)
    return _State(integer_of(page.kvs[0]), page.kvs[0].mod_revision, page.revision)
