"""A compressed text behaves like the `str` of the same characters, and takes a fraction of its memory."""

from __future__ import annotations

import pickle
import threading
import tracemalloc
from collections.abc import Callable
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from qcore.core.entry import DurableState, Membership, Snapshot, SnapshotMeta
from qcore.core.log.compressed_text import (
    BLOCK_CHARS,
    CompressedText,
    SnapshotText,
    text_checksum,
    text_parts,
)
from qcore.core.log.growing_text import TextBuilder

MB = 1_000_000


def built(*parts: str) -> SnapshotText:
    text = TextBuilder()
    for part in parts:
        text.add(part)
    return text.build()


#: Parts below, at and above the size of a block, with characters of one to four bytes.
PARTS = st.lists(
    st.tuples(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
        st.sampled_from([1, 100, BLOCK_CHARS // 7, BLOCK_CHARS]),
    ).map(lambda drawn: drawn[0] * drawn[1]),
    max_size=4,
)


@given(PARTS, st.data())
@settings(deadline=None, max_examples=20)
def test_it_is_like_the_text_of_its_parts(parts: list[str], data: st.DataObject) -> None:
    expected = "".join(parts)
    text = built(*parts)
    assert isinstance(text, CompressedText) == (len(expected) >= BLOCK_CHARS)
    assert len(text) == len(expected)
    assert text == expected
    assert expected == text
    assert str(text) == expected
    assert text == built(expected), "however it was divided"
    positions = st.integers(-len(expected) - 2, len(expected) + 2)
    for _ in range(4):
        start, end = data.draw(positions), data.draw(positions)
        assert text[start:end] == expected[start:end]
        assert text[start:] == expected[start:]
        assert text[:end] == expected[:end]
    chars = data.draw(st.integers(len(expected) // 20 + 1, len(expected) + 1))
    assert list(text_parts(text, 0, chars)) == list(text_parts(expected, 0, chars))
    assert text_checksum(text) == crc32(expected.encode())


def test_another_text_is_not_equal() -> None:
    one = "ä" * 3 * BLOCK_CHARS
    text = built(one)
    for at in (0, BLOCK_CHARS, len(one) - 1):
        other = one[:at] + "o" + one[at + 1 :]
        assert text != other
        assert other != text
        assert text != built(other)
    assert text != one + "ä"
    assert text != 5


def test_a_character_is_found_in_any_block() -> None:
    expected = "x" * (BLOCK_CHARS - 1) + "\n" + "y" * BLOCK_CHARS + "\n" + "z" * BLOCK_CHARS
    text = built(expected)
    for start in (0, BLOCK_CHARS - 1, BLOCK_CHARS, 2 * BLOCK_CHARS):
        assert text.index("\n", start) == expected.index("\n", start)
    with pytest.raises(ValueError, match="not found"):
        text.index("\n", 2 * BLOCK_CHARS + 1)


def test_what_would_be_slow_or_wrong_is_an_error() -> None:
    """`in` and iteration would otherwise go character by character."""
    text = built("x" * 2 * BLOCK_CHARS)
    assert isinstance(text, CompressedText)
    operations: list[Callable[[], object]] = [
        lambda: text[0],  # type: ignore[index]  # the error is the point
        lambda: text[::2],
        lambda: list(text),  # type: ignore[call-overload]  # likewise
        lambda: "x" in text,  # type: ignore[operator]  # likewise
        lambda: hash(text),
    ]
    for operation in operations:
        with pytest.raises(TypeError):
            operation()


def test_several_threads_may_read_it() -> None:
    """A storage writes it in a thread while the node sends it."""
    expected = "".join(f"{number:07} " for number in range(60_000))
    text = built(expected)
    wrong: list[int] = []

    def read(first: int) -> None:
        wrong.extend(
            at
            for at in range(first, len(expected), 9_973)
            if text[at : at + 64] != expected[at : at + 64]
        )

    threads = [threading.Thread(target=read, args=(first,)) for first in range(0, 400, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_pydantic_and_pickle_keep_it() -> None:
    """A custom storage may write the durable state with them."""
    meta = SnapshotMeta(3, 1, 0, Membership((1,)))
    adapter = TypeAdapter(DurableState)
    for data in ("state", built("ä\n" * BLOCK_CHARS)):
        state = DurableState(snapshot=Snapshot(meta, data))
        assert adapter.validate_json(adapter.dump_json(state)) == state
        assert pickle.loads(pickle.dumps(state)) == state


def test_a_large_snapshot_takes_little_memory() -> None:
    """50 MB of a state: while it is built, and afterwards."""
    tracemalloc.start()
    try:
        text = TextBuilder()
        part = "".join(f'["Sensor-{at}",{at},"value",{at * 7}]\n' for at in range(20_000))
        while text.length < 50 * MB:
            text.add(part)
        length = text.length
        snapshot = Snapshot(SnapshotMeta(3, 1, 0, Membership((1,))), text.build())
        sum(map(len, text_parts(snapshot.data)))
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(snapshot.data) == length
    assert held < 20 * MB
    assert most < 22 * MB
