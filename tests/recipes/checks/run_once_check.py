"""Slots start in order, one at a time, at most once or until they are done."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from qcore.client.programs.program_context import ProgramRecord
from tests.recipes.checks.exclusion_check import exclusion_violations, token_of


def run_once_violations(records: Sequence[ProgramRecord], *, retry: bool) -> list[str]:
    """What contradicts the guarantee of `RunOnce`.

    Args:
        records: those of `run_once_program`.
        retry: whether a slot may be started again.
    """
    violations = [f"the job{each}" for each in exclusion_violations(records)]
    begun = sorted((each for each in records if each.what == "begun"), key=token_of)
    for before, after in pairwise(begun):
        if token_of(before) == token_of(after):
            violations.append(f"two runs have the token {token_of(after)}")
        if slot_of(after) < slot_of(before):
            violations.append(f"slot {slot_of(after)} began after slot {slot_of(before)}")
        if slot_of(after) == slot_of(before) and not retry:
            violations.append(f"slot {slot_of(after)} began twice")
    done = {(slot_of(each), token_of(each)) for each in records if each.what == "done"}
    for slot, token in sorted(done):
        later = [
            token_of(each) for each in begun if slot_of(each) == slot and token_of(each) > token
        ]
        if later:
            violations.append(f"slot {slot} was done with token {token}, and began with {later[0]}")
    if len({slot for slot, _ in done}) < len(done):
        violations.append("a slot was done twice")
    if retry:
        violations += [
            f"slot {slot_of(each)} began, was not done, and slot {slot_of(after)} was begun"
            for each, after in pairwise(begun)
            if slot_of(after) > slot_of(each) and not _has_end(each, records)
        ]
    return violations


def slot_violations(
    records: Sequence[ProgramRecord], every_s: float, from_s: float, until_s: float, least: float
) -> list[str]:
    """A violation if too few of the slots between two times were done.

    A slot may be missed, also when all is well, if the run before it waits for a message that was lost.

    Args:
        records: those of `run_once_program`.
        every_s: the time between slots.
        from_s, until_s: the times, by `ProgramRecord.time_s`.
        least: the least share of the slots.
    """
    done = {
        slot_of(each) for each in records if each.what == "done" and from_s <= each.time_s < until_s
    }
    expected = (until_s - from_s) / every_s
    if len(done) >= least * expected - 1:
        return []
    return [
        f"{len(done)} slots were done from {from_s:g} s to {until_s:g} s, of about {expected:.0f}"
    ]


def _has_end(begun: ProgramRecord, records: Sequence[ProgramRecord]) -> bool:
    """Whether a run of the slot has come to its end. Then it may be done, whether that was confirmed or not."""
    return any(each.what == "finishing" and slot_of(each) == slot_of(begun) for each in records)


def slot_of(record: ProgramRecord) -> int:
    """The slot of a record."""
    slot = record.details["slot"]
    assert isinstance(slot, int), record
    return slot
