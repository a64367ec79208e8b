"""What views show adds up, who lives is listed, who is dead is not, and a name has one holder at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final  # Any: records are JSON

from qcore.client.programs.program_context import ProgramRecord
from tests.recipes.chaos_runs import QUIET_FROM_S
from tests.recipes.checks.config_check import number_of, time_of

#: How long an instance may stay listed after the end of its lease while the cluster is well, seconds.
SLACK_S: Final = 3.0
#: The name that all clients want.
SHARED: Final = "shared"


def registry_violations(
    records: Sequence[ProgramRecord], ttl_s: float = 1.5, healed_at: float = QUIET_FROM_S
) -> list[str]:
    """What contradicts the guarantee of `ServiceRegistry`.

    Args:
        records: `change`, `synced`, `read`, `alive`, `took` and `shared`.
        ttl_s: the time to live of the leases.
        healed_at: from then on the cluster has a leader. Before that its clock may stand still, and then the dead
            stay listed. A record `healed` takes its place.
    """
    return [
        *_replay_violations(records),
        *_living_violations(records),
        *_dead_violations(records, ttl_s + SLACK_S, healed_at),
        *_shared_violations(records),
        *(
            f"client {each.client}: the view shows {each.details['instances']}, a read {each.details['read']}"
            for each in records
            if each.what == "read" and each.details["instances"] != each.details["read"]
        ),
    ]


def _replay_violations(records: Sequence[ProgramRecord]) -> list[str]:
    """Changes of an iterator that do not add up, and steps back."""
    violations: list[str] = []
    states: dict[str, dict[str, int]] = defaultdict(dict)
    last: dict[str, int] = {}
    for each in records:
        if each.what != "change":
            continue
        watcher, revision = str(each.details["watcher"]), number_of(each, "revision")
        state = states[watcher]
        at = last.get(watcher, -1)
        if revision < at:  # one transaction may change several instances
            violations.append(f"{watcher}: after revision {at} came {revision}")
        last[watcher] = revision
        for name, of in _pairs(each, "removed"):
            if state.pop(name, None) != of:
                violations.append(f"{watcher}: {name} of {of} was removed, and was not there")
        for name, of in _pairs(each, "added"):
            if name in state:
                violations.append(f"{watcher}: {name} was added, and was there already")
            state[name] = of
        for name, of in _pairs(each, "changed"):
            if state.get(name, of) >= of:
                violations.append(f"{watcher}: {name} changed from {state.get(name)} to {of}")
            state[name] = of
        if sorted(state.items()) != _pairs(each, "instances"):
            violations.append(f"{watcher}: the changes until {revision} do not add up")
    return violations


def _living_violations(records: Sequence[ProgramRecord]) -> list[str]:
    """An instance that was registered before and after a `sync`, without a loss, and was not listed by it."""
    alive: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for each in records:
        if each.what == "alive":
            alive[str(each.details["life"])].append((time_of(each, "at"), number_of(each, "lost")))
    violations: list[str] = []
    for each in records:
        if each.what != "synced":
            continue
        began, ended = time_of(each, "began"), time_of(each, "ended")
        names = [name for name, _ in _pairs(each, "instances")]
        for life, times in alive.items():
            before = [lost for at, lost in times if at < began]
            after = [lost for at, lost in times if at > ended]
            if before and after and before[-1] == after[0] and life not in names:
                violations.append(f"client {each.client} synced at {began} without {life}")
    return violations


def _dead_violations(
    records: Sequence[ProgramRecord], patience_s: float, healed_at: float
) -> list[str]:
    """An instance that is listed long after its last sign of life, and the last time that it was registered again."""
    last: dict[str, float] = {}
    for each in records:
        if each.what in ("alive", "synced"):
            at = time_of(each, "at" if each.what == "alive" else "ended")
            last[str(each.details["life"])] = at
        elif each.what == "change":
            # It may have registered itself again, and have died before it knew.
            for name, _ in (*_pairs(each, "added"), *_pairs(each, "changed")):
                if name in last:
                    last[name] = max(last[name], time_of(each, "at"))
        elif each.what == "healed":
            healed_at = each.time_s
    violations: list[str] = []
    for each in records:
        if each.what == "synced":
            began = time_of(each, "began")
            for name, _ in _pairs(each, "instances"):
                if name in last and began > max(last[name], healed_at) + patience_s:
                    violations.append(
                        f"client {each.client} synced at {began} with {name}, dead since {last[name]}"
                    )
    return violations


def _shared_violations(records: Sequence[ProgramRecord]) -> list[str]:
    """Two holders of the shared name at a time."""
    relevant = [each for each in records if each.what in ("took", "shared")]
    holder: object = None
    violations: list[str] = []
    for each in sorted(relevant, key=lambda each: time_of(each, "at")):
        if each.what == "took":
            holder = each.details["holder"]
        elif each.details["holder"] != holder:
            violations.append(
                f"client {each.client} had the name at {time_of(each, 'at')}, which {holder} had taken"
            )
    return violations


def _pairs(record: ProgramRecord, name: str) -> list[tuple[str, int]]:
    """Names and revisions in a record."""
    found: Any = record.details[name]
    return [(str(each[0]), int(each[1])) for each in found]
