"""The state hash check keeps indexes instead of digests, and reports the same as with all digests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qcore.sim.invariants.state_hash import StateHash, StatesDiffer

#: (server, index, digest)
Reported = tuple[int, int, str]


def _expected(reports: list[Reported]) -> tuple[list[bool], list[tuple[int, int, int, int]]]:
    """What the definition says: for each report whether it equals the first, and the first difference of all."""
    first: dict[int, tuple[str, int]] = {}
    last: dict[int, dict[int, str]] = {}
    equals: list[bool] = []
    differences: list[tuple[int, int, int, int]] = []
    for node, index, digest in reports:
        last.setdefault(node, {})[index] = digest
        known, owner = first.setdefault(index, (digest, node))
        equals.append(known == digest)
        if known != digest and not differences:
            one, other = last[node], last[owner]
            equal = [at for at in one if at < index and other.get(at) == one[at]]
            differences.append((index, node, owner, max(equal, default=0)))
    return equals, differences


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 8), st.sampled_from(["a"] * 9 + ["b"])),
        max_size=40,
    )
)
def test_first_difference_is_that_of_all_digests(reports: list[Reported]) -> None:
    found: list[StatesDiffer] = []
    notes: list[str] = []

    def explain(differ: StatesDiffer) -> str:
        found.append(differ)
        return ""

    check = StateHash(lambda _check, _node, note: notes.append(note))
    check.explain = explain
    equals = [check.on_state_hash(*report) for report in reports]
    seen = [(each.index, each.node, each.other, each.last_equal) for each in found]
    assert (equals, seen) == _expected(reports)
    assert len(notes) == len(found)
