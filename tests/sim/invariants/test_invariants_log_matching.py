"""The step-by-step check of log matching agrees with the definition, applied to every pair of logs."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.core.effects import AppendLog, TruncateLog
from qcore.core.entry import DurableState, Entry
from qcore.sim.invariants import Invariants

NODES = (1, 2, 3)
Log = tuple[Entry, ...]

#: (node, indexes to cut off the end, (term, data) of the entries to append)
Step = tuple[int, int, list[tuple[int, str]]]

steps = st.lists(
    st.tuples(
        st.sampled_from(NODES),
        st.integers(0, 2),
        st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["", "", "", "x"])), max_size=3),
    ),
    max_size=10,
)


def match(one: Log, other: Log) -> bool:
    """The property in the paper's words, figure 3."""
    for position in range(min(len(one), len(other))):
        if one[position].term == other[position].term:
            prefixes_equal = one[: position + 1] == other[: position + 1]
            if not prefixes_equal:
                return False
    return True


@settings(max_examples=600)
@given(steps)
def test_the_incremental_check_equals_comparing_all_logs(
    script: list[Step],
) -> None:
    found: list[str] = []

    def report(check: str, node: int, note: str) -> None:
        if check == "log_matching":
            found.append(note)

    invariants = Invariants(report)
    logs: dict[int, Log] = {}
    for node in NODES:
        invariants.on_start(node, DurableState())
        logs[node] = ()
    history: list[Log] = []
    made: dict[tuple[int, int, str], Entry] = {}  # shared by the logs, as in the simulator
    for node, cut, new in script:
        log = logs[node][: max(0, len(logs[node]) - cut)]
        if len(log) < len(logs[node]):
            invariants.on_effect(node, TruncateLog(1, len(log) + 1), 0)
        entries: list[Entry] = []
        term = log[-1].term if log else 1
        for at_least, data in new:
            term = max(
                term, at_least
            )  # keep terms from falling along a log, which another check reports
            index = len(log) + len(entries) + 1
            fresh = Entry(index, term, "command", data, index)
            entries.append(made.setdefault((index, term, data), fresh))
        if entries:
            invariants.on_effect(node, AppendLog(1, entries), 0)
        logs[node] = (*log, *entries)
        agrees = all(match(logs[node], other) for other in history)
        history.append(logs[node])
        assert (not found) == agrees
        if found:
            return
