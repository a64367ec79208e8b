"""`run_patroni_drill`: Patroni and PostgreSQL under faults. See `python -m tests.gateway.patroni --help`."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import psycopg

from qcore.processes import ProcessGuard
from tests.gateway.patroni.patroni_clients import (
    TABLE,
    DrillClient,
    InstanceObserver,
    InstanceProbe,
    RowWriter,
)
from tests.gateway.patroni.patroni_faults import FAULTS, PATIENCE_S, PatroniScene
from tests.gateway.patroni.patroni_instance import PatroniInstance
from tests.gateway.patroni.patroni_records import DrillFault, PatroniRecords, RowId
from tests.gateway.patroni.patroni_stores import make_store

#: The shortest times that Patroni takes: loop_wait + 2 * retry_timeout may not be longer than ttl.
TIMES: Final = {"ttl": 20, "loop_wait": 2, "retry_timeout": 9}


def drill_directory() -> Path:
    """A new directory that an unprivileged user may enter. Its path is short enough for a Unix socket."""
    directory = Path(tempfile.mkdtemp(prefix="qcore-patroni-"))
    directory.chmod(0o755)
    return directory


def run_patroni_drill(
    backend: str,
    directory: Path,
    *,
    rounds: int = 2,
    kinds: Sequence[str] = tuple(FAULTS),
    times: dict[str, int] = TIMES,
    synchronous: bool = True,
) -> PatroniRecords:
    """Run three instances, write all the time, make each fault once a round, and return what happened.

    Args:
        backend: `qcore` or `etcd`.
        directory: an empty directory, which all users may enter, for the data and the logs.
        rounds: how often each fault is made.
        kinds: the faults of a round, in their order.
        times: Patroni's `ttl`, `loop_wait` and `retry_timeout`, seconds.
        synchronous: see `PatroniInstance`.

    Raises:
        ProcessError: something did not happen in time, as a failover or a rejoin.
    """
    guard = ProcessGuard()
    store = make_store(backend, directory, guard)
    instances: list[PatroniInstance] = []
    records = PatroniRecords()
    clients: list[DrillClient] = []
    stopped = threading.Event()
    scene = PatroniScene(store, instances, clients, records, synchronous)
    try:
        store.start()
        for number in (1, 2, 3):
            instances.append(
                PatroniInstance(
                    f"pg{number}", directory, store.hosts, guard, times, synchronous=synchronous
                )
            )
            instances[-1].spawn()
        with psycopg.connect(scene.primary().dsn, autocommit=True) as connection:
            connection.execute(TABLE)
        clients += _clients(records, stopped, instances)
        for client in clients:
            client.start()
        scene.wait_rows(time.monotonic())
        for kind in [*kinds] * rounds:
            _make(kind, scene)
        scene.wait_rows(time.monotonic())
        _finish(scene, stopped)
        return records
    finally:
        stopped.set()
        for instance in instances:
            instance.resume()
        for instance in instances:
            instance.kill()
        store.close()
        for client in clients:
            client.join()
        guard.close()


def _clients(
    records: PatroniRecords, stopped: threading.Event, instances: list[PatroniInstance]
) -> list[DrillClient]:
    clients: list[DrillClient] = [RowWriter(records, stopped, instances)]
    for instance in instances:
        observer = InstanceObserver(records, stopped, instance)
        probe = InstanceProbe(records, stopped, instance, observer.sees_primary)
        clients += [observer, probe]
    return clients


def _make(kind: str, scene: PatroniScene) -> None:
    before = scene.primary().name
    began_s = time.monotonic()
    target = FAULTS[kind](scene)
    after = scene.primary().name
    healed_s = time.monotonic()
    scene.records.faults.append(DrillFault(kind, target, began_s, healed_s, before, after))
    scene.wait_rows(healed_s)


def _finish(scene: PatroniScene, stopped: threading.Event) -> None:
    """End the clients, wait until the replicas have replayed all, and read the rows of each instance."""
    scene.wait_healthy()
    stopped.set()
    for client in scene.clients:
        client.join(PATIENCE_S)
        assert not client.is_alive(), f"{client.name} does not end"
    primary = scene.primary()
    with psycopg.connect(primary.dsn, autocommit=True) as connection:
        answer = connection.execute("select pg_current_wal_lsn()::text").fetchone()
        assert answer is not None
    for instance in scene.instances:
        with psycopg.connect(instance.dsn, autocommit=True) as connection:
            if instance is not primary:
                scene.wait(partial(_replayed, connection, str(answer[0])), "the replay")
            rows = connection.execute("select source, number from drill_rows").fetchall()
        scene.records.rows[instance.name] = frozenset(RowId(row[0], row[1]) for row in rows)
    scene.records.members = scene.members()


def _replayed(connection: psycopg.Connection[tuple[object, ...]], position: str) -> bool:
    answer = connection.execute(
        "select pg_last_wal_replay_lsn() >= %s::pg_lsn", (position,)
    ).fetchone()
    return answer is not None and bool(answer[0])
