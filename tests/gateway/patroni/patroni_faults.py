"""The faults of the Patroni drill. Each makes a fault, waits until it has had its effect, and ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from qcore.processes import ProcessError, wait_for
from tests.gateway.patroni.patroni_checks import ill_members
from tests.gateway.patroni.patroni_clients import DrillClient, InstanceObserver, find_primary
from tests.gateway.patroni.patroni_instance import PatroniInstance
from tests.gateway.patroni.patroni_records import Member, Outcome, PatroniRecords
from tests.gateway.patroni.patroni_stores import Store

#: How long anything may take: Patroni waits for its time to live, and may clone an instance. No result depends on it.
PATIENCE_S: Final = 180.0
#: How many rows the writer gets acknowledged while a fault of the store lasts, and how long it lasts at least: several
#: of Patroni's loops, so that its lease is kept alive in spite of the fault.
_ROWS: Final = 20
_STORE_FAULT_S: Final = 6.0


@dataclass(frozen=True, slots=True)
class PatroniScene:
    """What faults can strike.

    Attributes:
        store: what keeps Patroni's state.
        instances: PostgreSQL under Patroni.
        clients: the threads that write and look.
        records: what happened until now.
        synchronous: whether a standby must have each commit.
    """

    store: Store
    instances: list[PatroniInstance]
    clients: list[DrillClient]
    records: PatroniRecords
    synchronous: bool

    def wait(self, probe: Callable[[], bool], what: str) -> None:
        """Wait for something.

        Raises:
            ProcessError: it did not happen in time, or a client failed. The message holds the ends of the logs.
        """

        def look() -> bool:
            for client in self.clients:
                if client.failure is not None:
                    raise ProcessError(f"{client.name} failed: {client.failure!r}")
            return probe()

        try:
            wait_for(look, PATIENCE_S, what)
        except ProcessError as error:
            logs = [f"{each.name}:\n{each.log_tail()}" for each in self.instances]
            raise ProcessError("\n".join([str(error), *logs])) from None

    def primary(self) -> PatroniInstance:
        """The primary by Patroni's REST API, once all is healthy."""
        self.wait_healthy()
        primary = find_primary(self.instances)
        assert primary is not None, "a healthy cluster has a primary"
        return primary

    def wait_healthy(self) -> None:
        """Wait until there is one leader, a synchronous standby, and all others stream on the leader's timeline."""
        self.wait(lambda: not self.ill_members(), "a healthy cluster")
        for instance in self.instances:
            instance.guard_server()

    def ill_members(self) -> list[str]:
        """What is wrong with the members; empty if they are healthy."""
        return ill_members(self.members(), len(self.instances), synchronous=self.synchronous)

    def members(self) -> list[Member]:
        """The members as the primary's Patroni shows them; empty if there is no primary."""
        primary = find_primary(self.instances)
        shown: list[dict[str, Any]] = (
            primary.get("/cluster")[1].get("members", []) if primary else []
        )
        return [
            Member(each["name"], each["role"], each["state"], int(each.get("timeline", 0)))
            for each in shown
        ]

    def wait_rows(self, since_s: float, besides: str = "", rows: int = _ROWS) -> None:
        """Wait until the writer sent so many rows since a time that were acknowledged, by another instance."""

        def count() -> bool:
            recent = [
                write for write in self.records.writes[-10 * rows :] if write.began_s > since_s
            ]
            good = [
                write
                for write in recent
                if write.outcome is Outcome.ACKNOWLEDGED
                and write.instance != besides
                and write.row.source == self.clients[0].name
            ]
            return len(good) >= rows

        self.wait(count, f"{rows} rows that are not of {besides or 'no instance'}")


def kill_primary(scene: PatroniScene) -> str:
    """Kill the primary and its Patroni; start Patroni again once another one is primary."""
    target = scene.primary()
    target.kill()
    scene.wait_rows(time.monotonic(), target.name)
    target.spawn()
    return target.name


def kill_primary_and_store_leader(scene: PatroniScene) -> str:
    """Kill the primary, and the leader of the store while the others wait for the end of its lease."""
    target = scene.primary()
    target.kill()
    killed_s = time.monotonic()
    scene.store.kill_leader()
    scene.wait_rows(killed_s, target.name)
    scene.store.mend()
    target.spawn()
    return target.name


def pause_primary(scene: PatroniScene) -> str:
    """Stop the primary and its Patroni until another one is primary; then both go on."""
    target = scene.primary()
    target.pause(server=True)
    scene.wait_rows(time.monotonic(), target.name)
    target.resume()
    return target.name


def pause_patroni(scene: PatroniScene) -> str:
    """Stop the primary's Patroni until another instance is primary. The old primary goes on meanwhile."""
    target = scene.primary()
    target.pause(server=False)
    scene.wait_rows(time.monotonic(), target.name)
    target.resume()
    return target.name


def kill_store_leader(scene: PatroniScene) -> str:
    """Kill the leader of the store; start it again later."""
    began_s = time.monotonic()
    return _during(scene, began_s, scene.store.kill_leader())


def pause_store_leader(scene: PatroniScene) -> str:
    """Stop the leader of the store for longer than an election."""
    began_s = time.monotonic()
    return _during(scene, began_s, scene.store.pause_leader())


def pause_store_majority(scene: PatroniScene) -> str:
    """Stop two of the store's three processes until there is no primary, as none can renew its lease; and go on."""
    target = scene.store.pause_majority()
    scene.wait(
        lambda: (
            not any(
                client.sees_primary()
                for client in scene.clients
                if isinstance(client, InstanceObserver)
            )
        ),
        "the end of the primary, which cannot renew its lease",
    )
    time.sleep(_STORE_FAULT_S)
    scene.store.mend()
    return target


def kill_gateway(scene: PatroniScene) -> str:
    """Kill a server to which Patroni connects; start it again later."""
    began_s = time.monotonic()
    return _during(scene, began_s, scene.store.kill_front())


def _during(scene: PatroniScene, began_s: float, target: str) -> str:
    scene.wait_rows(began_s + _STORE_FAULT_S)
    scene.store.mend()
    return target


FAULTS: Final[dict[str, Callable[[PatroniScene], str]]] = {
    fault.__name__: fault
    for fault in (
        kill_store_leader,
        kill_primary,
        pause_store_leader,
        kill_gateway,
        pause_primary,
        kill_primary_and_store_leader,
        pause_patroni,
        pause_store_majority,
    )
}
