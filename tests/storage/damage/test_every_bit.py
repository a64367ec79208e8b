"""Any flipped bit in any durable file: the node refuses to start and names a file, or starts with what was written.

The content never gets another meaning, no other kind of error occurs, and every start ends. A snapshot
file has a separate test (`test_snapshot_file.py`: `test_every_flipped_bit_is_detected`): all its bits count.

docs/reference/storage.md lists the harmless bits: unused bytes and free pages of the database, fields of its header
that SQLite does not need, frames after the last transaction, one slot of the mark, the lock file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.checkout import DOCS
from tests.storage.damage.bit_flips import Sample, flips, make, outcome, unused

#: Parts of the campaign, so that it can run in several processes.
SLICES = 8
DATABASE, WAL, MARK, PEERS, LOCK = "log.db", "log.db-wal", "log.mark", "peers.json", "qcore.lock"
PLACES = [
    *((False, name) for name in (DATABASE, MARK, PEERS, LOCK)),
    *((True, name) for name in (DATABASE, WAL, MARK, PEERS, LOCK)),
]


@pytest.fixture(scope="module")
def samples(memory_root: Path) -> dict[bool, Sample]:
    """A directory after a clean stop, and one after a crash."""
    return {
        crashed: make(memory_root / f"crashed {crashed}", crashed=crashed)
        for crashed in (False, True)
    }


#: The possible outcomes for each file. The mark has a second slot, so one flip must never stop a sound node.
OUTCOMES = {
    DATABASE: {"same", "refused"},
    WAL: {"same", "refused"},
    MARK: {"same"},
    PEERS: {"refused"},
    LOCK: {"same"},
}


def outcomes(sample: Sample, name: str, bits: Sequence[int]) -> set[str]:
    return {seen.split(":")[0] for _, seen in flips(sample, name, bits)}


def test_samples_have_the_expected_content(samples: dict[bool, Sample]) -> None:
    for crashed, sample in samples.items():
        assert set(sample.files) == {name for after, name in PLACES if after is crashed}
        assert outcome(sample) == "same"
        sample.restore()
        snapshot = sample.start.log.snapshot
        assert snapshot is not None
        assert sample.start.snapshot == snapshot
        assert sample.start.version is not None
        assert {entry.kind for entry in sample.start.log.entries} >= {
            "membership",
            "session",
            "version",
        }


@pytest.mark.parametrize(("crashed", "name"), PLACES)
def test_spread_bit_flips_have_an_expected_outcome(
    samples: dict[bool, Sample], crashed: bool, name: str
) -> None:
    """Evenly spread over used and unused bytes. The steps are odd, so every position in a byte occurs."""
    sample = samples[crashed]
    idle = unused(sample.files[name])
    bits = range(8 * len(idle))
    used, rest = ([bit for bit in bits if idle[bit // 8] == kind] for kind in (0, 1))
    many = 300 if name in (DATABASE, WAL) else 40
    spread = [*used[:: max(1, len(used) // many) | 1], *rest[:: max(1, len(rest) // 40) | 1]]
    assert outcomes(sample, name, spread) == OUTCOMES[name]


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(SLICES))
@pytest.mark.parametrize(("crashed", "name"), PLACES)
def test_every_bit_flip_has_an_expected_outcome(
    samples: dict[bool, Sample], crashed: bool, name: str, part: int
) -> None:
    sample = samples[crashed]
    number = 8 * len(sample.files[name])
    bits = range(number * part // SLICES, number * (part + 1) // SLICES)
    assert outcomes(sample, name, bits) <= OUTCOMES[name]


def test_every_file_of_a_directory_is_in_the_document(samples: dict[bool, Sample]) -> None:
    text = (DOCS / "reference" / "storage.md").read_text(encoding="utf-8")
    for sample in samples.values():
        for name in sample.files:
            assert f"\n| `{name}` |" in text
