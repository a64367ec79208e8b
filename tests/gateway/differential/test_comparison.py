"""The comparison is silent about equal servers, and finds each planted mistake, in answers that etcd gave."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.gateway.differential.comparison import RULES, How
from tests.gateway.differential.corpus import RECORDED
from tests.gateway.differential.exchange import Answer
from tests.gateway.differential.recording import compare_answers, recorded
from tests.gateway.differential.steps import Json, Sequence, Step, Watch, resolve

Answers = tuple[Answer, ...]
Mistake = Callable[[Step, str], str]

ANSWERS = recorded()
_REVISION = re.compile(r'("(?:\w+_)?revision": )"(\d+)"')


def edited(sequence: Sequence, edit: Mistake) -> Answers:
    """The recorded answers of a sequence, with an edit of the JSON of each one."""
    return tuple(
        Answer.from_json(json.loads(edit(step, json.dumps(answer.to_json()))))
        for step, answer in zip(sequence.steps, ANSWERS[sequence.name], strict=True)
    )


def found_in(edit: Mistake) -> list[str]:
    """The sequences in which an edit of the answers is found."""
    return [
        sequence.name
        for sequence in RECORDED
        if compare_answers(sequence.steps, ANSWERS[sequence.name], edited(sequence, edit))
    ]


def test_each_step_has_a_recorded_answer() -> None:
    assert {sequence.name: len(sequence.steps) for sequence in RECORDED} == {
        name: len(answers) for name, answers in ANSWERS.items()
    }


def test_no_recorded_answer_is_silence() -> None:
    assert all(answer.status for answer in sum(ANSWERS.values(), ()))


def test_the_same_answers_are_equal() -> None:
    assert found_in(lambda step, text: text) == []


def test_other_revisions_in_the_same_order_are_equal() -> None:
    def later(step: Step, text: str) -> str:
        return _REVISION.sub(lambda match: f'{match[1]}"{int(match[2]) * 7 + 5}"', text)

    assert found_in(later) == []


def test_other_ids_of_the_cluster_are_equal() -> None:
    def other(step: Step, text: str) -> str:
        text = re.sub(r'("(?:cluster|member)_id": )"\d+"', r'\1"77"', text)
        return re.sub(r', "raft_term": "\d+"', "", text)

    assert found_in(other) == []


def once(old: str, new: str) -> Mistake:
    """Replaces what the pattern finds first in each answer."""
    return lambda step, text: re.sub(old, new, text, count=1)


def of_requests(part: str, mistake: Mistake) -> Mistake:
    """A mistake in the answers to some requests only."""
    return lambda step, text: mistake(step, text) if part in f"{step.path} {step}" else text


#: Mistakes that a gateway could make, and a sequence in which each one must be found.
MISTAKES: dict[str, tuple[str, Mistake]] = {
    "a revision as a number": ("puts", once(r'"revision": "(\d+)"', r'"revision": \1')),
    "a version as a number": ("ranges", once(r'"version": "(\d+)"', r'"version": \1')),
    "a count as a number": ("ranges", once(r'"count": "(\d+)"', r'"count": \1')),
    "a zero that is shown": ("ranges", once(r'("raft_term": "\d+"})', r'\1, "count": "0"')),
    "false that is shown": ("branches", once(r'("raft_term": "\d+"})', r'\1, "more": false')),
    "an empty value that is shown": ("puts", once(r'("version": "\d+")}', r'\1, "value": ""}')),
    "the count of a page": ("limits_and_sorting", once(r'"more": true, "count": "5"', '"count": "1"')),
    "more is left out": ("limits_and_sorting", once(r'"more": true, ', "")),
    "succeeded is left out": ("comparisons", once(r', "succeeded": true', "")),
    "the wrong branch": ("branches", once(r'"response_range"', '"response_put"')),
    "no header of inner answers": ("nested", once(r'"response_put": {"header": {[^}]*}}', '"response_put": {}')),
    "another revision of an inner answer": ("nested", once(r'(put": {"header": {"revision": ")', r"\g<1>9")),
    "another code": ("unknown_leases", once(r'"code": 5', '"code": 3')),
    "another status": ("unknown_leases", once(r"^\[404", "[400")),
    "another text": ("unknown_leases", once("requested lease not found", "lease not found")),
    "no message": ("unknown_leases", once(r'"message": "[^"]*", ', "")),
    "another content type": ("puts", once("application/json", "application/json; charset=utf-8")),
    "TTL of an unknown lease": ("unknown_leases", once(r'("ID": "999")}}', r'\1, "TTL": "0"}}')),
    "another TTL": ("keep_alives", once(r'"TTL": "700"', '"TTL": "699"')),
    "another granted TTL": ("keys_of_leases", once(r'"grantedTTL": "600"', '"grantedTTL": "599"')),
    "a missing key of a lease": ("keys_of_leases", once(r'"keys": \["\w+==", ', '"keys": [')),
    "another lease of a key": ("keys_of_leases", once(r'"lease": "4242"', '"lease": "4243"')),
    "a lost previous value": ("puts", once(r', "prev_kv": {[^}]*}', "")),
    "a lost event": ("live_watches", once(r'(json", ){[^}]*"event".*?}}, {', r'\1{')),
    "no type of a deletion": ("live_watches", once(r'"type": "DELETE", ', "")),
    "the version of a deleted key": ("live_watches", once(r'("type": "DELETE", "kv": {)', r'\1"version": "1", ')),
    "an event later than its header": ("live_watches", once(r'"covers": true', '"covers": false')),
    "no created": ("live_watches", once(r', "created": true', "")),
    "another watch": ("several_watches_of_a_stream", once(r'"watch_id": "7"', '"watch_id": "8"')),
    "no reason of a cancellation": ("several_watches_of_a_stream", once(r', "cancel_reason": "[^"]*"', "")),
    "no compacted revision": ("compacted_watches", once(r', "compact_revision": "\d+"', "")),
    "members without addresses": ("facts_of_the_cluster", once(r', "clientURLs": \[[^]]*\]', "")),
    "a page of an error": ("paths_and_methods", once("404 page not found", "Not Found")),
    "silence": ("puts", lambda step, text: '[0, ""]' if "prev_kv" in f"{step}" else text),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_found(name: str) -> None:
    where, mistake = MISTAKES[name]
    assert where in found_in(mistake)


def shifted(name: str, number: int, by: int) -> list[str]:
    """What is found if one revision of one answer is another one."""
    sequence = next(sequence for sequence in RECORDED if sequence.name == name)

    def shift(match: re.Match[str]) -> str:
        return f'{match[1]}"{int(match[2]) + by}"'

    def edit(step: Step, text: str) -> str:
        return _REVISION.sub(shift, text, count=1) if step is sequence.steps[number] else text

    differences = compare_answers(sequence.steps, ANSWERS[name], edited(sequence, edit))
    return [difference.why for difference in differences]


def test_one_other_revision_is_found() -> None:
    """A revision that is the same in two answers of etcd must be so in those of the gateway, and in order."""
    assert shifted("puts", 5, 1)
    assert shifted("puts", 5, -1)
    assert shifted("puts", 1, 1)


def test_two_leases_with_one_number_are_found() -> None:
    sequence = next(sequence for sequence in RECORDED if sequence.name == "grants")
    first, second = (
        answer.documents[0]["ID"]  # type: ignore[index, call-overload]  # an object, as recorded
        for answer in ANSWERS["grants"][1:3]
    )
    assert compare_answers(
        sequence.steps,
        ANSWERS["grants"],
        edited(sequence, lambda step, text: text.replace(str(second), str(first))),
    )


def test_other_kinds_of_complaints_are_found() -> None:
    """A parser may word a complaint in its own way, but not another complaint, and not with another code."""
    rule = next(rule for rule in RULES if rule.how is How.PARSER)
    assert rule.why
    reworded = once(r'"illegal base64 data at input byte \d+"', '"illegal base64 data"')
    assert "base64" not in found_in(reworded)
    other = once(r'"illegal base64 data at input byte \d+"', '"invalid character"')
    assert "base64" in found_in(other)
    assert "base64" in found_in(once(r'"code": 3', '"code": 2'))


def test_references_take_the_numbers_of_the_same_server() -> None:
    answers: dict[str, Json] = {"a": {"header": {"revision": "7"}, "kvs": [{"lease": 3}]}}
    body = '{"x": "<a.header.revision+1>", "y": <a.kvs.0.lease-5>, "z": "<b.ID>"}'
    assert resolve(body, answers) == '{"x": "8", "y": -2, "z": "0"}'


def test_a_silent_server_is_no_answer() -> None:
    step = Watch("w", "{}")
    answer = Answer(200, "application/json", ({"result": {"created": True}},))
    assert compare_answers([step], [answer], [replace(answer, status=0, documents=())])
