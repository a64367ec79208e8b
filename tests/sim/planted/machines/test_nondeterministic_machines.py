"""Each fault of `nondeterministic_machines.py` is caught, whatever the seed, and its cause is named."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Literal

import pytest

from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import StateMachine
from qcore.machines.register import RegisterMachine
from qcore.sim import RequestSource, RunResult, Scenario, run_scenario
from qcore.sim.determinism.circumstances.shadows import Shadows
from qcore.sim.determinism.compared_trails import Located, Side, first_difference, locate
from qcore.sim.determinism.copies import Moment, Plan, Trail, run_plan
from qcore.sim.determinism.likely_cause import find_cause
from qcore.sim.determinism.run_history import AppliedCommand, History
from tests.sim.planted.machines import nondeterministic_machines as planted
from tests.sim.planted.machines.honest_machines import HONEST
from tests.sim.planted.machines.nondeterministic_machines import HonestMachine
from tests.sim.support.scenario_texts import failures, scenario, seen

FILE = Path(planted.__file__)
PLACE = rf" at {FILE.name}:\d+"

#: Fault -> the cause that the report names, as a regular expression.
SET = rf"the order of a set, which depends on PYTHONHASHSEED \(iteration over a set{PLACE}"
SHARED = "state outside the object, which all machines in a process share: the commands changed "
NOT_IN_SNAPSHOT = "later commands or queries depend on something that the snapshot does not have"
CAUSES: dict[type[HonestMachine], str] = {
    planted.SetInResult: SET,
    planted.SetOfNumbersInResult: SET,
    planted.SetInSnapshot: SET,
    planted.PopOfSet: rf"the order of a set, which depends on PYTHONHASHSEED \(pop of a set{PLACE}",
    planted.DictFromSet: SET,
    planted.FloatsFromSet: SET,
    planted.BucketByHash: rf"the hash of a text, which depends on PYTHONHASHSEED \(hash{PLACE}\)",
    planted.OrderById: rf"the identity of objects \(id{PLACE}\)",
    planted.AddressInResult: "the text of an object without __repr__, which contains its address",
    planted.ClockInResult: rf"the clock \(time.time{PLACE}\)",
    planted.ClockInState: rf"the clock \(time.time{PLACE}\)",
    planted.DayInState: rf"the clock \(date.today{PLACE}\)",
    planted.HourInResult: rf"the clock \(datetime.now{PLACE}\)",
    planted.LateClock: rf"the clock \(time.time{PLACE}\)",
    planted.ExpiryByMonotonicClock: rf"the clock \(time.monotonic{PLACE}",
    planted.RandomInResult: rf"random numbers \(random.random{PLACE}\)",
    planted.RandomByName: rf"random numbers \(random.random{PLACE}\)",
    planted.UnseededGenerator: rf"random numbers \(random.Random\(\){PLACE}\)",
    planted.UuidInState: rf"random numbers \(uuid.uuid4{PLACE}",
    planted.BytesFromSystem: rf"random numbers \(os.urandom{PLACE}\)",
    planted.EnvironmentVariable: rf"an environment variable \(os.environ\['HOME'\]{PLACE}\)",
    planted.RaisesElsewhere: rf"an environment variable \(os.environ\['HOME'\]{PLACE}\)",
    planted.LocalTime: "the time zone of the computer",
    planted.WorkingDirectory: "the working directory",
    planted.ProcessId: rf"the process or its computer \(os.getpid{PLACE}, socket.gethostname{PLACE}",
    planted.ModuleCounter: SHARED + f"the module variable _numbers of {FILE.name}",
    planted.ModuleDict: SHARED + f"the module variable _seen of {FILE.name}",
    planted.ClassList: SHARED + f"the class attribute ClassList.log of {FILE.name}",
    planted.MutableDefault: SHARED + "the default argument seen of MutableDefault.result",
    planted.CachedFunction: NOT_IN_SNAPSHOT,
    planted.MergingRestore: "`restore` does not replace the whole state",
    planted.PlainMergingRestore: "`restore` does not replace the whole state",
    planted.GradualMergingRestore: "`restore` does not replace the whole state",
    planted.ClockInChanges: rf"the clock \(time.time{PLACE}\)",
    planted.SetInChanges: SET,
    planted.OldChanges: NOT_IN_SNAPSHOT,
    planted.ForgettingPickle: "`snapshot` leaves something out, or `restore` does not restore it",
    planted.ForgettingRestore: "`snapshot` leaves something out, or `restore` does not restore it",
    planted.ChunkReader: "`restore` depends on the borders of the chunks",
    planted.LazySnapshot: "an iterable that reads the state when it is consumed",
    planted.CountsApplies: NOT_IN_SNAPSHOT,
    planted.CachedResults: NOT_IN_SNAPSHOT,
    planted.WritingQuery: "`query` writes",
    planted.StaleQuery: "an earlier query: `query` keeps an answer",
}


def naming(
    machine: type[HonestMachine], *, expect: str = "{safe: true}", faults: str = "[]"
) -> Scenario:
    """A scenario that names the machine by its file, as a user's scenario does."""
    file = sys.modules[machine.__module__].__file__
    writes = [{"write": json.dumps({"key": k, "value": v})} for v, k in enumerate("abcaa", start=1)]
    requests = [*writes, {"read": "a"}, {"read": "b"}]
    return scenario(
        faults,
        expect,
        cluster=f"{{nodes: 3, machine: '{file}:{machine.__name__}'}}",
        workload=f"{{clients: 3, rate_per_s: 40, requests: {json.dumps(requests)}}}",
        until_ms=2500,
    )


