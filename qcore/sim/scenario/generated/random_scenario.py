"""Draws whole scenarios: each seed has another cluster, network, load and swarm of faults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random
from typing import Final, TypeVar

from qcore.sim.scenario.frozen_model import FrozenModel
from qcore.sim.scenario.generated.swarm_kinds import SWARM_KINDS
from qcore.sim.scenario.model import Scenario
from qcore.sim.world.random_streams import Streams

#: The name of a random scenario without a base.
RANDOM_NAME: Final = "swarm"
#: The length of the phase of faults, in milliseconds, and that of the quiet phase after it.
_FAULTS_MS: Final = (3000, 9000)
_QUIET_MS: Final = 3000
#: Watchers need more time: one that loses its connection tries again.
_QUIET_OF_WATCHERS_MS: Final = 4000
#: What the clients do, with weights.
_LOADS: Final = {
    "registers": 5,
    "entity": 2,
    "set": 2,
    "append": 2,
    "sessions": 2,
    "watchers": 2,
}
#: Of the loads of whole nodes, so many come from the client library, with one of these programs.
_SHARE_OF_PROGRAMS: Final = 0.5
_PROGRAMS: Final = (
    "qcore.client.programs.register_program:registers",
    "qcore.client.programs.counter_program:counters",
    "qcore.client.programs.counter_program:counters",
)
_NODES: Final = {3: 6, 5: 6, 4: 2, 7: 1, 2: 1}
#: The clocks of a cluster differ by less than its bound by so much, in percent: the swarm lets clocks drift, too.
_REST_OF_DRIFT: Final = 5
_READ_KINDS: Final = ("read", "lease_read", "follower_read", "stale_read")
#: What the swarm leaves out with watchers: a watcher never learns that a wiped node was removed.
_LOSES_A_MEMBER: Final = ("wipe", "bit_rot")
#: What changes the members. It does not go with the loss of a member, nor with members that the base sets.
_CHANGES_MEMBERS: Final = ("shrink",)
#: What needs clients of registers.
_OF_REGISTERS: Final = ("split_with_reads",)

_Values = dict[str, object]
_T = TypeVar("_T")


def random_scenario(base: Scenario, seed: int) -> Scenario:
    """The scenario that a seed draws.

    Args:
        base: what it sets stays as it is; what it leaves out is drawn. `Scenario()` leaves everything out.
        seed: decides every choice.

    Raises:
        ConfigError: what is drawn contradicts the base.
    """
    streams = Streams(seed)
    given = base.model_fields_set
    load = _load_of(base, streams.get("draw/scenario/load"))
    nodes = _weighted(_NODES, streams.get("draw/scenario/nodes"))
    faults_ms = streams.get("draw/scenario/length").randint(*_FAULTS_MS)
    quiet_ms = _QUIET_OF_WATCHERS_MS if load == "watchers" else _QUIET_MS
    changes: _Values = {"may_not_act": True}  # weak faults on a quiet network may hit no message
    if "name" not in given:
        changes["name"] = RANDOM_NAME
    cluster = {"nodes": nodes, **_cluster(load, nodes, streams.get("draw/scenario/cluster"))}
    if "nodes" in base.cluster.model_fields_set:
        cluster.pop("clocks", None)  # of a node that the base may not have
    workload = _workload(load, streams.get("draw/scenario/workload"))
    if load == "watchers":
        end_ms = base.until_ms if "until_ms" in given else faults_ms + quiet_ms
        workload["stop_ms"] = end_ms - _QUIET_OF_WATCHERS_MS / 2
    changes["cluster"] = _left_out(base.cluster, cluster)
    changes["network"] = _left_out(base.network, _network(streams.get("draw/scenario/network")))
    changes["workload"] = _left_out(base.workload, workload)
    changes["expect"] = _left_out(base.expect, _expectations(load, quiet_ms))
    if base.swarm is None and base.random_faults is None:
        swarm = _swarm(base, load, streams.get("draw/scenario/swarm"))
        changes["swarm"] = {**swarm, "quiet_ms": quiet_ms}
    if "until_ms" not in given:
        changes["until_ms"] = faults_ms + quiet_ms
    return base.with_({key: value for key, value in changes.items() if value != {}})


def _left_out(part: FrozenModel, drawn: Mapping[str, object]) -> _Values:
    """Those of the drawn values that a part of the base does not set."""
    return {key: value for key, value in drawn.items() if key not in part.model_fields_set}


def _load_of(base: Scenario, rng: Random) -> str:
    """What the clients do."""
    workload, machine = base.workload, base.cluster.machine
    drawn = _weighted(_LOADS, rng)
    if ":" in machine or workload.program is not None:
        return "custom"
    if workload.kind != "registers":
        return workload.kind
    if workload.sessions:
        return "sessions"
    if "watchers" in workload.model_fields_set:
        return "watchers"
    if machine == "entity":
        return "entity"
    is_free = not workload.model_fields_set and not base.timeline
    # Only client programs run the library of real clients.
    is_whole = base.fidelity == "node" and "machine" not in base.cluster.model_fields_set
    if is_whole and is_free and rng.random() < _SHARE_OF_PROGRAMS:
        return "program"
    named = {"kind", "sessions", "cas_fraction"} & workload.model_fields_set
    if named or "machine" in base.cluster.model_fields_set or base.timeline:
        return "registers"
    return drawn


def _cluster(load: str, nodes: int, rng: Random) -> _Values:
    low = rng.choice((100, 150, 150, 200, 300, 600))
    slowest_ms = rng.choice((1, 5, 15, 40))
    values: _Values = {
        "election_timeout_ms": [low, low * rng.choice((6, 10, 10)) // 5],
        "heartbeat_ms": rng.choice((low // 4, low // 3)),
        "lease_reads": rng.random() < 0.6,
        "pre_vote": rng.random() < 0.7,
        "snapshot_entries": rng.choice((0, 8, 20, 60, 200)),
        "keep_entries": rng.choice((0, 5, 20, 100)),
        "max_inflight_messages": rng.choice((1, 2, 16)),
        "disk": {"latency_ms": [slowest_ms / 5, slowest_ms]},
    }
    if rng.random() < 0.3:
        values["max_snapshot_chunk"] = rng.choice((64, 256, 4096))
    if load == "entity":
        values["machine"] = "entity"
    if rng.random() < 0.3:
        bound = rng.choice((20, 60))
        slow = {"drift_ppm": -(bound - _REST_OF_DRIFT) * 10_000}
        values["max_clock_drift_percent"] = bound
        values["clocks"] = {rng.randint(1, nodes): slow}
    return values


def _network(rng: Random) -> _Values:
    slowest_ms = _log_uniform(rng, 2, 15)
    latency: object = [slowest_ms / 10, slowest_ms]
    if rng.random() < 0.3:
        latency = {"lognormal": [slowest_ms / 2, 0.5], "max_ms": 40}
    values: _Values = {"latency_ms": latency}
    if rng.random() < 0.4:
        values["loss"] = round(rng.uniform(0, 0.03), 4)
    if rng.random() < 0.3:
        values["duplicate"] = round(rng.uniform(0, 0.05), 4)
    return values


def _workload(load: str, rng: Random) -> _Values:
    kinds = [rng.choice(_READ_KINDS) for _ in range(rng.randint(1, 4))]
    common: _Values = {
        "clients": rng.randint(2, 6),
        "rate_per_s": round(_log_uniform(rng, 30, 150)),
        "timeout_ms": rng.choice((400, 900, 1500)),
    }
    if load == "custom":
        return common
    if load == "program":
        return {**common, "program": rng.choice(_PROGRAMS)}
    common["keys"] = rng.choice((1, 2, 4, 8))
    if load == "sessions":
        sessions: _Values = {
            "sessions": True,
            "session_lifetime_ms": rng.choice((1000, 2000, 60_000)),
            "attempt_ms": rng.choice((150, 250, 400)),
            "timeout_ms": 3000,
            "rate_per_s": rng.choice((12, 30)),
        }
        return {**common, **sessions}
    reads: _Values = {
        # A failed cas depends on every write without a response before it: too much for the checker.
        "cas_fraction": 0.0,
        "read_fraction": round(rng.uniform(0.3, 0.8), 2),
        "read_kind": list(dict.fromkeys(kinds)),
        "max_staleness_ms": rng.choice((100, 200, 1000)),
    }
    if load in ("set", "append"):
        del reads["cas_fraction"]
        return {**common, **reads, "kind": load}
    if rng.random() < 0.3:
        reads["key_skew"] = {"hot": 0.5}
    if load == "watchers":
        reads["watchers"] = {"count": rng.randint(2, 10), "move_every_ms": 900, "away_ms": 150}
    return {**common, **reads}


def _expectations(load: str, quiet_ms: int) -> _Values:
    values: _Values = {"converges": True, "leader_at_end": True}
    if load in ("custom", "program"):
        return values
    if load == "sessions":
        values["exactly_once"] = True
    if load == "watchers":
        values["watchers_complete"] = True
    if load != "watchers":  # their clients stop earlier
        values["live_within_ms"] = quiet_ms
    return {**values, "acknowledged_writes_present": True}


def _swarm(base: Scenario, load: str, rng: Random) -> _Values:
    values: _Values = {
        "from_ms": rng.choice((100, 500, 1000)),
        "probability": rng.choice((0.1, 0.2, 0.4)),
        "intensity": round(_log_uniform(rng, 0.5, 2), 2),
    }
    changes_members = rng.random() < 0.5 and not base.timeline and load != "watchers"
    left_out = set(_LOSES_A_MEMBER if changes_members or load == "watchers" else ())
    left_out.update(() if changes_members else _CHANGES_MEMBERS)
    left_out.update(() if load == "registers" else _OF_REGISTERS)
    return {**values, "kinds": [kind for kind in SWARM_KINDS if kind not in left_out]}


def _weighted(weights: Mapping[_T, int], rng: Random) -> _T:
    return rng.choices(list(weights), list(weights.values()))[0]


def _log_uniform(rng: Random, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))
