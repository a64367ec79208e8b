"""Recordings: what a replica took, step by step, so that it can be stepped again later, to the same effects.

A file has one line of JSON for each thing:

| line | meaning |
|---|---|
| `{"recording": 2, ...}` | a life begins: node, machine, settings, generator, and the size of the durable state |
| `["snapshot", text]` | a part of the snapshot that the disk held at the start |
| `["entries", [...]]` | some entries of the log that the disk held at the start |
| `[now, wall, events, kinds, digest]` | a step: both clocks since the step before, µs; its events; its effects |
| `["missing", number]` | the file was too slow for this many lines: nothing can be replayed from here on |
| `["limit", bytes]` | the recording ends here, because the file has reached its limit |
| `["unrecorded", text]` | the recording ends here, because a step could not be recorded: a bug |
| `["end", why, digest]` | the life ended; the digest of the state then, if there is one (see `state_digest`) |

A step has a sixth item if it asked why peers are not connected (`answers`), raised an error (`failed`), or made a
digest of the state (`digest`: index and digest), as each replica does at certain indexes.

Each line ends with a tab and the CRC-32 of what is before (see `line_checksum`). Lines of version 1 do not.

A file may hold several lives of a node, one after the other. `kinds` has a letter for each class of effects in the
step, and how often it comes if that is more than once; `digest` is the CRC-32 of the effects (see `effect_digest`).

A recording holds the commands and results of clients, so a new file is accessible to its owner only.
"""

from __future__ import annotations

from qcore.recording.effect_digest import EffectDigest, digest_of_effects
from qcore.recording.life_recorder import ByteSink, LifeRecorder, state_digest
from qcore.recording.recording_reader import (
    Life,
    RecordedStep,
    RecordingEnd,
    is_recording,
    read_lives,
)
from qcore.recording.start_of_life import GeneratorState, StartOfLife

__all__ = [
    "ByteSink",
    "EffectDigest",
    "GeneratorState",
    "Life",
    "LifeRecorder",
    "RecordedStep",
    "RecordingEnd",
    "StartOfLife",
    "digest_of_effects",
    "is_recording",
    "read_lives",
    "state_digest",
]
