"""Each watcher gets every version once and in order, or learns that it has skipped some; each update counts once.

The versions of the configuration are numbers, and each write adds one.
"""

from __future__ import annotations

from collections.abc import Sequence

from qcore.client.programs.program_context import ProgramRecord


def config_violations(records: Sequence[ProgramRecord]) -> list[str]:
    """What contradicts the guarantee of `ConfigWatch`.

    Args:
        records: `began`, `change`, `synced` and `written`.
    """
    return [
        *_order_violations(records),
        *_freshness_violations(records),
        *_update_violations(records),
    ]


def _order_violations(records: Sequence[ProgramRecord]) -> list[str]:
    """Gaps, repetitions and steps back in what each iterator got."""
    violations: list[str] = []
    last: dict[str, tuple[int, int]] = {}
    for each in records:
        if each.what not in ("began", "change"):
            continue
        watcher, revision = str(each.details["watcher"]), number_of(each, "revision")
        value = number_of(each, "value")
        if each.what == "change":
            before, at = last[watcher]
            is_skipped = each.details["skipped"] is True
            if number_of(each, "previous") != before:
                violations.append(
                    f"{watcher}: version {value} follows {each.details['previous']}, not {before}"
                )
            if value != before + 1 and not (is_skipped and value > before):
                violations.append(f"{watcher}: after version {before} came {value}")
            if revision <= at and not (is_skipped and revision == at):
                violations.append(f"{watcher}: after revision {at} came {revision}")
        last[watcher] = value, revision
    return violations


def _freshness_violations(records: Sequence[ProgramRecord]) -> list[str]:
    """A `sync` that did not bring what was written before it."""
    written = [each for each in records if each.what == "written"]
    violations: list[str] = []
    for each in records:
        if each.what != "synced":
            continue
        began, value = each.details["began"], number_of(each, "value")
        newest = max(
            (number_of(one, "value") for one in written if time_of(one, "at") < _float(began)),
            default=0,
        )
        if value < newest:
            violations.append(
                f"client {each.client} synced at {began} to {value}, when {newest} was written"
            )
    return violations


def _update_violations(records: Sequence[ProgramRecord]) -> list[str]:
    """An update that counted twice or not at all, and versions that differ between watchers."""
    violations: list[str] = []
    update_of: dict[int, object] = {}
    version_of: dict[object, int] = {}
    for each in records:
        if each.what in ("change", "written"):
            value, update = number_of(each, "value"), each.details["update"]
            if update_of.setdefault(value, update) != update:
                violations.append(f"version {value} is that of {update_of[value]} and of {update}")
            if version_of.setdefault(update, value) != value:
                violations.append(f"{update} made the versions {version_of[update]} and {value}")
    return violations


def number_of(record: ProgramRecord, name: str) -> int:
    """A whole number of a record."""
    found = record.details[name]
    assert isinstance(found, int), record
    return found


def time_of(record: ProgramRecord, name: str) -> float:
    """A time of a record, seconds of a clock that all programs of the run share."""
    return _float(record.details[name])


def _float(value: object) -> float:
    assert isinstance(value, int | float), value
    return float(value)
