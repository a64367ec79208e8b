"""No item is lost, doubled, handled by two at a time, handled after its acknowledgement, or tried too often."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from qcore.client.programs.program_context import ProgramRecord
from tests.recipes.checks.exclusion_check import at_of, exclusion_violations, token_of
from tests.recipes.programs.queue_program import MAX_ATTEMPTS


def queue_violations(records: Sequence[ProgramRecord]) -> list[str]:
    """What contradicts the guarantee of `Queue`.

    Args:
        records: those of `queue_program`.
    """
    by_number: dict[int, list[ProgramRecord]] = defaultdict(list)
    for each in records:
        if each.what in ("acquired", "held", "acknowledging", "acknowledged", "cancelled"):
            by_number[number_of(each)].append(each)
    violations = _violations_of_puts(records) + _violations_of_reads(records)
    for number, of_item in sorted(by_number.items()):
        violations += [f"item {number}{each}" for each in _violations_of_item(of_item)]
    return violations


def drain_violations(records: Sequence[ProgramRecord], before_s: float) -> list[str]:
    """The items that were put before a time and were neither acknowledged nor dead at the end.

    Args:
        records: those of `queue_program`.
        before_s: the time, by `ProgramRecord.time_s`.
    """
    reads = [each for each in records if each.what == "read"]
    if not reads:
        return ["the queue was never read"]
    waiting = set(numbers_of(reads[-1], "waiting"))
    return [
        f"item {number}, put at {each.time_s:.3f}, is still in the queue at {reads[-1].time_s:.3f}"
        for each in records
        if each.what == "put" and each.time_s < before_s
        for number in numbers_of(each, "numbers")
        if number in waiting
    ]


def _violations_of_item(records: Sequence[ProgramRecord]) -> list[str]:
    """What is wrong with the claims of one item."""
    violations = exclusion_violations(records)
    acquired = {token_of(each): each for each in records if each.what == "acquired"}
    tokens = sorted(acquired)
    attempts = [_attempt(acquired[token]) for token in tokens]
    if attempts and attempts[-1] > MAX_ATTEMPTS:
        violations.append(f": attempt {attempts[-1]}, of {MAX_ATTEMPTS}")
    # A block that is cancelled gives its item back, which counts no attempt.
    cancelled = {token_of(each) for each in records if each.what == "cancelled"}
    for token, (before, after) in zip(tokens, pairwise(attempts), strict=False):
        if after < before or (after == before and token not in cancelled):
            violations.append(f": attempt {after} after attempt {before}")
    confirmed = sorted({token_of(each) for each in records if each.what == "acknowledged"})
    if len(confirmed) > 1:
        violations.append(f": acknowledged with the tokens {confirmed}")
    for token in confirmed:
        later = [each for each in tokens if each > token]
        if later:
            violations.append(f": claimed with token {later[0]}, acknowledged with token {token}")
    done_at = [at_of(each) for each in records if each.what == "acknowledged"]
    for each in records:
        if each.what == "held" and done_at and at_of(each) > min(done_at):
            violations.append(f": held at {at_of(each):.6f}, acknowledged at {min(done_at):.6f}")
    return violations


def _violations_of_puts(records: Sequence[ProgramRecord]) -> list[str]:
    """What is wrong with numbers and data: each put has one number, and each number was put."""
    violations: list[str] = []
    offered = {
        item for each in records if each.what == "putting" for item in texts_of(each, "items")
    }
    refused = {
        item for each in records if each.what == "not_put" for item in texts_of(each, "items")
    }
    number_of_item: dict[str, int] = {}
    item_of_number: dict[int, str] = {}
    seen: list[tuple[int, str]] = []
    for each in records:
        if each.what == "put":
            numbers = numbers_of(each, "numbers")
            if numbers != [*range(numbers[0], numbers[0] + len(numbers))]:
                violations.append(f"one put has the numbers {numbers}")
            seen += zip(numbers, texts_of(each, "items"), strict=True)
        elif each.what == "acquired":
            seen.append((number_of(each), str(each.details["item"])))
    for number, item in seen:
        if item not in offered or item in refused:
            violations.append(f"item {number} with {item!r} was not put")
        if number_of_item.setdefault(item, number) != number:
            violations.append(f"{item!r} is in the queue as {number_of_item[item]} and {number}")
        if item_of_number.setdefault(number, item) != item:
            violations.append(f"item {number} is {item_of_number[number]!r} and {item!r}")
    return violations


def _violations_of_reads(records: Sequence[ProgramRecord]) -> list[str]:
    """The items that a read of the queue should have shown, or should not."""
    acknowledging = {number_of(each) for each in records if each.what == "acknowledging"}
    acknowledged = {number_of(each): at_of(each) for each in records if each.what == "acknowledged"}
    put = {
        number: at_of(each)
        for each in records
        if each.what == "put"
        for number in numbers_of(each, "numbers")
    }
    violations: list[str] = []
    for read in (each for each in records if each.what == "read"):
        at = at_of(read)
        present = {*numbers_of(read, "waiting"), *numbers_of(read, "dead")}
        for number, put_at in put.items():
            if put_at < at and number not in present and number not in acknowledging:
                violations.append(f"item {number}, put at {put_at:.6f}, is lost at {at:.6f}")
        violations += [
            f"item {number}, acknowledged at {acknowledged[number]:.6f}, is in the queue at {at:.6f}"
            for number in sorted(present)
            if acknowledged.get(number, at) < at
        ]
    return violations


def number_of(record: ProgramRecord) -> int:
    """The number of the item of a record."""
    number = record.details["number"]
    assert isinstance(number, int), record
    return number


def numbers_of(record: ProgramRecord, name: str) -> list[int]:
    """A list of numbers in a record."""
    numbers = record.details[name]
    assert isinstance(numbers, list), record
    return [number for number in numbers if isinstance(number, int)]


def texts_of(record: ProgramRecord, name: str) -> list[str]:
    """A list of texts in a record."""
    texts = record.details[name]
    assert isinstance(texts, list), record
    return [str(text) for text in texts]


def _attempt(record: ProgramRecord) -> int:
    attempt = record.details["attempt"]
    assert isinstance(attempt, int), record
    return attempt
