"""`StartOfLife`: everything that a replica starts from, and its lines in a recording."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from random import Random
from typing import Any, Final, Literal, Self

from qcore.core.config import RaftConfig, Safeguards
from qcore.core.entry import DurableState, Entry, HardState, Snapshot, SnapshotMeta
from qcore.core.log.compressed_text import text_parts
from qcore.errors import ConfigError
from qcore.recording.dataclass_codec import from_list, to_list
from qcore.recording.secret_texts import entries_without_secrets
from qcore.release import __version__, unknown_format
from qcore.replica.access.access_records import redacted
from qcore.replica.access.access_text import TABLE_BEGIN
from qcore.replica.config import ReplicaConfig

#: The version of the format that this qcore writes. It also reads version 1, whose lines have no checksums.
FORMAT_VERSION: Final = 2
_READ_VERSIONS: Final = (1, FORMAT_VERSION)
#: How a line begins with which a life begins.
HEAD_START: Final = b'{"recording":'
#: About how many characters of entries or of a snapshot are in one line.
_LINE_CHARS: Final = 64 * 1024

_STATE: Final = struct.Struct("<625I")
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

#: Who drove the replica.
Source = Literal["node", "simulator"]


@dataclass(slots=True, frozen=True)
class GeneratorState:
    """The state of the replica's generator of random numbers at the start: a seed, or the whole state.

    Attributes:
        seed: what a fresh generator was seeded with.
        state: the internal state, for a generator that was used before; empty if there is a seed.
    """

    seed: int | None
    state: tuple[int, ...] = ()

    @classmethod
    def of(cls, generator: Random) -> Self:
        """The state of a generator now."""
        return cls(None, generator.getstate()[1])

    def generator(self) -> Random:
        """A generator in this state."""
        found = Random(self.seed if self.seed is not None else 0)
        if self.state:
            found.setstate((3, self.state, None))
        return found

    def to_json(self) -> object:
        """The value in the head of a life."""
        if self.seed is not None:
            return self.seed
        return base64.b64encode(_STATE.pack(*self.state)).decode()

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The inverse of `to_json`.

        Raises:
            ValueError: it is no such value.
        """
        if type(value) is int:
            return cls(value)
        if not isinstance(value, str):
            raise ValueError("the generator has no state")
        try:
            return cls(None, _STATE.unpack(base64.b64decode(value)))
        except struct.error as error:
            raise ValueError(f"the generator has no valid state: {error}") from None


@dataclass(slots=True, frozen=True, kw_only=True)
class StartOfLife:
    """What a replica starts from.

    Attributes:
        config: the settings of the replica.
        machine: the state machine, as `entity`, `kv`, `register`, `FILE.py:CLASS` or `MODULE:CLASS`.
        now, wall_us: the clocks at the start, µs.
        generator: the state of the replica's generator.
        durable: what the disk holds.
        source: who drives the replica.
        watchable: in the simulator, whether the wrapper of the machine offers to watch it.
        scenario, seed: in the simulator, the scenario and the seed of the run.
        qcore: the version of qcore that wrote the recording.
    """

    config: ReplicaConfig
    machine: str
    now: int
    wall_us: int
    generator: GeneratorState
    durable: DurableState = field(repr=False)
    source: Source
    watchable: bool = True
    scenario: str = ""
    seed: int = 0
    qcore: str = __version__

    @property
    def node_id(self) -> int:
        """The id of the node."""
        return self.config.raft.node_id

    def lines(self) -> Iterator[str]:
        """The lines with which the life begins, without checksums and newlines."""
        snapshot = self.durable.snapshot
        if snapshot is not None and snapshot.data[: len(TABLE_BEGIN)] == TABLE_BEGIN:
            snapshot = Snapshot(snapshot.meta, redacted(str(snapshot.data)))
        head: dict[str, object] = {
            "recording": FORMAT_VERSION,
            "qcore": self.qcore,
            "source": self.source,
            "node": self.node_id,
            "machine": self.machine,
            "watchable": self.watchable,
            "scenario": self.scenario,
            "seed": self.seed,
            "now": self.now,
            "wall": self.wall_us,
            "generator": self.generator.to_json(),
            "config": _settings(self.config),
            "hard_state": to_list(HardState)(self.durable.hard_state),
            "snapshot": None,
            "entries": len(self.durable.entries),
        }
        if snapshot is not None:
            head["snapshot"] = [
                to_list(SnapshotMeta)(snapshot.meta),
                snapshot.checksum,
                len(snapshot.data),
            ]
        yield _encode(head)
        if snapshot is not None:
            for part in text_parts(snapshot.data):
                yield _encode(["snapshot", part])
        write = to_list(Entry)
        waiting: list[Sequence[Any]] = []
        size = 0
        for entry in entries_without_secrets(self.durable.entries):
            waiting.append(write(entry))
            size += len(entry.data) + 40
            if size >= _LINE_CHARS:
                yield _encode(["entries", waiting])
                waiting, size = [], 0
        if waiting:
            yield _encode(["entries", waiting])