def reports(result: RunResult) -> list[str]:
    return [each.note for each in result.violations if each.check == "determinism"]


def test_the_table_has_every_planted_machine() -> None:
    kinds = [each for each in vars(planted).values() if isinstance(each, type)]
    faulty = {each for each in kinds if issubclass(each, HonestMachine)} - {HonestMachine}
    assert faulty == set(CAUSES)


@pytest.mark.parametrize("machine", CAUSES, ids=lambda machine: machine.__name__)
def test_a_planted_fault_is_caught_and_explained(machine: type[HonestMachine]) -> None:
    result = run_scenario(naming(machine), 1)
    (note,) = reports(result)
    _, _, cause = note.partition("likely cause: ")
    assert re.search(CAUSES[machine], cause), note
    assert not result.ok
    assert not [e for e in result.expectations if e.name == "machine_is_deterministic" and e.ok]


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 12))
def test_a_planted_fault_is_caught_with_every_seed(seed: int) -> None:
    blamed = [
        machine.__name__ for machine in HONEST if reports(run_scenario(naming(machine), seed))
    ]
    assert not blamed
    missed = [
        machine.__name__ for machine in CAUSES if not reports(run_scenario(naming(machine), seed))
    ]
    assert not missed


def test_the_report_names_index_command_results_and_state() -> None:
    (note,) = reports(run_scenario(naming(planted.ClockInState), 1))
    assert re.match(
        r"""at index 4, the command '{"key": "b", "value": 2}' \(time_us \d+, clock_us \d+, version 1\): the state """
        r"hash and snapshot differ; the copy in this process has the state [0-9a-f]{16}, a copy in the second process "
        r"has [0-9a-f]{16}; difference of the states, in the same order: \$\['b at'\]: [\d.]+ against [\d.]+; likely",
        note,
    ), note
    (note,) = reports(run_scenario(naming(planted.CountsApplies), 1))
    assert re.search(
        r"after a restore from the snapshot of index \d+: the result differs; the copy that applied everything "
        r"answered '\d', a copy restored from it .*answered '\d'; attributes that differ: "
        r"applied \(\d+ against \d+\).*; "
        r"everything was equal through index \d+; ",
        note,
    ), note


@pytest.mark.parametrize("machine", [planted.SetInResult, planted.ModuleDict])
def test_the_report_is_the_same_in_each_run(machine: type[HonestMachine]) -> None:
    """Also if the machine draws on a real clock in the run itself, and though the module keeps its variables."""
    assert (
        len(
            {*reports(run_scenario(naming(machine), 1)), *reports(run_scenario(naming(machine), 1))}
        )
        == 1
    )


