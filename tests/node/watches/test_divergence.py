"""Members' states are compared at the newest index for which two members have a digest."""

from __future__ import annotations

import pytest

from qcore.cli.cluster.health_checks import state_problems
from qcore.node.status.exposition import Exposition
from qcore.node.status.metrics_page import comparison_gauges
from qcore.node.watches.divergence import digests_in
from qcore.replica.divergence.member_comparison import Comparison, compare


def test_members_are_compared_at_their_newest_common_index() -> None:
    seen = {
        1: {1024: "a", 2048: "b", 2900: "c"},
        2: {1024: "a", 2048: "b", 2890: "d"},
        3: {1024: "a", 2048: "x", 2895: "e"},
    }
    found = compare(seen)
    assert found == Comparison((1, 2, 3), 2048, 2048, {1: "b", 2: "b", 3: "x"})
    assert found.different == 1


def test_an_older_difference_that_is_over_does_not_count() -> None:
    found = compare({1: {1024: "a", 2048: "b"}, 2: {1024: "x", 2048: "b"}})
    assert (found.differs_at, found.different, found.index) == (None, 0, 2048)


def test_a_lagging_member_is_compared_at_an_older_index() -> None:
    found = compare({1: {3072: "c", 4096: "d"}, 2: {4096: "d"}, 3: {3072: "x"}})
    assert (found.compared, found.index, found.differs_at) == ((1, 2, 3), 4096, 3072)
    assert found.different == 1


def test_members_without_a_common_index_are_not_compared() -> None:
    found = compare({1: {5: "a"}, 2: {5: "a"}, 3: {5: "a"}, 4: {9: "b"}, 5: {8: "c"}})
    assert found.compared == (1, 2, 3)
    assert compare({1: {5: "a"}}).compared == ()
    empty: dict[int, dict[int, str]] = {}
    assert compare(empty) == Comparison((), 0, None, {})


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"applied_index": 7, "state_hash": "ab"}, {7: "ab"}),  # 0.1.0
        ({"applied_index": 7, "state_hash": "", "state_digests": {"4": "c"}}, {4: "c"}),
        ({"applied_index": 0, "state_hash": "ab"}, {}),  # nothing was applied yet
        ({"state_digests": {"x": "c", "4": 5, "-1": "c", "9" * 30: "c"}}, {}),  # no index or digest
        ({"state_digests": {str(index): "c" for index in range(500)}}, dict.fromkeys(range(436, 500), "c")),
        ("text", {}),
    ],
)  # fmt: skip
def test_invalid_digests_from_a_member_are_ignored(extra: object, expected: dict[int, str]) -> None:
    assert digests_in({"qcore": extra}) == expected


def test_health_names_the_index_and_all_digests() -> None:
    problems, warnings = state_problems({"a:1": {9: "aa"}, "b:1": {9: "bb"}})
    assert problems == ["the states of the members differ at index 9 (a:1: aa, b:1: bb)"]
    assert warnings == []


def test_health_warns_about_states_that_were_not_compared() -> None:
    seen = {"a:1": {9: "aa"}, "b:1": {9: "aa"}, "c:1": {7: "cc"}, "d:1": {}}
    problems, warnings = state_problems(seen)
    assert problems == []
    (warning,) = warnings
    assert "the state was not compared" in warning
    assert warning.endswith("c:1 at 7, d:1 at no index")
    assert state_problems({"a:1": {9: "aa"}}) == ([], [])  # nothing to compare it with
    assert state_problems({"a:1": {}, "b:1": {}}) == ([], [])  # nothing was applied yet


def test_the_gauges_have_no_sample_where_nothing_was_compared() -> None:
    page = Exposition()
    comparison_gauges(page, None)
    assert "\nqcore_state_different_members " not in page.text()
    page = Exposition()
    comparison_gauges(page, compare({1: {5: "a"}, 2: {5: "a"}, 3: {5: "b"}}))
    assert "\nqcore_state_different_members 1.0\n" in page.text()
    assert "\nqcore_state_difference_index 5.0\n" in page.text()
