"""The checkers of sets and lists: each rule on a small history, and both against a search for an order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings

from qcore.sim.verdict.collections.append_order import check_list
from qcore.sim.verdict.collections.element_history import Addition, CollectionRead, Element
from qcore.sim.verdict.collections.set_elements import check_set
from tests.sim.support.collection_orders import History, has_an_order, histories

Check = Callable[[Sequence[Addition], Sequence[CollectionRead]], list[str]]
BOTH = pytest.mark.parametrize("check", [check_set, check_list])


def added(element: Element, start: int, end: int | None) -> Addition:
    return Addition(element, start, end, f"the addition of {element}")


def found(
    name: str, start: int, end: int, *elements: Element, stale: bool = False
) -> CollectionRead:
    return CollectionRead(elements, start, end, name, stale)


def the_only_problem(problems: list[str]) -> str:
    assert len(problems) == 1, problems
    return problems[0]


@BOTH
def test_an_acknowledged_element_must_be_read(check: Check) -> None:
    problem = the_only_problem(check([added(1, 0, 5)], [found("A", 6, 7)]))
    assert problem == (
        "A lacks 1, which the addition of 1 added and which was acknowledged before the read began"
    )
    assert not check([added(1, 0, 6)], [found("A", 6, 7)]), "they overlap"
    assert not check([added(1, 0, None)], [found("A", 6, 7)]), "it was not acknowledged"


@BOTH
def test_an_element_must_come_from_a_client(check: Check) -> None:
    assert "which no client added" in the_only_problem(check([], [found("A", 0, 1, 7)]))
    early = check([added(1, 5, 6)], [found("A", 0, 4, 1)])
    assert "before the addition of 1 began to add it" in the_only_problem(early)


@BOTH
def test_a_seen_element_must_not_vanish(check: Check) -> None:
    reads = [found("A", 1, 2, 1), found("B", 3, 4)]
    problem = the_only_problem(check([added(1, 0, None)], reads))
    assert problem == "B lacks 1, which A had before it began"


@BOTH
def test_an_element_must_not_be_there_twice(check: Check) -> None:
    assert "A holds 1 twice" in check([added(1, 0, 1)], [found("A", 2, 3, 1, 1)])


@BOTH
def test_an_element_needs_those_acknowledged_before(check: Check) -> None:
    additions = [added(1, 1, 2), added(2, 3, 9)]
    problem = the_only_problem(check(additions, [found("A", 0, 9, 2)]))
    assert "acknowledged before the addition of 2 began to add 2" in problem
    stale = found("A", 8, 9, 2, stale=True)
    assert check(additions, [stale]), "a stale read must return some state"


@BOTH
def test_a_stale_read_may_return_an_old_state(check: Check) -> None:
    additions = [added(1, 0, 1), added(2, 2, 3)]
    old = [found("A", 5, 6, 1, 2), found("B", 7, 8, 1, stale=True)]
    assert not check(additions, old)
    assert check(additions, [old[0], found("B", 7, 8, 1)])


def test_two_reads_of_a_set_must_be_comparable() -> None:
    additions = [added(1, 0, 9), added(2, 0, 9)]
    problem = the_only_problem(check_set(additions, [found("A", 1, 9, 1), found("B", 1, 9, 2)]))
    assert problem.startswith("A has 1 without 2, and B has 2 without 1")


def test_two_reads_of_a_list_must_agree() -> None:
    additions = [added(1, 0, 9), added(2, 0, 9)]
    reads = [found("A", 1, 9, 1, 2), found("B", 1, 9, 2, 1)]
    problem = the_only_problem(check_list(additions, reads))
    assert problem == ("B has 2 at place 1, and A has 1 there: the reads contradict each other")
    assert not check_set(additions, reads), "a set has no order"


def test_a_list_must_follow_the_order_of_time() -> None:
    additions = [added(1, 0, 1), added(2, 2, 3)]
    problem = the_only_problem(check_list(additions, [found("A", 4, 5, 2, 1)]))
    assert problem.startswith("A has 1 after 2, but the addition of 1 was acknowledged before")


@given(history=histories(is_set=True, altered=True))
@settings(max_examples=150, deadline=None)
def test_the_set_checker_agrees_with_a_search(history: History) -> None:
    assert (not check_set(*history)) == has_an_order(*history, is_set=True), check_set(*history)


@given(history=histories(is_set=False, altered=True))
@settings(max_examples=150, deadline=None)
def test_the_list_checker_agrees_with_a_search(history: History) -> None:
    assert (not check_list(*history)) == has_an_order(*history, is_set=False), check_list(*history)


@given(a_set=histories(is_set=True, altered=False), a_list=histories(is_set=False, altered=False))
@settings(max_examples=60, deadline=None)
def test_correct_collections_have_no_problem(a_set: History, a_list: History) -> None:
    assert not check_set(*a_set)
    assert not check_list(*a_list)
