"""`StoredRun`: what an artifact or a trace keeps of a run, and all that is needed to run it again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Final

from qcore.errors import ConfigError
from qcore.sim.artifacts import is_artifact, load_artifact
from qcore.sim.scenario.catalogue import find_scenario
from qcore.sim.scenario.load import load_scenario, parse_scenario
from qcore.sim.scenario.model import Scenario
from qcore.trace import CompactTrace, TraceOrigin, TraceRecord, hash_of, open_trace, parse_lines
from qcore.trace.trace_record import is_cut_note

#: The name in the header of a trace of a real node.
_OF_NODE: Final = re.compile(r"node \d+")


@dataclass(slots=True, frozen=True)
class StoredRun:
    """A run that was kept.

    Attributes:
        path: the artifact or the trace.
        scenario, seed: what it ran.
        records: its trace, up to where it is cut off; empty if there is none.
        sha256: its trace hash; empty if the run raised an error, or if only a part of its trace is left.
        qcore: the version of qcore that ran it; empty if unknown.
        cause: why it failed; empty for a trace.
        is_cut: whether only the beginning of the trace is left.
    """

    path: Path
    scenario: Scenario
    seed: int
    records: Sequence[TraceRecord]
    sha256: str
    qcore: str = ""
    cause: str = ""
    is_cut: bool = False

    @property
    def first_violated_node(self) -> int:
        """The node of the first violation that belongs to a node; 0 if there is none."""
        return next(
            (record.node for record in self.records if record.kind == "violation" and record.node),
            0,
        )


def load_stored_run(
    path: Path | str, scenario: Scenario | Path | str | None = None, seed: int | None = None
) -> StoredRun:
    """Read an artifact, or a trace of a simulated run.

    Args:
        path: the directory of an artifact, or a file in it; or a trace.
        scenario: the scenario of a trace that does not hold it.
        seed: the seed, in place of the one in the header of the trace.

    Raises:
        ConfigError: it is neither, cannot be read, or does not say what it ran.
    """
    path = Path(path)
    if is_artifact(path) or is_artifact(path.parent):
        artifact = load_artifact(path)
        records: Sequence[TraceRecord] = ()
        is_cut = False
        if artifact.trace is not None and artifact.trace.stat().st_size:
            records, _, _, is_cut = _read(artifact.trace)
        cause = f"{artifact.cause.key}: {artifact.cause.text}"
        return StoredRun(
            artifact.directory,
            artifact.scenario,
            artifact.seed,
            records,
            artifact.trace_sha256,
            cause=cause,
            is_cut=is_cut,
        )
    if path.is_dir():
        raise ConfigError(
            f"{path} is a directory without an artifact and without recordings: give an artifact of `qcore sim sweep`, "
            "a trace, or a recording"
        )
    records, origin, sha256, is_cut = _read(path)
    header = next((record.fields for record in records if record.kind == "run"), None)
    if header is None:
        raise ConfigError(f"{path} is no trace of a run: it has no header")
    if origin is None and header["seed"] == 0 and _OF_NODE.fullmatch(str(header["name"])):
        raise ConfigError(
            f"{path} is the trace of a real node, which does not hold what the node received: "
            "replay a recording, which `qcore node start --record FILE` writes"
        )
    if seed is None:
        seed = header["seed"] if origin is None else origin.seed
    found = _scenario_of(path, scenario, origin, str(header["name"]))
    qcore = "" if origin is None else origin.qcore
    return StoredRun(path, found, seed, records, sha256, qcore, is_cut=is_cut)


def _read(path: Path) -> tuple[Sequence[TraceRecord], TraceOrigin | None, str, bool]:
    """The records of a trace, its origin, its hash, and whether it is cut off; then there is no hash."""
    records: Sequence[TraceRecord]
    with open_trace(path) as content:
        if isinstance(content, CompactTrace):
            records, origin, sha256 = content.records(), content.origin, content.compute_sha256()
        else:
            records = parse_lines(content, path)
            origin, sha256 = None, hash_of(records)
    whole = [*takewhile(lambda record: not is_cut_note(record), records)]
    if len(whole) < len(records):
        return whole, origin, "", True
    return records, origin, sha256, False


def _scenario_of(
    path: Path, given: Scenario | Path | str | None, origin: TraceOrigin | None, name: str
) -> Scenario:
    if given is not None:
        return given if isinstance(given, Scenario) else load_scenario(given)
    if origin is not None:
        if origin.missing:
            parts = " and ".join(origin.missing)
            raise ConfigError(
                f"{path}: the run got its {parts} from a program, and the trace does not hold them: run it again there"
            )
        return parse_scenario(origin.scenario, origin.source or "<trace>")
    try:
        return load_scenario(find_scenario(name))
    except ConfigError:
        raise ConfigError(
            f"{path} does not hold its scenario, {name!r}: give --scenario FILE; a trace in the compact format "
            "(a suffix other than .jsonl, .ndjson and .json) holds it"
        ) from None