def test_bisection_finds_the_first_difference_exactly() -> None:
    """If the states are compared only at the end of a long run, too."""
    commands = [
        AppliedCommand(json.dumps({"key": "a", "value": at}), at + 1, 0, 1, 0, 4)
        for at in range(700)
    ]
    history = History(commands)
    with Shadows([planted]) as shadows:

        def run(plan: Plan) -> Trail:
            return run_plan(lambda: planted.LateClock(432), history, plan, shadows)

        plan = Plan(699, marks=[-1, 699])
        one, other = Side("one", run, plan), Side("other", run, replace(plan, variant={"clock": 1}))
        found = first_difference(run(one.plan), run(other.plan))
        assert found is not None
        assert (found.position, found.kind, found.last_equal) == (699, "state hash", -1)
        located = locate(found, one, other)
    assert commands[located.position].index == 432
    assert located.kinds == ("state hash", "snapshot")


def test_an_address_that_repeats_by_chance_is_explained() -> None:
    """Memory that was freed is often used again, so a copy that runs again may show the same address."""

    def moment(address: str) -> Moment:
        return Moment(f"<Account object at {address}>", [], [], "", "")

    def run(plan: Plan) -> Trail:
        return Trail(window={0: moment("0x7f52" if "identity" in plan.variant else "0x7f9f")})

    located = Located(0, ("result",), moment("0x7f52"), moment("0x7f9f"))
    assert find_cause(located, Side("one", run, Plan(0)), None) == CAUSES[planted.AddressInResult]


def test_expected_nondeterminism_lets_the_run_pass() -> None:
    result = run_scenario(naming(planted.ClockInResult, expect="{violation: determinism}"), 1)
    assert result.ok, failures(result)
    assert len(reports(result)) == 1


# -- honest machines ------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", HONEST, ids=lambda machine: machine.__name__)
def test_an_honest_machine_is_not_blamed(machine: type[HonestMachine]) -> None:
    faults = "[{at_ms: 800, crash: leader, for_ms: 300}, {at_ms: 1600, isolate: follower_1, for_ms: 300}]"
    result = run_scenario(naming(machine, faults=faults), 1)
    assert result.ok, (failures(result), result.violations)
    done = result.metrics["determinism"]
    assert isinstance(done, dict)
    assert done["second_process"], done
    assert done["commands"]
    assert done["restores"]
    assert (
        "on 17 copies with 14 restores, no restore in the run"
        in seen(result)["machine_is_deterministic"]
    )


def set_or_get(rng: Random) -> tuple[Literal["write", "read"], str]:
    if rng.random() < 0.3:
        return "read", json.dumps({"op": "get", "key": rng.choice("abc")})
    return "write", json.dumps({"op": "set", "key": rng.choice("abc"), "value": rng.random()})


_FIELD = {
    "field_type": "Value",
    "default_value": "",
    "rank": 0,
    "read_permission": None,
    "write_permission": None,
}
_TYPE = {"entity_type": "Thing", "inherit": None, "fields": {"Value": {"String": _FIELD}}}


def schema_or_entity(rng: Random) -> tuple[Literal["write", "read"], str]:
    """Requests to the entity store: its one type, new entities, deletions, lists."""
    entity = f"Thing${rng.randrange(3, 60)}"
    new = {"entity_type": "Thing", "parent_id": None, "name": rng.choice("abcd")}
    if rng.random() < 0.4:
        read = rng.choice(
            [
                {"FindEntities": {"entity_type": "Thing", "parent_id": None}},
                {"EntityExists": {"entity_id": entity}},
            ]
        )
        return "read", json.dumps(read)
    write = rng.choice(
        [
            {"SetSchema": {"entity_schema": _TYPE}},
            {"CreateEntity": new},
            {"CreateEntity": new},
            {"DeleteEntity": {"entity_id": entity}},
        ]
    )
    return "write", json.dumps(write)


@pytest.mark.parametrize(
    ("machine", "requests"), [(RegisterMachine, set_or_get), (EntityStore, schema_or_entity)]
)
def test_built_in_machines_are_not_blamed(
    machine: Callable[[], StateMachine], requests: RequestSource
) -> None:
    faults = "[{at_ms: 800, crash: leader, for_ms: 300}]"
    spec = scenario(
        faults, cluster="{nodes: 3, snapshot_entries: 20}", workload="{clients: 3, rate_per_s: 60}"
    )
    result = run_scenario(spec, 1, machine=machine, requests=requests)
    assert result.ok, (failures(result), result.violations)
    done = result.metrics["determinism"]
    assert isinstance(done, dict)
    assert done["second_process"], done
    assert done["restores_in_run"]
