"""Runs a stored run again: to its end, or to a time or a record of its trace; compares it with what was stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from qcore.errors import ConfigError
from qcore.release import __version__
from qcore.sim.replay.cluster_state import ClusterState, cluster_state
from qcore.sim.replay.record_query import RecordQuery, parse_query
from qcore.sim.replay.stored_run import StoredRun, load_stored_run
from qcore.sim.simulation import World
from qcore.sim.verdict.result import Json, RunResult
from qcore.trace import TraceRecord, TraceWriter, as_line


@dataclass(slots=True, frozen=True)
class Parting:
    """The first record at which a replay parts from the stored trace.

    Attributes:
        number: the number of the record, from 1 on.
        stored, replayed: the records; None where a trace has ended before.
    """

    number: int
    stored: TraceRecord | None
    replayed: TraceRecord | None

    def __str__(self) -> str:
        texts = [
            "(the trace ends)" if each is None else as_line(each)
            for each in (self.stored, self.replayed)
        ]
        return f"record {self.number} differs: stored {texts[0]}; replayed {texts[1]}"


@dataclass(slots=True, frozen=True)
class RunReplay:
    """What a replay of a whole run found.

    Attributes:
        stored: the stored run.
        state: the cluster where the replay stopped.
        is_whole: whether it ran to the end.
        trace_sha256: the trace hash of the replay; empty if it did not run to its end.
        parting: where the traces part; None if they are equal, or if no trace was stored.
        result: the verdict; None if the replay did not run to its end.
        error: the error that the run raised; empty if it raised none.
    """

    stored: StoredRun
    state: ClusterState
    is_whole: bool
    trace_sha256: str
    parting: Parting | None
    result: RunResult | None
    error: str = ""

    @property
    def is_compared(self) -> bool:
        """Whether there was something to compare with: stored records, or the trace hash of a whole run."""
        return bool(self.stored.records) or (self.is_whole and bool(self.stored.sha256))

    @property
    def equal(self) -> bool:
        """Whether everything until here is as it was stored. True if there is nothing to compare with."""
        if self.parting is not None:
            return False
        return not (self.is_whole and self.stored.sha256) or self.trace_sha256 == self.stored.sha256

    @property
    def verdict(self) -> str:
        """Whether it is equal, in words."""
        if self.parting is not None:
            return f"no: {self.parting}"
        if not self.equal:
            return (
                f"no: the trace hash is {self.trace_sha256}, the stored one is {self.stored.sha256}"
            )
        stored = self.stored
        if not self.is_compared:
            if stored.sha256:
                return "unknown: no record of the trace is left, and the trace hash is that of the whole run"
            return "unknown: neither a record of the trace nor its hash is stored"
        hashes = (
            f"; the trace hash is {self.trace_sha256}" if self.is_whole and stored.sha256 else ""
        )
        if not stored.records:
            return f"yes, by the trace hash alone, because no record of the trace is left{hashes}"
        if stored.is_cut:
            count = len(stored.records)
            return (
                f"yes, every record until the stored trace is cut off after record {count}{hashes}"
            )
        if not self.is_whole:
            return "yes, every record until here"
        return f"yes, every record; the trace hash is {self.trace_sha256}"

    def to_json(self) -> dict[str, Json]:
        """The object that `qcore sim replay -o json` prints."""
        return {
            "path": str(self.stored.path),
            "scenario": self.stored.scenario.name,
            "seed": self.stored.seed,
            "cause": self.stored.cause,
            "equal": self.equal if self.is_compared else None,
            "verdict": self.verdict,
            "trace_sha256": self.trace_sha256,
            "stored_sha256": self.stored.sha256,
            "parting": None if self.parting is None else self.parting.number,
            "error": self.error,
            "state": self.state.to_json(),
        }

    @property
    def advice(self) -> str:
        """Why a run may differ."""
        if self.stored.qcore not in ("", __version__):
            return f"qcore {self.stored.qcore} ran it, and this is qcore {__version__}"
        return "the code of qcore, of the machine or of the scenario's files is another than it was"


def replay_run(
    run: StoredRun | Path | str,
    *,
    until_ms: float | None = None,
    until_event: int | None = None,
    at: str | None = None,
) -> RunReplay:
    """Run a stored run again, and compare it. Without a place to stop, it runs to its end.

    Args:
        run: an artifact or a trace, or what `load_stored_run` returns for it.
        until_ms: stop at this simulated time; its events have not happened yet.
        until_event: stop once the trace has this many records.
        at: stop at the first record that this describes, such as `kind=role node=2 role=leader`.

    Raises:
        ConfigError: the run cannot be read; two places to stop are given, or none such exists.
    """
    stored = run if isinstance(run, StoredRun) else load_stored_run(run)
    if sum(place is not None for place in (until_ms, until_event, at)) > 1:
        raise ConfigError(
            "--until-ms, --until-event and --at each say where to stop: give one of them"
        )
    if at is not None:
        until_event = _place_of(stored, parse_query(at))
    writer = TraceWriter(keep=True)
    world = World(stored.scenario, stored.seed, writer)
    error = ""
    try:
        if until_event is not None:
            _run_until_record(world, writer, until_event)
        elif until_ms is not None:
            world.run_until(until_ms)
        else:
            world.run()
        is_whole = until_event is None and until_ms is None
        result = world.result() if is_whole else None
    except ConfigError:
        raise
    except Exception as raised:  # noqa: BLE001 - the run that was stored may have raised it, too
        error, is_whole, result = f"{type(raised).__name__}: {raised}", True, None
    finally:
        world.close()
    records = writer.trace().records()
    return RunReplay(
        stored,
        cluster_state(world, records),
        is_whole,
        "" if result is None else result.trace_sha256,
        _parting(stored, records, is_whole=is_whole),
        result,
        error,
    )


def _run_until_record(world: World, writer: TraceWriter, number: int) -> None:
    while writer.count < number:
        if not world.step():
            raise ConfigError(
                f"--until-event {number}: the run has {writer.count} records until its end at {world.now_ms:g} ms"
            )


def _place_of(stored: StoredRun, query: RecordQuery) -> int:
    """The number of the first record that the query describes."""
    records = stored.records or _simulated(stored)
    for number, record in enumerate(records, start=1):
        if record.kind == query.kind and query.matches(record.kind, record.node, record.fields):
            return number
    kinds = ", ".join(sorted({record.kind for record in records}))
    raise ConfigError(
        f"--at {query.text!r}: the trace of {stored.path} has no such record; its kinds are {kinds}"
    )


def _simulated(stored: StoredRun) -> Sequence[TraceRecord]:
    writer = TraceWriter(keep=True)
    world = World(stored.scenario, stored.seed, writer)
    try:
        world.run()
    finally:
        world.close()
    return writer.trace().records()


def _parting(run: StoredRun, replayed: Sequence[TraceRecord], *, is_whole: bool) -> Parting | None:
    stored = run.records
    if not stored:
        return None
    if not is_whole:
        stored = stored[: len(replayed)]
    if run.is_cut:
        replayed = replayed[: len(stored)]
    for number, (one, other) in enumerate(zip_longest(stored, replayed), start=1):
        if one != other:
            return Parting(number, one, other)
    return None
