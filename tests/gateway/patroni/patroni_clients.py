"""The clients of the Patroni drill, each in its own thread: one that follows Patroni, and two at each instance."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

import psycopg
from psycopg import sql

from tests.gateway.patroni.patroni_checks import WRITER
from tests.gateway.patroni.patroni_instance import PatroniInstance
from tests.gateway.patroni.patroni_records import Outcome, PatroniRecords, RowId, Sight, Write

TABLE: Final = sql.SQL(
    "create table if not exists drill_rows"
    " (source text, number bigint, timeline int, primary key (source, number))"
)
#: The timeline on which the server writes at this moment is the first part of the name of its log file.
_INSERT: Final = sql.SQL(
    "insert into drill_rows (source, number, timeline) values"
    " (%s, %s, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int)"
    " returning timeline"
)
_LOOK: Final = sql.SQL("select pg_is_in_recovery(), pg_postmaster_start_time()::text")
#: The server refused the statement before it wrote: it is a replica.
_REFUSALS: Final = ("25006", "55000")
_PAUSE_S: Final = 0.1
#: How long the writer waits for an answer before it asks Patroni for another primary.
_PATIENCE_S: Final = 4.0


class Session:
    """A connection to one instance, and the warnings of the server."""

    def __init__(self, instance: PatroniInstance) -> None:
        self.instance = instance
        self._warnings = 0
        self._connection = psycopg.connect(instance.dsn, autocommit=True)
        self._connection.add_notice_handler(self._warn)

    def insert(self, row: RowId, patience_s: float | None = None) -> Write:
        """Write a row. After `patience_s` the outcome is unknown.

        The client does not cancel the statement then: a server that waits for its standby would commit and answer
        with success, although the standby may lack the row. It shuts its socket down.
        """
        limit = None if patience_s is None else threading.Timer(patience_s, self._shut_down)
        if limit is not None:
            limit.daemon = True
            limit.start()
        self._warnings = 0
        timeline: int | None = None
        began_s = time.monotonic()
        try:
            answer = self._connection.execute(_INSERT, (row.source, row.number)).fetchone()
            outcome = Outcome.UNKNOWN if self._warnings else Outcome.ACKNOWLEDGED
            timeline = None if answer is None or self._warnings else int(answer[0])
        except psycopg.Error as error:
            outcome = Outcome.REFUSED if error.sqlstate in _REFUSALS else Outcome.UNKNOWN
        ended_s = time.monotonic()
        if limit is not None:
            limit.cancel()
        return Write(row, self.instance.name, began_s, ended_s, outcome, timeline)

    def look(self) -> Sight:
        """Ask the instance for its role.

        Raises:
            psycopg.Error: it does not answer.
        """
        began_s = time.monotonic()
        answer = self._connection.execute(_LOOK).fetchone()
        assert answer is not None
        return Sight(self.instance.name, began_s, time.monotonic(), not answer[0], str(answer[1]))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _warn(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        self._warnings += 1

    def _shut_down(self) -> None:
        try:
            with socket.socket(fileno=os.dup(self._connection.fileno())) as handle:
                handle.shutdown(socket.SHUT_RDWR)
        except (OSError, psycopg.Error):
            return  # it is closed already


class DrillClient(threading.Thread):
    """A thread that works until `stopped` is set.

    Args:
        records: where it records what happened.
        stopped: ends it when set.
        name: its name.
    """

    def __init__(self, records: PatroniRecords, stopped: threading.Event, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.records = records
        self.stopped = stopped
        self.failure: Exception | None = None
        self.session: Session | None = None

    def run(self) -> None:
        """Work. A server that does not answer is normal; any other error is kept for the drill."""
        while not self.stopped.is_set():
            try:
                self.step()
            except psycopg.Error:
                self.drop()
            except Exception as error:  # noqa: BLE001  (the drill fails with it)
                self.failure = error
                return
            self.stopped.wait(_PAUSE_S)
        self.drop()

    def step(self) -> None:
        """Do one thing."""
        raise NotImplementedError

    def drop(self) -> None:
        """Close the session."""
        if self.session is not None:
            self.session.close()
            self.session = None


class RowWriter(DrillClient):
    """Writes numbered rows through the primary that Patroni's REST API names."""

    def __init__(
        self, records: PatroniRecords, stopped: threading.Event, instances: list[PatroniInstance]
    ) -> None:
        super().__init__(records, stopped, WRITER)
        self._instances = instances
        self._number = 0

    def step(self) -> None:
        """Find the primary, and write a row."""
        current = self.session.instance if self.session is not None else None
        primary = find_primary(self._instances, current)
        if primary is None:
            return
        if self.session is None or primary is not current:
            self.drop()
            self.session = Session(primary)
        self._number += 1
        write = self.session.insert(RowId(self.name, self._number), _PATIENCE_S)
        self.records.writes.append(write)
        if write.outcome is not Outcome.ACKNOWLEDGED:
            self.drop()


class InstanceObserver(DrillClient):
    """Asks one instance all the time whether it is a primary."""

    def __init__(
        self, records: PatroniRecords, stopped: threading.Event, instance: PatroniInstance
    ) -> None:
        super().__init__(records, stopped, f"observer of {instance.name}")
        self._instance = instance
        self.saw_primary = False

    def step(self) -> None:
        """Look once."""
        if self.session is None:
            self.saw_primary = False
            self.session = Session(self._instance)
        sight = self.session.look()
        self.records.sights.append(sight)
        self.saw_primary = sight.is_primary

    def sees_primary(self) -> bool:
        """Whether the newest look showed a primary."""
        return self.saw_primary

    def drop(self) -> None:
        """Close the session: the instance is not known as primary."""
        self.saw_primary = False
        super().drop()


class InstanceProbe(DrillClient):
    """Writes to one instance while it calls itself primary, whatever Patroni says."""

    def __init__(
        self,
        records: PatroniRecords,
        stopped: threading.Event,
        instance: PatroniInstance,
        saw_primary: Callable[[], bool],
    ) -> None:
        super().__init__(records, stopped, f"probe of {instance.name}")
        self._instance = instance
        self._saw_primary = saw_primary
        self._number = 0

    def step(self) -> None:
        """Write a row if the instance is a primary."""
        if not self._saw_primary():
            return
        if self.session is None:
            self.session = Session(self._instance)
        self._number += 1
        write = self.session.insert(RowId(self.name, self._number))
        self.records.writes.append(write)
        if write.outcome is not Outcome.ACKNOWLEDGED:
            self.drop()


def find_primary(
    instances: list[PatroniInstance], first: PatroniInstance | None = None
) -> PatroniInstance | None:
    """The instance whose Patroni says that it is the primary; None if none does. `first` is asked first."""
    order = sorted(instances, key=lambda instance: instance is not first)
    return next((each for each in order if each.get("/primary")[0] == 200), None)
