"""Guard: each check of a run and each expectation has a test in which it catches a planted fault.

A new name in `VIOLATIONS` or a new key of `expect` fails here until it has one.
"""

from __future__ import annotations

import ast
import re
from typing import Final

import pytest

from qcore.sim.scenario.specs.expect_spec import VIOLATIONS, ExpectSpec
from tests.checkout import CHECKOUT
from tests.sim.verdict.test_expectations import CASES

#: Check -> the test in which it catches a planted fault.
PLANTED_VIOLATIONS: Final = {
    "election_safety": "invariants/test_invariants.py::test_two_leaders_in_one_term_are_reported",
    "leader_append_only": "invariants/test_invariants.py::test_a_leader_that_overwrites_its_log_is_reported",
    "log_matching": "invariants/test_invariants.py::test_equal_entries_after_different_prefixes_are_reported",
    "leader_completeness": "invariants/test_invariants.py::test_a_leader_without_a_committed_entry_is_reported",
    "state_machine_safety": "invariants/test_invariants.py::test_two_servers_that_apply_differently_are_reported",
    "commit_monotonic": "invariants/test_invariants.py::test_a_commit_index_that_falls_or_overruns_is_reported",
    "durability": "invariants/test_promises.py::test_a_run_without_crashes_shows_it",
    "quorum": "invariants/test_promises.py::test_a_run_without_crashes_shows_it",
    "state_hash": "world/test_custom_machine.py::test_a_machine_that_breaks_the_rules_is_caught",
    "session_hash": "verdict/test_potency.py::test_a_planted_fault_is_found_within_four_seeds",
    "linearizability": "planted/answers/test_faulty_machines.py::test_a_faulty_machine_is_found_and_explained",
    "sequential_consistency": "planted/answers/test_weaker_levels.py::test_stale_reads_break_the_order_of_a_client",
    "serializability": "planted/answers/test_weaker_levels.py::test_a_write_skew_is_not_serializable",
    "model": "planted/answers/test_faulty_machines.py::test_a_faulty_machine_is_found_and_explained",
    "set_elements": "workload/test_collection_loads.py::test_a_faulty_machine_is_caught",
    "append_order": "workload/test_collection_loads.py::test_a_faulty_machine_is_caught",
    "invariant": "oracles/test_state_oracles.py::test_a_failed_invariant_names_node_index_command",
    "always": "oracles/test_state_oracles.py::test_always_is_a_violation_with_the_name_of_the_function",
    "check": "oracles/test_history_and_model.py::test_a_check_fails_by_texts_or_by_assertions",
    "client_program": "planted/answers/test_programs_and_models.py::test_a_program_that_raises_is_a_violation",
    "stale_read": "verdict/test_potency.py::test_a_planted_fault_is_found_within_four_seeds",
    "acknowledged_write_lost": "verdict/test_lost_writes.py::test_a_write_is_lost_if_blank_nodes_can_be_elected",
    "answer": "workload/test_wrong_answers.py::test_the_answer_to_another_request_is_reported",
    "watches": "invariants/test_watch_checker.py::test_a_planted_fault_is_noticed_and_explained",
    "determinism": "planted/machines/test_nondeterministic_machines.py::test_a_planted_fault_is_caught_and_explained",
    "machine_contract": "world/test_custom_machine.py::test_a_run_fails_if_all_requests_of_one_kind_get_errors",
    "node_failed": "world/test_custom_machine.py::test_a_machine_that_breaks_the_rules_is_caught",
}

#: Keys of `expect` that judge safety -> the test in which they catch a planted fault, beside the cases of
#: `test_expectations`, in which every key can hold and can fail.
PLANTED_EXPECTATIONS: Final = {
    "exactly_once": "workload/test_sessions.py::test_double_counting_without_recorded_replies_is_caught",
    "commits_in_minority": "verdict/test_minority_commits.py::test_a_commit_not_stored_by_a_quorum_is_counted",
    "acknowledged_writes_present": "verdict/test_lost_writes.py::test_a_write_is_lost_if_blank_nodes_can_be_elected",
    "converges": "world/test_custom_machine.py::test_a_machine_that_cannot_hash_its_state_fails_the_run",
    "watchers_complete": "invariants/test_watch_checker.py::test_a_watch_that_falls_silent_is_not_complete",
    "consistency": "planted/answers/test_weaker_levels.py::test_stale_reads_break_the_order_of_a_client",
}


def test_every_violation_has_a_planted_fault() -> None:
    assert set(PLANTED_VIOLATIONS) == set(VIOLATIONS) - {"any"}


def test_every_expectation_has_a_run_in_which_it_fails() -> None:
    failing = {name for name, _, _, fails, _ in CASES if fails is not None}
    assert failing == set(ExpectSpec.model_fields)
    assert set(PLANTED_EXPECTATIONS) <= set(ExpectSpec.model_fields)


@pytest.mark.parametrize(
    ("name", "place"), [*PLANTED_VIOLATIONS.items(), *PLANTED_EXPECTATIONS.items()]
)
def test_the_named_test_exists_and_names_the_check(name: str, place: str) -> None:
    file, _, function = place.partition("::")
    text = (CHECKOUT / "tests" / "sim" / file).read_text(encoding="utf-8")
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    assert function in [node.name for node in functions], f"{file} has no {function}"
    assert re.search(rf"\b{name}\b", text), f"{file} does not name {name}"
