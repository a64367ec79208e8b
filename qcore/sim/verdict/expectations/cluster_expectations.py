"""Judges the expectations about the cluster itself: commits, disks, sessions, admin requests, members and snapshots."""

from __future__ import annotations

from collections.abc import Iterator

from qcore.sim.scenario.values import microseconds
from qcore.sim.verdict.expectations.client_expectations import judge_timeline_operation
from qcore.sim.verdict.expectations.run_facts import RunFacts, count
from qcore.sim.verdict.result import Expectation
from qcore.sim.verdict.service_at_end import members_at_end
from qcore.sim.workload.workload import SessionWorkload


def judge_commits(run: RunFacts) -> Iterator[Expectation]:
    expect, record = run.expect, run.record
    for low, high in expect.no_commits_between or ():
        inside = sum(microseconds(low) < time <= microseconds(high) for time in record.commit_times)
        name = "no_commits_between"
        yield Expectation(name, not inside, f"none in {low:g} to {high:g} ms", f"{inside}")
    if expect.commits_in_minority is not None:
        yield count("commits_in_minority", expect.commits_in_minority, record.minority_commits)
    if expect.truncated_entries is not None:
        yield count("truncated_entries", expect.truncated_entries, record.truncated)
    if expect.unsynced_writes_lost is not None:
        lost = sum(node.disk.writes_lost for node in run.world.nodes.values())
        yield count("unsynced_writes_lost", expect.unsynced_writes_lost, lost)
    if expect.unsynced_writes_survived is not None:
        kept = sum(node.disk.writes_survived for node in run.world.nodes.values())
        yield count("unsynced_writes_survived", expect.unsynced_writes_survived, kept)
    nodes = run.world.nodes.values()
    if expect.stopped_by_disk is not None:
        stops = sum(node.disk_reactions.stops for node in nodes)
        yield count("stopped_by_disk", expect.stopped_by_disk, stops)
    if expect.starts_refused is not None:
        refusals = sum(node.disk_reactions.starts_refused for node in nodes)
        yield count("starts_refused", expect.starts_refused, refusals)
    if expect.sessions_expired is not None:
        loads = [load for load in run.world.workloads if isinstance(load, SessionWorkload)]
        expired = sum(load.expired for load in loads)
        yield count("sessions_expired", expect.sessions_expired, expired)


def judge_outcomes_and_members(run: RunFacts) -> Iterator[Expectation]:
    for op in run.world.admin_actions.ops:
        if op.action.outcome is not None:
            seen = f"{op.outcome or op.last} after {op.attempts} attempts, last at node {op.node}"
            wanted = " or ".join(op.action.outcome)
            yield Expectation(op.name, op.has_expected_outcome, wanted, seen)
    for asked in run.world.operation_actions.operations:
        yield from judge_timeline_operation(asked)
    if run.expect.final_voters is not None:
        yield _final_voters(run, run.expect.final_voters)
    if run.expect.final_rules is not None:
        yield _final_rules(run, run.expect.final_rules)
    if run.expect.snapshots_installed is not None:
        installed = sum(node.snapshots_installed for node in run.world.nodes.values())
        yield count("snapshots_installed", run.expect.snapshots_installed, installed)


def _final_voters(run: RunFacts, wanted: tuple[int, ...]) -> Expectation:
    """Expect that every running member uses the same configuration, with these voters, and that it is not joint."""
    found: dict[str, list[int]] = {}
    for node in members_at_end(run.world):
        replica = run.world.nodes[node].replica
        if replica is not None:
            now = replica.core.membership
            joint = f" joint with {list(now.voters_outgoing)}" if now.is_joint else ""
            found.setdefault(f"{list(now.voters)}{joint}", []).append(node)
    seen = "; ".join(f"{voters} on {', '.join(map(str, on))}" for voters, on in found.items())
    return Expectation(
        "final_voters",
        list(found) == [str(list(wanted))],
        str(list(wanted)),
        seen or "no node runs",
    )


def _final_rules(run: RunFacts, wanted: int) -> Expectation:
    """Expect that every running member applies entries by these rules."""
    found: dict[int, list[int]] = {}
    for node in members_at_end(run.world):
        replica = run.world.nodes[node].replica
        if replica is not None:
            found.setdefault(replica.versions.active.rules, []).append(node)
    seen = "; ".join(f"{rules} on {', '.join(map(str, on))}" for rules, on in found.items())
    return Expectation("final_rules", list(found) == [wanted], str(wanted), seen or "no node runs")
