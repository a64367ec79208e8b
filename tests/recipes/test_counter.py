"""`Counter` with real nodes, and in the simulator under chaos."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from qcore.client.programs.program_context import ProgramRecord
from qcore.errors import ConfigError, OutcomeUnknown
from qcore.kv import Condition, KeyValue, Put, TxnResult
from qcore.kv.kv_client import TextClient
from qcore.kv.txn_parts import TxnOperation
from qcore.recipes import Counter, NotAcquired
from qcore.testing import LocalCluster
from tests.recipes.chaos_runs import chaos_records, chaos_violations, progress_violations
from tests.recipes.checks.counter_check import counter_violations
from tests.recipes.planted.counter_mistakes import COUNTER_MISTAKES, LATE_ANSWERS
from tests.recipes.programs.counter_program import counter_program, counter_program_of
from tests.recipes.real_keys import empty_keys
from tests.transport.support.endpoints import async_test

SEEDS = (1, 2, 3)
VALUE = "counter/a//value"


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One node. Every test must leave it running."""
    with LocalCluster(size=1, machine="kv") as started:
        yield started


@pytest.mark.process
@async_test
async def test_it_counts_in_both_directions(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        counter = Counter(kv, "a")
        assert await counter.get() == 0
        assert [await counter.add(), await counter.add(5), await counter.add(-7)] == [1, 6, -1]
        assert await counter.add(10**40) == 10**40 - 1
        await counter.set(3)
        assert await counter.get() == await Counter(kv, "a").get() == 3
        found = await kv.get(VALUE)
        assert found is not None
        assert found.text == "3"


@pytest.mark.process
@async_test
async def test_many_programs_give_each_number_once(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        counters = [Counter(kv, "a") for _ in range(4)]
        adds = [counter.add() for counter in counters for _ in range(10)]
        assert sorted(await asyncio.gather(*adds)) == [*range(1, 41)]


@pytest.mark.process
@async_test
async def test_what_is_no_integer_is_an_error(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv:
        counter = Counter(kv, "a")
        for value in (b"", b"1.5", b"1_000", b"x", b"\xff", b"9" * 5000):
            await kv.put(VALUE, value)
            for call in (counter.get, counter.add):
                with pytest.raises(ConfigError, match=r"the key counter/a//value holds b'"):
                    await call()
        await kv.put(VALUE, "1")
        with pytest.raises(ConfigError, match=r"counter a: this add: Exceeds the limit"):
            await counter.add(10**4299 * 10)
        for wrong in (1.5, "2", True, None):
            for change, what in ((counter.add, "amount"), (counter.set, "value")):
                with pytest.raises(ConfigError, match=rf"counter a: {what}: .* is no integer"):
                    await change(wrong)  # type: ignore[arg-type] # as a program without types does
        assert await counter.get() == 1
        with pytest.raises(ConfigError, match="counter: the name '' is empty"):
            Counter(kv, "")


@pytest.mark.process
@async_test
async def test_a_lost_answer_is_found_in_the_history(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv, cluster.client() as client:
        for is_sent in (True, False):
            for others in (0, 1, 3):
                lossy = LosesAnswers(client, is_sent=is_sent, others=others)
                await kv.delete(prefix="counter/")
                assert await Counter(kv, "a").add(5) == 5
                # What is sent takes effect before the others, and what is not after them.
                assert await Counter(lossy, "a").add() == (6 if is_sent else 6 + 10 * others)
                assert await Counter(kv, "a").get() == 6 + 10 * others


class LosesAnswers(KeyValue):
    """Loses the answer to the first transaction, or the transaction; others add 10 before that is noticed."""

    def __init__(self, client: TextClient, *, is_sent: bool, others: int) -> None:
        super().__init__(client)
        self._is_sent = is_sent
        self._others = others
        self._is_first = True

    async def txn(
        self,
        conditions: Sequence[Condition],
        then: Sequence[TxnOperation] = (),
        otherwise: Sequence[TxnOperation] = (),
    ) -> TxnResult:
        if not self._is_first:
            return await super().txn(conditions, then, otherwise)
        self._is_first = False
        if self._is_sent:
            await super().txn(conditions, then, otherwise)
        for _ in range(self._others):
            await Counter(self, "a").add(10)
        raise OutcomeUnknown("the answer was lost")


@pytest.mark.process
@async_test
async def test_a_late_transaction_does_not_count_twice(cluster: LocalCluster) -> None:
    """The first attempt takes effect between the read that follows it and the second attempt."""
    async with empty_keys(cluster) as kv, cluster.client() as client:
        assert await Counter(kv, "a").add(5) == 5
        assert await Counter(ArrivesLate(client), "a").add() == 6
        assert await Counter(kv, "a").get() == 6


class ArrivesLate(KeyValue):
    """The first transaction ends without an answer, and takes effect just before the second one."""

    def __init__(self, client: TextClient) -> None:
        super().__init__(client)
        self._late: list[tuple[Sequence[Condition], Sequence[TxnOperation]]] = []
        self._is_first = True

    async def txn(
        self,
        conditions: Sequence[Condition],
        then: Sequence[TxnOperation] = (),
        otherwise: Sequence[TxnOperation] = (),
    ) -> TxnResult:
        if self._is_first:
            self._is_first = False
            self._late.append((conditions, then))
            raise OutcomeUnknown("no answer")
        while self._late:
            await super().txn(*self._late.pop())
        return await super().txn(conditions, then, otherwise)


@pytest.mark.process
@async_test
async def test_what_cannot_be_known_is_an_error(cluster: LocalCluster) -> None:
    async with empty_keys(cluster) as kv, cluster.client() as client:
        compacts = Compacts(client)
        with pytest.raises(
            OutcomeUnknown, match="whether this add took effect cannot be found out any"
        ):
            await Counter(compacts, "a").add()
        await kv.delete(prefix="counter/")
        assert await Counter(kv, "a").add() == 1
        with pytest.raises(OutcomeUnknown, match="the key was deleted, or a backup was restored"):
            await Counter(Deletes(client, is_sent=True, others=0), "a").add()
        silent = Silent(client)
        with pytest.raises(OutcomeUnknown, match=r"could not be found out within 0\.2 s"):
            await Counter(silent, "a").add(timeout_s=0.2)
        counter = Counter(kv, "a")
        async with counter._turn:
            with pytest.raises(
                NotAcquired, match=r"counter a: this add was not possible within 0\.1 s"
            ):
                await counter.add(timeout_s=0.1)
        await kv.put("counter/b//value", "1")
        assert await Counter(kv, "b").add() == 2


class Compacts(LosesAnswers):
    """The history is compacted before the answer is missed."""

    def __init__(self, client: TextClient) -> None:
        super().__init__(client, is_sent=True, others=0)

    async def txn(
        self,
        conditions: Sequence[Condition],
        then: Sequence[TxnOperation] = (),
        otherwise: Sequence[TxnOperation] = (),
    ) -> TxnResult:
        try:
            return await super().txn(conditions, then, otherwise)
        except OutcomeUnknown:
            await self.txn([], [Put("x", "")])
            await self.compact(await self.put("x", ""))
            raise


class Deletes(LosesAnswers):
    """The counter is deleted before the answer is missed."""

    async def txn(
        self,
        conditions: Sequence[Condition],
        then: Sequence[TxnOperation] = (),
        otherwise: Sequence[TxnOperation] = (),
    ) -> TxnResult:
        try:
            return await super().txn(conditions, then, otherwise)
        except OutcomeUnknown:
            await self.delete(prefix="counter/")
            raise


class Silent(KeyValue):
    """No transaction has an answer."""

    async def txn(
        self,
        conditions: Sequence[Condition],
        then: Sequence[TxnOperation] = (),
        otherwise: Sequence[TxnOperation] = (),
    ) -> TxnResult:
        await super().txn(conditions, then, otherwise)
        await asyncio.Event().wait()
        raise AssertionError("nothing sets it")


@pytest.mark.parametrize("seed", SEEDS)
def test_it_survives_chaos(seed: int) -> None:
    records, wrong = chaos_records(counter_program, seed)
    wrong += counter_violations(records) + progress_violations(records, "added", 20)
    wrong += progress_violations(records, "read", 10)
    assert not wrong


@pytest.mark.parametrize(("mistake", "scenario"), COUNTER_MISTAKES)
def test_a_planted_mistake_is_found(mistake: type[Counter], scenario: str) -> None:
    program = counter_program_of(lambda kv: mistake(kv, "shared"))
    for seed in range(1, 21):
        if counter_violations(chaos_records(program, seed, scenario)[0]):
            return
    pytest.fail("20 seeds did not find it")


def test_the_counter_without_a_mistake_is_not_accused() -> None:
    for seed in range(1, 7):
        assert not chaos_violations(counter_program, counter_violations, seed, LATE_ANSWERS)


def record(what: str, at: float, value: int = 0, began: float = 0) -> ProgramRecord:
    return ProgramRecord(1, at, what, {"at": at, "value": value, "began": began})


def test_the_check_finds_each_kind_of_violation() -> None:
    adding = [record("adding", at) for at in (1.0, 2.0, 3.0)]
    added = [record("added", at, number, at - 0.5) for number, at in enumerate((1.5, 2.5), 1)]
    good = [*adding, *added, record("read", 2.7, 2, 2.6)]
    assert counter_violations(good) == []
    assert counter_violations([*good, record("read", 4.0, 3, 3.5)]) == []
    for wrong, text in (
        (record("added", 3.5, 2, 3.0), "2 additions gave 2"),
        (record("read", 4.0, 4, 3.5), "3 had begun"),
        (record("read", 2.9, 3, 2.8), "and 2 had begun"),
        (record("read", 4.0, 1, 3.5), "2 additions had returned before"),
        (record("read", 4.0, 1, 3.5), "after client 1 had seen 2 at 2.500000"),
    ):
        assert text in "\n".join(counter_violations([*good, wrong])), (wrong, text)
    nothing = [record("added nothing", 3.5), record("read", 4.0, 3, 3.8)]
    assert "1 were without effect" in "\n".join(counter_violations([*good, *nothing]))
