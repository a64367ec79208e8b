"""After the faults: all nodes are up and no message is lost. The replicas must soon serve again and agree."""

from __future__ import annotations

import json
from dataclasses import replace

from qcore.replica.sessions.session_table import open_session_payload
from tests.core.support.safety_checks import require
from tests.driver.replicas import ReplicaDriver
from tests.replica.support.client_sessions import ClientSession, opened
from tests.replica.support.faulty_cluster import TIMEOUT_MS, World

#: Elections may split, but not forever.
PATIENCE = 60


def recover(world: World) -> None:
    """Heal the world, and require a leader, a commit, reads, one increment, and one state hash.

    Raises:
        AssertionError: the cluster does not recover.
        SafetyViolation: the replies to clients contradict what was committed.
    """
    _heal(world)
    for _ in range(PATIENCE):
        world.run(200)
        if _one_leader(world) is not None and _serves(world):
            break
    else:
        raise AssertionError([driver.up.core.status() for driver in world.alive()])
    world.run(TIMEOUT_MS + 100)  # longer than the deadline of every request
    for _ in range(PATIENCE):
        world.run(50)
        if _agreed(world):
            break
    else:
        raise AssertionError(
            [(driver.up.core.status(), driver.up.applied_index) for driver in world.alive()]
        )
    world.checker.finish()


def _heal(world: World) -> None:
    world.heal()
    for driver in world.drivers.values():
        driver.stalled = False
        driver.clock.speed = 1000
        if driver.config.raft.priority == 0:
            # If only nodes of priority 0 hold the newest entries, they keep the others from leading.
            raft = replace(driver.config.raft, priority=1)
            driver.config = replace(driver.config, raft=raft)
            if driver.is_up:
                driver.persist()
                driver.crash()
        if not driver.is_up:
            driver.start()
    if all(driver.up.core.last_log_index == 0 for driver in world.alive()):
        # The first attempt was lost in a crash before another node got it: the operator tries again.
        world.safety.known_entries.clear()
        world.initialise()


def _one_leader(world: World) -> ReplicaDriver | None:
    """The leader of the newest term, once no membership change is pending."""
    leaders = world.leading()
    if not leaders:
        return None
    leader, core = leaders[-1], leaders[-1].up.core
    terms = [world.drivers[member].up.core.term for member in core.membership.members()]
    settled = core.membership_index <= core.commit_index and not core.membership.is_joint
    return leader if settled and max(terms) <= core.term else None


def _serves(world: World) -> bool:
    """One round of requests at every member. An election may delay it, so the caller tries again."""
    leader = _one_leader(world)
    assert leader is not None
    checker = world.checker
    known = opened(checker, [])
    asked = {"write": 1, "session": 2, "read": 1, "lease_read": 1, "follower_read": 1}
    before = {kind: checker.counts.get(kind, 0) for kind in asked}
    for member in leader.up.core.membership.members():
        driver = world.drivers[member]
        for kind in ("read", "lease_read", "follower_read"):
            world.request(driver, kind, json.dumps({"op": "get", "key": "x"}))
        world.settle()
    last = {"op": "set", "key": "x", "value": -world.now}
    world.request(leader, "write", json.dumps(last))
    world.request(leader, "session", open_session_payload(60_000))
    world.settle()
    world.run(200)
    new = [session for session in opened(checker, known) if session not in known]
    leader_now = _one_leader(world)
    if not new or leader_now is None:
        return False
    for driver in world.alive()[:2]:  # the second is a retry
        if leader_now.up.core.membership.is_voter(driver.node_id):
            world.request(driver, "session", ClientSession(new[-1].session_id).increment(1, 0))
    world.request(leader_now, "session", ClientSession(new[-1].session_id).increment(1, 0))
    world.run(200)
    return all(checker.counts.get(kind, 0) >= before[kind] + n for kind, n in asked.items())


def _agreed(world: World) -> bool:
    """Every member has applied the whole log.

    Raises:
        SafetyViolation: their states differ although they have.
    """
    leader = _one_leader(world)
    if leader is None:
        return False
    members = [world.drivers[member].up for member in leader.up.core.membership.members()]
    if any(replica.applied_index < leader.up.core.last_log_index for replica in members):
        return False
    hashes = {replica.machine.state_hash() for replica in members}
    require(len(hashes) == 1, f"one state hash: there are {hashes}")
    return True