def read_start(head: Mapping[str, Any], next_line: Callable[[], object]) -> StartOfLife:
    """Read what a life starts from.

    Args:
        head: its first line.
        next_line: reads the next line.

    Raises:
        ValueError: it is incomplete, or not as this qcore writes it.
        ConfigError: another version of the format, or a setting that this qcore does not know.
    """
    version = head.get("recording")
    if version not in _READ_VERSIONS:
        raise ConfigError(
            f"the recording {unknown_format(version, FORMAT_VERSION)}: replay it with qcore {head.get('qcore', '')}, "
            "which wrote it"
        )
    try:
        snapshot = None
        if head["snapshot"] is not None:
            meta, checksum, length = head["snapshot"]
            text = "".join(_parts(next_line, "snapshot", length, len))
            snapshot = Snapshot(from_list(SnapshotMeta)(meta), text, checksum)
        read = from_list(Entry)
        lists = _parts(next_line, "entries", head["entries"], len)
        entries = [read(each) for some in lists for each in some]
        durable = DurableState(from_list(HardState)(head["hard_state"]), snapshot, entries)
        return StartOfLife(
            config=_config(head["config"]),
            machine=head["machine"],
            now=head["now"],
            wall_us=head["wall"],
            generator=GeneratorState.from_json(head["generator"]),
            durable=durable,
            source=head["source"],
            watchable=head["watchable"],
            scenario=head["scenario"],
            seed=head["seed"],
            qcore=head["qcore"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"the start of the life is not as this qcore writes it ({error})"
        ) from None


def _parts(
    next_line: Callable[[], object], name: str, whole: int, size_of: Callable[[Any], int]
) -> Iterator[Any]:
    """The contents of lines `[name, content]`, until they are complete."""
    size = 0
    while size < whole:
        match next_line():
            case [found, content] if found == name and size_of(content):
                size += size_of(content)
                yield content
            case _:
                raise ValueError(f"the {name} of the durable state end after {size} of {whole}")


def _settings(config: ReplicaConfig) -> dict[str, Any]:
    """The settings that differ from the defaults, and the node id."""
    plain = asdict(replace(config, raft=replace(config.raft, safeguards=Safeguards())))
    raft: dict[str, Any] = plain.pop("raft")
    raft.pop("safeguards")
    found = {name: value for name, value in plain.items() if value != _default(ReplicaConfig, name)}
    found["raft"] = {
        name: value for name, value in raft.items() if value != _default(RaftConfig, name)
    }
    off = [name for name, on in asdict(config.raft.safeguards).items() if not on]
    if off:
        found["safeguards_off"] = off
    return found


def _default(cls: type, name: str) -> object:
    return next(each.default for each in fields(cls) if each.name == name)


def _config(found: Mapping[str, Any]) -> ReplicaConfig:
    values = dict(found)
    raft, off = values.pop("raft"), values.pop("safeguards_off", [])
    try:
        safeguards = Safeguards(**dict.fromkeys(off, False))
        return ReplicaConfig(raft=RaftConfig(**raft, safeguards=safeguards), **values)
    except TypeError as error:
        raise ConfigError(
            f"the recording has a setting that this qcore does not know: {error}; replay it with the qcore that wrote "
            "it"
        ) from None
