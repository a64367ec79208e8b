"""A difference of session tables names the session, and what differs in it."""

from __future__ import annotations

from qcore.core.version import LATEST_RULES
from qcore.replica.sessions.client_session import Session
from qcore.replica.sessions.session_text import table_text
from qcore.sim.invariants.session_differences import SessionDifferences
from qcore.sim.invariants.state_hash import StatesDiffer

DIFFER = StatesDiffer(9, 2, "aa", 1, "bb", 0, ())


def explained(first: dict[int, Session], second: dict[int, Session]) -> str:
    differences = SessionDifferences()
    for table in (first, second):
        text = "".join(table_text([*table.items()], LATEST_RULES)) if table else ""
        differences.saw(9, text)
    return differences.explain(DIFFER)


def session(replies: list[tuple[int, str]], used_us: int = 5, acknowledged: int = 0) -> Session:
    return Session.restored(1000, used_us, acknowledged, [*replies])


def test_missing_replies_are_named_with_their_session() -> None:
    text = explained({3: session([(1, '"x"'), (2, '"y"')])}, {3: session([])})
    assert text == "; session 3: node 1 has the replies to commands 1, 2, node 2 has not"


def test_other_differences_are_named() -> None:
    text = explained(
        {3: session([(1, '"x"')]), 4: session([])},
        {3: session([(1, '"z"')], used_us=7, acknowledged=0)},
    )
    assert "the replies to commands 1 differ" in text
    assert "the time of last use in microseconds: 7 on node 2, 5 on node 1" in text
    assert "session 4 is missing in the table of node 2" in text


def test_a_node_without_sessions_lacks_all() -> None:
    assert explained({}, {7: session([])}) == "; session 7 is missing in the table of node 1"


def test_a_table_of_long_ago_is_not_explained() -> None:
    differences = SessionDifferences()
    for index in range(9, 200):
        differences.saw(index, "")
    assert differences.explain(DIFFER) == ""
