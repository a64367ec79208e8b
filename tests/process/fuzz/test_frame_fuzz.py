"""Whatever a client sends, a node answers with an error or closes, and keeps its state and its memory."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from tests.process.attacks.amplification import report
from tests.process.fuzz.frame_fuzz import fuzz, fuzzed_node, replicated
from tests.process.fuzz.hostile_frames import FrameGenerator
from tests.process.fuzz.valid_messages import NODE_CODEC

#: The memory that a node may gain after the first quarter of the frames, MiB.
MAX_GROWTH_MIB = 32
#: The answer to a read afterwards, s.
MAX_ANSWER_S = 1.0


def check(directory: Path, seed: int, frames: int) -> None:
    with fuzzed_node(directory) as node:
        before = replicated(node)
        figures = fuzz(node, seed, frames)
        report(figures.row())
        assert replicated(node) == before, "a frame that may only read has written"
        assert figures.end_mib < figures.warm_mib + MAX_GROWTH_MIB, figures.row()
        assert figures.answer_s < MAX_ANSWER_S, figures.row()
        assert figures.closed > 0 < figures.replies


@pytest.mark.process
def test_two_thousand_hostile_frames(tmp_path: Path) -> None:
    check(tmp_path, seed=1, frames=2_000)


@pytest.mark.process
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_hundred_thousand_hostile_frames(tmp_path: Path) -> None:
    check(tmp_path, seed=2, frames=100_000)


def test_the_frames_are_of_every_kind_and_the_same_for_a_seed() -> None:
    first = list(islice(FrameGenerator(1), 3_000))
    assert first == list(islice(FrameGenerator(1), 3_000))
    seen = " ".join(sorted({each.kind for each in first}))
    for kind in (
        *(
            "as it is",
            "truncated",
            "deeply nested",
            "huge number",
            "wrong kind",
            "array of thousands",
        ),
        *("surrogate escape", "duplicate key", "unknown type", "unknown field", "missing field"),
        *("noise", "binary", "fragments", "unmasked", "reserved bit", "continuation of nothing"),
    ):
        assert kind in seen
    sent = b"".join(each.wire for each in first)
    missing = [name for name in NODE_CODEC.registry if f'"{name}"'.encode() not in sent]
    assert not missing, "every type is among the frames, in both spellings"
