"""`Scenario`: the model of a whole scenario file, and the rules that span its parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ModelWrapValidatorHandler, field_validator, model_validator

from qcore.errors import ConfigError
from qcore.sim.scenario.actions.admin_actions import ChangeMembersAction, Join
from qcore.sim.scenario.actions.message_actions import Hold, Release
from qcore.sim.scenario.actions.network_actions import HEALABLE, LINK_ACTIONS, SHAPES, Heal
from qcore.sim.scenario.actions.node_actions import StopAction
from qcore.sim.scenario.actions.operation_actions import OperationAction
from qcore.sim.scenario.actions.registry import REPAIRS
from qcore.sim.scenario.frozen_model import NAME_PATTERN
from qcore.sim.scenario.generated.drawing import draw_timeline
from qcore.sim.scenario.generated.random_faults_spec import RandomFault, RandomFaultsSpec
from qcore.sim.scenario.generated.random_times import bounds
from qcore.sim.scenario.generated.scenario_text import scenario_html, scenario_text, scenario_values
from qcore.sim.scenario.generated.swarm_spec import SwarmSpec
from qcore.sim.scenario.network_rules import check_network, scope_of
from qcore.sim.scenario.setting_combinations import check_combinations
from qcore.sim.scenario.specs.cluster_spec import ClusterSpec
from qcore.sim.scenario.specs.expect_spec import ExpectSpec
from qcore.sim.scenario.specs.kind_rules import check_keys, check_kind
from qcore.sim.scenario.specs.network_spec import NetworkSpec
from qcore.sim.scenario.specs.workload_spec import WorkloadSpec
from qcore.sim.scenario.timeline import Item
from qcore.sim.scenario.validation_scope import existing_checks, validating
from qcore.sim.scenario.values import (
    Fidelity,
    Flag,
    Selector,
    Spec,
    check_seed,
    microseconds,
)

#: The clients stop this long before the end of a run, so that responses arrive and followers catch up.
_QUIET_MS = 1000.0


class RegistersNeeded(ConfigError, ValueError):
    """A scenario uses a feature that needs registers, but its state machine is a custom one."""


class Scenario(Spec):
    """A validated scenario. `Scenario().with_(...)` makes one in Python; a file is read with `load_scenario`."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)] = Field(
        default="scenario",
        description="An identifier of letters, digits, `_`, `.` and `-`. Left out: the name of the file.",
    )
    summary: str = Field(
        default="", description="One sentence: what happens, and what the run shows."
    )
    fidelity: Fidelity = Field(
        default="replica",
        description=(
            "What each node runs. `replica`: core and replica, whose messages travel one by one; fast. `node`: all "
            "code of a real node (connections, frames, peer pool, handlers) on simulated TCP. `qcore.Client` runs only "
            "in clients with a `program`."
        ),
    )
    cluster: ClusterSpec = Field(
        default=ClusterSpec(),
        description="The nodes, their settings, disks and clocks, and the state machine.",
    )
    network: NetworkSpec = Field(
        default=NetworkSpec(), description="The links between nodes, and those of the clients."
    )
    workload: WorkloadSpec = Field(
        default=WorkloadSpec(), description="The clients and their operations."
    )
    timeline: tuple[Item, ...] = Field(default=(), description="What happens, and when.")
    random_faults: RandomFaultsSpec | None = Field(
        default=None, description="Faults that come at random times, and a quiet phase after them."
    )
    swarm: SwarmSpec | None = Field(
        default=None,
        description=(
            "Faults whose kinds, strengths and times each seed draws, and a quiet phase after them. `true` "
            "takes the defaults."
        ),
    )
    may_not_act: Flag = Field(
        default=False, description="The run may pass although a declared fault never acts."
    )
    until_ms: Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)] = Field(
        default=10_000.0, description="The end of the run, in simulated milliseconds."
    )
    expect: ExpectSpec = Field(default=ExpectSpec(), description="What the run must show.")
    checks: str = Field(
        default="",
        description=(
            "A file of Python in which the user defines checks of the run, `file.py`, beside the scenario or in the "
            "working directory; or a module. A custom machine may have its checks in its file."
        ),
    )
    source: str = Field(
        default="",
        exclude=True,
        description="The file that the scenario was read from; empty for a scenario made in code.",
    )
    overrides: dict[str, str | bool | int | float | None] = Field(
        default={},
        exclude=True,
        description="The values that replaced defaults of the file's `parameters`.",
    )
    edited: bool = Field(
        default=False,
        exclude=True,
        description="Whether the scenario differs from its file, because it is a changed copy.",
    )

    def __repr__(self) -> str:
        items = len(self.timeline)
        return (
            f"Scenario({self.name!r}, {len(self.cluster.nodes)} nodes, {items} timeline "
            f"item{'' if items == 1 else 's'}, until {self.until_ms:g} ms)"
        )

    __str__ = __repr__

    @model_validator(mode="wrap")
    @classmethod
    def _in_scope(cls, value: object, validate: ModelWrapValidatorHandler[Scenario]) -> Scenario:
        with validating(scope_of(value)):
            return validate(value)

    @model_validator(mode="before")
    @classmethod
    def _other_names(cls, value: object) -> object:
        if isinstance(value, dict) and "description" in value and "summary" not in value:
            return {
                ("summary" if key == "description" else key): item for key, item in value.items()
            }
        return value

    @field_validator("timeline", mode="before")
    @classmethod
    def _list_of_items(cls, value: object) -> object:
        if value is None:
            return ()
        return tuple(value) if isinstance(value, list) else value

    @field_validator("cluster", "network", "workload", "expect", mode="before")
    @classmethod
    def _empty_means_defaults(cls, value: object) -> object:
        return {} if value is None else value

    @field_validator("checks")
    @classmethod
    def _existing_file(cls, value: str) -> str:
        return existing_checks(value)

    @model_validator(mode="after")
    def _consistent(self) -> Scenario:
        known = set(self.all_nodes)
        for where, item in self._items():
            self._check_item(where, item, known)
        self._check_random_faults()
        if strangers := sorted({*self.workload.pin} - known):
            raise ValueError(
                f"workload.pin: {strangers} are not in the cluster {sorted(known)}, nor do they join"
            )
        asked = self.workload.requests or self.workload.requests_function
        if asked and ":" not in self.cluster.machine:
            raise ValueError(
                "workload.requests and a custom cluster.machine (file.py:Class) belong together: "
                "clients send the requests to that machine"
            )
        if ":" in self.cluster.machine:
            self.reject_registers()
        if self.cluster.machine == "entity":
            check_keys(self.workload, self._operations())
        check_kind(self.workload, self.cluster, self.expect, self._operations())
        check_network(self.network, self.timeline, known, self.workload.clients)
        self._check_counters()
        for name in ("priorities", "settings", "clocks"):
            for node in getattr(self.cluster, name):
                if node not in known:
                    raise ValueError(
                        f"cluster.{name}: node {node} is not in the cluster {sorted(known)}, nor does it join"
                    )
        self._check_expectations(known)
        check_combinations(self.cluster, self.timeline, known, self.until_us)
        stop = self.workload.stop_ms
        if stop is not None and stop < self.workload.start_ms:
            raise ValueError(f"workload: stop_ms ({stop}) is before start_ms")
        return self

    def reject_registers(self, *, has_model: bool | None = None) -> None:
        """Check that the scenario needs no registers. A custom state machine has none.

        Args:
            has_model: whether a model judges the answers of the machine; None while that is not known.

        Raises:
            RegistersNeeded: it needs them. This is a ConfigError, and a ValueError because pydantic needs one.
        """
        for where, operation in self._operations():
            raise RegistersNeeded(
                f"{where}: {operation.op} goes to a register, and a custom machine has none; leave such "
                "lines out"
            )
        if self.workload.sessions:
            raise RegistersNeeded(
                "workload.sessions adds to registers: it needs the machine register, not a custom machine"
            )
        if self.workload.watchers.count and not self.workload.watchers.topics:
            raise RegistersNeeded(
                "workload.watchers watch registers, and a custom machine has none: give them `topics`"
            )
        key = "consistency" if self.expect.consistency is not None else "linearizable"
        if has_model is False and getattr(self.expect, key) is not None:
            raise RegistersNeeded(
                f"expect.{key} is judged by the values of registers, or by a model of the machine, and this custom "
                "machine has none: write a `class Model` beside the machine (qcore.sim.oracles), or leave the key out"
            )

    def _check_counters(self) -> None:
        """Reject writes to counters. A write would look like a failed increment, so no check could judge the count."""
        counters = self.counters
        for where, operation in self._operations():
            key = operation.key or "k0"
            if operation.op == "write" and key in counters:
                raise ValueError(
                    f"{where}: write: {key} is a counter, to which the clients add with "
                    "workload.sessions; write to another key, for example key: x"
                )

    @property
    def counters(self) -> frozenset[str]:
        """The keys that the clients increment. A counter is not a register, which holds the value written last."""
        workload = self.workload
        if not (workload.sessions and workload.clients):
            return frozenset()
        return frozenset(f"k{number}" for number in range(workload.keys))

    def _items(self) -> list[tuple[str, Item]]:
        """Every item of the timeline and of the random faults, with its place in the scenario."""
        items = [(f"timeline[{number}]", item) for number, item in enumerate(self.timeline)]
        faults = self.random_faults.faults if self.random_faults is not None else ()
        return items + [
            (f"random_faults.faults[{number}]", item) for number, item in enumerate(faults)
        ]

    def _operations(self) -> list[tuple[str, OperationAction]]:
        return [
            (where, action)
            for where, item in self._items()
            for action in item.possible_actions
            if isinstance(action, OperationAction)
        ]

    def _check_random_faults(self) -> None:
        """Check that the phases of random faults fit into the run, and that only the timeline changes the cluster."""
        for name, phase in (("random_faults", self.random_faults), ("swarm", self.swarm)):
            if phase is not None:
                phase.check_phases(name, self.until_ms)
        for where, item in self._items():
            in_timeline = where.startswith("timeline")
            for action in item.possible_actions:
                certain = in_timeline and action in item.actions
                if isinstance(action, Join) and not certain:
                    raise ValueError(
                        f"{where}: join decides which nodes exist, so no seed may choose it; give it as an action of "
                        "the timeline"
                    )
                if isinstance(action, StopAction) and action.settings and not in_timeline:
                    raise ValueError(
                        f"{where}: {action.kind}: settings belong to the timeline; leave them out of random faults"
                    )

    def _check_item(self, where: str, item: Item, known: set[int]) -> None:
        timed = item.at_ms is not None or item.after_ms is not None or item.when is not None
        if not timed and not isinstance(item, RandomFault):
            raise ValueError(
                f"{where}: set its time with at_ms or after_ms, or its event with when"
            )
        if item.at_ms is not None and item.after_ms is not None and item.when is None:
            raise ValueError(f"{where}: at_ms and after_ms both set the time; leave one out")
        latest = bounds(item.at_ms)[1]
        if latest >= self.until_ms:
            drawn = "; give the distribution max_ms" if latest == float("inf") else ""
            raise ValueError(
                f"{where}: at_ms {latest:g} is not before the end of the run, until_ms "
                f"{self.until_ms:g}: it would never act{drawn}"
            )
        for action in item.possible_actions:
            if isinstance(action, Heal | Release) and action.label:
                self._check_label(where, action, action.label)
            if isinstance(action, OperationAction):
                self._check_read(where, action)
            if isinstance(action, Join) and (
                first := sorted({*action.ids} & {*self.cluster.nodes})
            ):
                raise ValueError(
                    f"{where}: join: {first} are members from the beginning, and join starts pristine nodes; write "
                    "restart to start a member again, or wipe for one that loses its disk"
                )
            on_links = isinstance(action, LINK_ACTIONS)
            for field in ("nodes", "source", "target", "node", "at", "remove", "to"):
                named = getattr(action, field, None)
                self._check_ids(where, named, known, clients=on_links)
                self._check_event_names(where, named, item, action)
            for field in (*SHAPES, "hub"):
                named = getattr(action, field, None)
                self._check_ids(where, named, known, clients=False)
                self._check_event_names(where, named, item, action)
            if isinstance(action, ChangeMembersAction):
                named = {*(action.voters or ()), *(action.learners or ()), *action.add}
                if strangers := sorted(named - known):
                    raise ValueError(
                        f"{where}: {strangers} are not in the cluster, nor do they join"
                    )
            for group in getattr(action, "groups", None) or ():
                self._check_ids(where, group, known, clients=True)
                self._check_event_names(where, group, item, action)
        if item.when is not None:
            for selector in (item.when.node, item.when.to, item.when.source):
                self._check_ids(where, selector, known, clients=False)

    def _check_label(self, where: str, action: Heal | Release, label: str) -> None:
        """A label must belong to an action that `heal` or `release` can end."""
        labelled = [item for _, item in self._items() if item.label == label]
        if not labelled:
            names = ", and it names no nodes" if isinstance(action, Heal) else ""
            raise ValueError(f"{where}: {action.kind}: no item has the label {label!r}{names}")
        meant = HEALABLE if isinstance(action, Heal) else (Hold,)
        ends = [one for item in labelled for one in item.possible_actions]
        if not any(isinstance(one, meant) for one in ends):
            kinds = ", ".join(sorted({one.kind for one in ends}))
            what = "cuts, clogs and link changes" if isinstance(action, Heal) else "`hold`"
            raise ValueError(
                f"{where}: {action.kind} ends {what}, and the label {label!r} is that of {kinds}"
            )

    def _check_read(self, where: str, read: OperationAction) -> None:
        kinds = read.read_kind or self.workload.read_kind
        if read.max_staleness_ms is not None and "stale_read" not in kinds:
            raise ValueError(
                f"{where}: read: max_staleness_ms goes with a stale_read, not with {' or '.join(kinds)}; "
                "give read_kind: stale_read, or leave it out"
            )

    def _check_expectations(self, known: set[int]) -> None:
        """Reject expectations that could not fail, or could not hold."""
        expect = self.expect
        if not self.workload.sessions:
            for name in ("sessions_expired", "exactly_once"):
                if getattr(expect, name) is not None:
                    raise ValueError(
                        f"expect.{name} is about client sessions: set workload.sessions, or leave it out"
                    )
        if not self.workload.watchers.count:
            for name in ("watchers_complete", "notices", "watches_resumed", "watches_compacted"):
                if getattr(expect, name) is not None:
                    raise ValueError(
                        f"expect.{name} is about watchers: set workload.watchers, or leave it out"
                    )
        for low, high in expect.no_commits_between or ():
            if low >= self.until_ms:
                raise ValueError(
                    f"expect.no_commits_between: [{low:g}, {high:g}] is after the end of the run, until_ms "
                    f"{self.until_ms:g}"
                )
        if strangers := sorted({*(expect.final_voters or ())} - known):
            raise ValueError(
                f"expect.final_voters: {strangers} are not in the cluster {sorted(known)}, nor do they join"
            )

    def _check_event_names(self, where: str, selector: object, item: Item, action: object) -> None:
        """Names of the nodes of an event need one; a repair may name the nodes of an earlier event."""
        if not isinstance(selector, Selector) or isinstance(action, REPAIRS):
            return
        event = None if item.when is None else item.when.event
        for term in (*selector.terms, *selector.pool):
            of_message = term in ("sender", "receiver")
            if (term == "event_node" and event is None) or (
                of_message and event not in ("send", "receive")
            ):
                needed = "send or receive" if of_message else "an event"
                raise ValueError(f"{where}: {term}: the item needs `when` with {needed}")

    def _check_ids(self, where: str, selector: object, known: set[int], *, clients: bool) -> None:
        if isinstance(selector, int) and selector not in known:
            raise ValueError(f"{where}: node {selector} is not among {sorted(known)}")
        if not isinstance(selector, Selector):
            return
        for term in (*selector.terms, *selector.pool):
            if isinstance(term, int) and term not in known:
                raise ValueError(f"{where}: node {term} is not in the cluster {sorted(known)}")
            name, _, number = str(term).partition("_")
            if name in ("clients", "client") and not clients:
                raise ValueError(
                    f"{where}: {term}: a client is not a node; only cuts and links name clients"
                )
            if name in ("random", "follower") and number:
                followers = name == "follower" or selector.pool == ("followers",)
                named = sum(isinstance(node, int) for node in selector.pool)
                of_ids = named == len(selector.pool)
                there_are = named if name == "random" and of_ids else len(known) - followers
                if int(number) > there_are:
                    what = "followers" if followers else "nodes"
                    raise ValueError(f"{where}: {term}: there are {there_are} {what}")
            if name == "client" and int(number) > self.workload.clients:
                raise ValueError(f"{where}: {term}: there are {self.workload.clients} clients")

    @property
    def all_nodes(self) -> tuple[int, ...]:
        """The first members, and all nodes that join later; ascending."""
        later = {
            node
            for item in self.timeline
            for action in item.actions
            if isinstance(action, Join)
            for node in action.ids
        }
        return tuple(sorted({*self.cluster.nodes, *later}))

    @property
    def until_us(self) -> int:
        return microseconds(self.until_ms)

    @property
    def workload_ends_us(self) -> int:
        """The time at which the clients stop: `workload.stop_ms`, or a short time before the end."""
        if self.workload.stop_ms is not None:
            return min(self.until_us, microseconds(self.workload.stop_ms))
        return self.until_us - microseconds(min(_QUIET_MS, self.until_ms / 5))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """See `FrozenModel.model_copy`. A changed copy is `edited`."""
        changes = {"edited": True, **update} if update else None
        return super().model_copy(update=changes, deep=deep)

    def save(self, path: Path | str) -> None:
        """Write the scenario to a file, from which `load_scenario` and `qcore sim run` read it.

        Raises:
            ConfigError: the file cannot be written.
        """
        try:
            Path(path).write_text(self.to_yaml(), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write the scenario {path}: {error.strerror}") from None

    def to_yaml(self) -> str:
        """The text of a scenario file that reads as this scenario, for example to keep what `drawn` returns.

        Defaults are left out. A custom machine is found beside the new file, or in the working directory.
        """
        return scenario_text(self)

    _repr_html_ = scenario_html

    def to_dict(self) -> dict[str, object]:
        """The values of `to_yaml` as maps, lists, texts and numbers. `Scenario().with_` takes them."""
        return scenario_values(self)

    def drawn(self, seed: int) -> Scenario:
        """The plain scenario that a run with this seed simulates: every random time, choice and fault is drawn.

        The drawn faults are ordinary items at the end of the timeline. The plain scenario gives the same run, and the
        same trace, as this one. A scenario that leaves nothing to the seed is returned unchanged.

        Raises:
            ConfigError: the seed is no integer, or the random times give more firings than a run can use.
        """
        check_seed(seed)
        if not self.is_random:
            return self
        changes: dict[str, object] = {
            "timeline": draw_timeline(
                self.timeline,
                self.random_faults,
                self.swarm,
                self.cluster.nodes,
                self.until_ms,
                seed,
            )
        }
        phases = [phase for phase in (self.random_faults, self.swarm) if phase is not None]
        if phases:
            changes.update(random_faults=None, swarm=None)
            limit = max(phase.quiet_ms for phase in phases)
            if "live_within_ms" not in self.expect.model_fields_set and self.expect.must_be_safe:
                changes["expect"] = self.expect.model_copy(update={"live_within_ms": limit})
        return self.model_copy(update=changes)

    @property
    def is_random(self) -> bool:
        """Whether the seed decides anything of the timeline."""
        generated = self.random_faults is not None or self.swarm is not None
        return generated or any(item.is_random for item in self.timeline)
