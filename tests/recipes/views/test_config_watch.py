"""`ConfigWatch` with a cluster of real nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

import pytest
from pydantic import AfterValidator, BaseModel, Field, TypeAdapter

from qcore.errors import ConfigError
from qcore.kv import KeyValue
from qcore.recipes.recipe_errors import NotAcquired, NotAvailable
from qcore.recipes.views.config_content import ConfigChange
from qcore.recipes.views.config_watch import ConfigChanges, ConfigWatch
from qcore.recipes.views.key_changes_feed import MAX_WAITING
from qcore.testing import LocalCluster
from tests.transport.support.endpoints import async_test

pytestmark = pytest.mark.process


class Flags(BaseModel):
    """A configuration with a required field."""

    level: int
    colour: str = "blue"
    ratio: float = Field(0.0, alias="Ratio")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three nodes. Every test must leave them running."""
    with LocalCluster(machine="kv") as started:
        yield started


@asynccontextmanager
async def keys_of(cluster: LocalCluster) -> AsyncIterator[KeyValue]:
    """The keys of a cluster, none at first."""
    async with cluster.client() as client:
        kv = KeyValue(client)
        await kv.delete(prefix="")
        yield kv


async def take(changes: ConfigChanges[Flags], number: int) -> list[ConfigChange[Flags]]:
    """The next changes."""
    async with asyncio.timeout(60):
        return [await anext(changes) for _ in range(number)]


@async_test
async def test_a_config_is_set_seen_and_deleted(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv, ConfigWatch(kv, "config/flags", Flags) as config:
        with pytest.raises(NotAvailable, match="does not exist"):
            _ = config.value
        changes = config.changes()
        first = await config.set(Flags(level=1))
        assert await config.wait_for(lambda flags: flags.level == 1) == Flags(level=1)
        assert config.revision == first
        assert config.is_served
        second = await config.set(Flags(level=2, Ratio=0.5))
        third = await config.delete()
        assert await take(changes, 3) == [
            ConfigChange(Flags(level=1), None, first, False, None, False),
            ConfigChange(Flags(level=2, Ratio=0.5), Flags(level=1), second, False, None, False),
            ConfigChange(None, Flags(level=2, Ratio=0.5), third, True, None, False),
        ]
        with pytest.raises(NotAvailable, match="does not exist"):
            await config.sync()
        assert config.age_s() < 60
    with pytest.raises(StopAsyncIteration):
        await anext(changes)
    await config.close()
    with pytest.raises(ConfigError, match="make another one"):
        await config.open()


@async_test
async def test_invalid_content_leaves_the_old_value(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv:
        await kv.put("c", '{"colour": "red"}')
        async with ConfigWatch(kv, "c", Flags) as config:
            with pytest.raises(NotAvailable, match=r"does not fit the model(.|\n)*level"):
                _ = config.value
            with pytest.raises(NotAvailable, match="does not fit"):
                await config.update(lambda flags: flags)
            changes = config.changes()
            called: list[ConfigChange[Flags]] = []
            problems: list[object] = []
            asyncio.get_running_loop().set_exception_handler(
                lambda _, context: problems.append(context["message"])
            )
            config.on_change(lambda change: called[change.revision])
            end = config.on_change(called.append)
            await config.set(Flags(level=7))
            revision = await kv.put("c", "{level: 8")
            good, bad = await take(changes, 2)
            assert good.invalid is None
            assert (bad.value, bad.previous, bad.deleted) == (good.value, good.value, False)
            assert bad.invalid is not None
            assert (bad.invalid.content, bad.invalid.revision) == (b"{level: 8", revision)
            assert "Invalid JSON" in bad.invalid.error
            assert (config.invalid, config.value) == (bad.invalid, Flags(level=7))
            end()
            await kv.put("c", '{"level": 9}')
            assert (await config.wait_for(lambda flags: flags.level > 8)).level == 9
            assert config.invalid is None
            assert called == [good, bad]
            assert problems == ["config c: a callback has failed"] * 3


@async_test
async def test_an_update_keeps_content_that_does_not_fit(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv:
        await kv.put("c", '{"level": 7}')
        async with ConfigWatch(kv, "c", Flags, default=Flags(level=1)) as config:
            newer = '{"level": "new-style"}'
            await kv.put("c", newer)
            called: list[Flags] = []

            def note(flags: Flags) -> Flags:
                called.append(flags)
                return Flags(level=flags.level + 1)

            with pytest.raises(NotAvailable, match=r"nothing was written.*use set\(\)"):
                await config.update(note)
            found = await kv.get("c")
            assert found is not None
            assert found.value == newer.encode()
            assert called == []
            await kv.delete("c")
            assert await config.update(note) == Flags(level=2)


@async_test
async def test_a_value_that_does_not_fit_is_not_written(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv:
        config = ConfigWatch(kv, "c", Flags, default=Flags(level=0))
        with pytest.raises(ConfigError, match="does not fit the model"):
            await config.set("seven")  # type: ignore[arg-type] # as a program without types does
        numbers = ConfigWatch(kv, "n", float)
        with pytest.raises(ConfigError, match="no watcher could read it"):
            await numbers.set(float("nan"))
        for size in (1 << 20, 2 << 20):
            with pytest.raises(ConfigError, match=r"JSON has \d+ bytes.*several keys"):
                await config.set(Flags(level=1, colour="x" * size))
        with pytest.raises(ConfigError, match=r"config c: the value has no JSON"):
            await ConfigWatch(kv, "c", str).set("\udcff")
        wrong: tuple[object, ...] = (5, {"level": "x"}, {"colour": "red"})
        for default in wrong:
            with pytest.raises(ConfigError, match="config c: the default does not fit the model"):
                ConfigWatch(kv, "c", Flags, default=default)
        for no_int in ("5", True):
            with pytest.raises(ConfigError, match="config n: the default does not fit the model"):
                ConfigWatch(kv, "n", int, default=no_int)
        with pytest.raises(ConfigError, match="key is empty"):
            ConfigWatch(kv, "", Flags)
        with pytest.raises(ConfigError, match="not open"):
            _ = config.value
        assert [found async for found in kv.items()] == []


def must_be_even(number: int) -> int:
    """A validator that fails in a way that pydantic does not expect."""
    if number % 2:
        raise KeyError("odd")
    return number


@async_test
async def test_any_type_of_pydantic_will_do(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv:
        adapter: TypeAdapter[int] = TypeAdapter(Annotated[int, AfterValidator(must_be_even)])
        async with ConfigWatch(kv, "n", adapter, default=100) as config:
            assert config.value == 100
            await kv.put("n", "3")
            await kv.put("n", "4")
            assert await config.wait_for(lambda number: number == 4) == 4
            changes = config.changes()
            await kv.put("n", "5")
            change = await anext(changes)
            assert change.invalid is not None
            assert "KeyError: 'odd'" in change.invalid.error
            assert await config.delete() > 0
            assert await config.wait_for(lambda number: number == 100) == 100
            assert await config.update(lambda number: number + 2) == 102
            with pytest.raises(NotAcquired, match=r"no such value within 0\.05 s"):
                await config.wait_for(lambda number: number == 7, timeout_s=0.05)

            def late(_: int) -> int:
                raise TimeoutError("of the program")

            with pytest.raises(TimeoutError, match="of the program"):
                await config.wait_for(late)
            with pytest.raises(TimeoutError, match="of the program"):
                await config.update(late)


@async_test
async def test_updates_of_many_programs_all_count(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv:

        async def count() -> None:
            config = ConfigWatch(kv, "n", int, default=0)
            for _ in range(5):
                await config.update(lambda number: number + 1)

        async with ConfigWatch(kv, "n", int, default=0) as config:
            changes = config.changes()
            await asyncio.gather(*(count() for _ in range(4)))
            assert await config.sync() == 20
            seen = [(await anext(changes)).value for _ in range(20)]
            assert seen == [*range(1, 21)]


@async_test
async def test_a_slow_iterator_learns_that_it_skipped(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv, ConfigWatch(kv, "n", int, default=0) as config:
        slow, quick = config.changes(), config.changes()
        last = MAX_WAITING + 20  # 9 times 116

        async def take_all() -> list[int | None]:
            return [(await anext(quick)).value for _ in range(last)]

        taking = asyncio.create_task(take_all())
        for first in range(0, last, 116):
            numbers = range(first, first + 116)
            await asyncio.gather(*(kv.put("n", str(number)) for number in numbers))
        await config.sync(timeout_s=60)
        values = await taking
        assert sorted(value or 0 for value in values) == [*range(last)]
        taken = [await anext(slow) for _ in range(MAX_WAITING)]
        assert [each.value for each in taken[:-1]] == values[: MAX_WAITING - 1]
        assert not any(each.skipped for each in taken[:-1])
        assert (taken[-1].previous, taken[-1].value) == (values[MAX_WAITING - 2], config.value)
        assert taken[-1].skipped


@async_test
async def test_a_watch_survives_the_loss_of_its_nodes(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv, ConfigWatch(kv, "n", int, default=0) as config:
        changes = config.changes()
        number = 0
        for node_id in cluster.ids:
            await asyncio.to_thread(cluster.kill, node_id)
            for _ in range(3):
                number += 1
                await config.set(number)
            await asyncio.to_thread(cluster.restart, node_id)
        assert await config.sync(timeout_s=60) == number
        taken = [await anext(changes) for _ in range(number)]
        assert [each.value for each in taken] == [*range(1, number + 1)]
        assert not any(each.skipped for each in taken)


@async_test
async def test_a_watch_syncs_by_itself(cluster: LocalCluster) -> None:
    async with keys_of(cluster) as kv:
        with pytest.raises(ConfigError, match="sync_every_s"):
            ConfigWatch(kv, "n", int, sync_every_s=0)
        async with ConfigWatch(kv, "n", int, default=0, sync_every_s=0.05) as config:
            loop = asyncio.get_running_loop()
            began = loop.time()
            while config.age_s() > (loop.time() - began) / 2:  # noqa: ASYNC110 - it asks the cluster
                await asyncio.sleep(0.01)
        assert config.failure is None


@async_test
async def test_a_closed_client_ends_the_watch(cluster: LocalCluster) -> None:
    problems: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    async with cluster.client() as client:
        config = ConfigWatch(KeyValue(client), "closed", int, default=0)
        await config.open()
        changes = config.changes()
    async with asyncio.timeout(60):
        with pytest.raises(ConfigError, match="client is closed"):
            await anext(changes)
    assert config.value == 0
    assert isinstance(config.failure, ConfigError)
    assert problems == []
    assert not config.is_served
    await config.close()
