"""Compares the answers of two servers field by field. `RULES` lists every field whose values may differ, and why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final

from tests.gateway.differential.exchange import Answer
from tests.gateway.differential.steps import Json, Read, Step


class How(Enum):
    """How two values of a field are compared."""

    ORDER = "mapped by order: the same revisions on one side are the same on the other, and grow in the same order"
    STATE = (
        "mapped by order, or between that revision and the next one: then both name the same state"
    )
    LEASE = "mapped one to one"
    NUMBER = "both are an int64 as a text"
    TEXT = "both are a text"
    NEAR = "an int64 as a text; they differ by 1 at most"
    PARSER = "equal, or both are complaints of a JSON parser about the same kind of mistake"
    ANY_ORDER = "the same elements, in any order"
    MEMBERS = "each member has the same fields, with values of the same types"
    IGNORED = "not compared"


@dataclass(frozen=True, slots=True)
class Rule:
    """Attributes:
    field: the endpoint and the path of the field, with `*` for any characters.
    how: how its values are compared.
    why: the reason for which they may differ.
    """

    field: str
    how: How
    why: str


#: The first that fits is used. A field without a rule must have equal values.
RULES: Final = (
    Rule("*header/cluster_id", How.NUMBER, "each cluster has its own"),
    Rule("*header/member_id", How.NUMBER, "each cluster has its own members"),
    Rule("*header/raft_term", How.IGNORED, "terms depend on elections; a gateway may leave it out"),
    Rule("/v3/maintenance/status:raft*", How.NUMBER, "positions and terms of another log"),
    Rule("/v3/maintenance/status:leader", How.NUMBER, "each cluster has its own members"),
    Rule("/v3/maintenance/status:dbSize*", How.NUMBER, "another storage"),
    Rule("/v3/maintenance/status:version", How.TEXT, "a client asks only for 3.4 or later"),
    Rule("/version:etcd*", How.TEXT, "a client asks only for 3.4 or later"),
    Rule("/v3/cluster/member/list:members", How.MEMBERS, "members are nodes of etcd, or gateways"),
    Rule("*error", How.PARSER, "Go's parsers word it in their own way"),
    Rule("*message", How.PARSER, "Go's parsers word it in their own way"),
    Rule(
        "/v3/kv/txn:*responses/*/header/revision",
        How.STATE,
        "ahead of the first change, the gateway names the revision of the transaction minus 1",
    ),
    Rule("*revision", How.ORDER, "a revision of qcore is a position in its log"),
    Rule("*lease/leases:leases", How.ANY_ORDER, "etcd lists them in the order of a hash table"),
    Rule("*lease/timetolive:keys", How.ANY_ORDER, "etcd lists them in the order of a hash table"),
    Rule("*lease/timetolive:TTL", How.NEAR, "the remaining time depends on the moment"),
    Rule("*/lease", How.LEASE, "the server chooses the number of a lease"),
    Rule("*lease/*:*ID", How.LEASE, "the server chooses the number of a lease"),
)


#: The kinds of what a JSON parser complains about, by the beginnings of its texts.
_COMPLAINTS: Final = (
    ("invalid character", "unexpected EOF"),
    ("illegal base64 data",),
    ("json: cannot unmarshal",),
)
#: How much of a request or an answer a report shows, in characters.
_SHOWN: Final = 400


@dataclass(frozen=True, slots=True)
class Difference:
    """Attributes:
    step: the step with the different answers.
    field: the path of the field.
    expected: the value of the first server.
    found: the value of the second.
    why: what is wrong with the pair.
    """

    step: Step
    field: str
    expected: str
    found: str
    why: str

    def __str__(self) -> str:
        step = self.step
        what = f"{step.items} items of {step.stream}" if isinstance(step, Read) else step.body
        lines = (
            f"{step.path} {what[:_SHOWN]}",
            f"  {self.field or 'answer'}: {self.why}",
            f"    first:  {self.expected}",
            f"    second: {self.found}",
        )
        return "\n".join(lines)


class Comparison:
    """The answers of one sequence: revisions and leases are mapped consistently across all of them."""

    def __init__(self) -> None:
        self._revisions: dict[int, int] = {}
        self._leases: dict[str, str] = {}
        self._step: Step
        self._found: list[Difference] = []

    def differences(self, step: Step, first: Answer, second: Answer) -> list[Difference]:
        """What differs between the answers to a step."""
        self._step, self._found = step, []
        if first.status != second.status:
            self._report("status", first.to_json(), second.to_json(), "other HTTP status")
        elif first.kind != second.kind:
            self._report("content type", first.kind, second.kind, "other content type")
        elif len(first.documents) != len(second.documents):
            self._report("", [*first.documents], [*second.documents], "other number of documents")
        else:
            for one, other in zip(first.documents, second.documents, strict=True):
                self._compare("", one, other)
        return self._found

    def _compare(self, path: str, one: Json, other: Json) -> None:
        rule = self._rule(path)
        if rule is not None:
            self._compare_by(rule.how, path, one, other)
        elif type(one) is not type(other):
            self._report(path, one, other, "other type")
        elif isinstance(one, dict) and isinstance(other, dict):
            self._compare_fields(path, one, other)
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                self._report(path, one, other, "other length")
            for number, (left, right) in enumerate(zip(one, other, strict=False)):
                self._compare(f"{path}/{number}", left, right)
        elif one != other:
            self._report(path, one, other, "other value")

    def _compare_fields(self, path: str, one: dict[str, Json], other: dict[str, Json]) -> None:
        for name in [*one, *(name for name in other if name not in one)]:
            inner = f"{path}/{name}" if path else name
            if name in one and name in other:
                self._compare(inner, one[name], other[name])
            elif (rule := self._rule(inner)) is None or rule.how is not How.IGNORED:
                missing = "absent in the second" if name in one else "absent in the first"
                self._report(inner, one.get(name), other.get(name), missing)

    def _compare_by(self, how: How, path: str, one: Json, other: Json) -> None:
        if how is How.ORDER:
            self._compare_revisions(path, one, other)
        elif how is How.STATE:
            if not self._same_state(_int64(one), _int64(other)):
                self._compare_revisions(path, one, other)
        elif how is How.LEASE:
            self._compare_leases(path, one, other)
        elif how is How.MEMBERS:
            forms = [json.dumps(_outline(members), sort_keys=True) for members in (one, other)]
            if forms[0] != forms[1]:
                self._report(path, one, other, "other fields of members")
        elif how is How.ANY_ORDER:
            self._compare_any_order(path, one, other)
        elif how is How.PARSER:
            if one != other and (_complaint(one) is None or _complaint(one) != _complaint(other)):
                self._report(path, one, other, "other text")
        elif how is How.TEXT:
            if not isinstance(one, str) or not isinstance(other, str):
                self._report(path, one, other, "not both a text")
        elif how is not How.IGNORED:
            left, right = _int64(one), _int64(other)
            if left is None or right is None:
                self._report(path, one, other, "not both an int64 as a text")
            elif how is How.NEAR and abs(left - right) > 1:
                self._report(path, one, other, "other value")

    def _compare_revisions(self, path: str, one: Json, other: Json) -> None:
        left, right = _int64(one), _int64(other)
        if left is None or right is None:
            self._report(path, one, other, "not both an int64 as a text")
            return
        known = self._revisions.get(left)
        if known is not None:
            if known != right:
                self._report(path, one, other, f"was {known} in the second before")
            return
        for earlier, its_pair in self._revisions.items():
            if (earlier < left) != (its_pair < right) or its_pair == right:
                self._report(path, one, other, f"not in order with {earlier} and {its_pair}")
                return
        self._revisions[left] = right

    def _same_state(self, left: int | None, right: int | None) -> bool:
        """Whether `right` is at or behind the pair of `left`, and ahead of the pair of the next revision, if known."""
        known = self._revisions.get(left or 0)
        if left is None or right is None or known is None:
            return False
        later = [pair for revision, pair in self._revisions.items() if revision > left]
        return known == right or (known < right < min(later, default=0))

    def _compare_leases(self, path: str, one: Json, other: Json) -> None:
        if not isinstance(one, str) or not isinstance(other, str) or _int64(other) is None:
            self._report(path, one, other, "not both an int64 as a text")
        elif one in self._leases:
            if self._leases[one] != other:
                self._report(path, one, other, f"was {self._leases[one]} in the second before")
        elif other in self._leases.values():
            self._report(path, one, other, "the second had it for another lease")
        else:
            self._leases[one] = other

    def _compare_any_order(self, path: str, one: Json, other: Json) -> None:
        if not isinstance(one, list) or not isinstance(other, list):
            self._report(path, one, other, "not both a list")
            return
        mapped = sorted(json.dumps(self._mapped(element)) for element in one)
        if mapped != sorted(json.dumps(element) for element in other):
            self._report(path, one, other, "other elements")

    def _mapped(self, element: Json) -> Json:
        if isinstance(element, dict) and isinstance(number := element.get("ID"), str):
            return {**element, "ID": self._leases.get(number, number)}
        return element

    def _rule(self, path: str) -> Rule | None:
        field = f"{self._step.path}:{path}"
        return next((rule for rule in RULES if path and fnmatchcase(field, rule.field)), None)

    def _report(self, field: str, one: Json, other: Json, why: str) -> None:
        self._found.append(Difference(self._step, field, _short(one), _short(other), why))


def _int64(value: Json) -> int | None:
    """The number of a text that is one in its shortest form; None for anything else."""
    if not isinstance(value, str) or not value.removeprefix("-").isdecimal():
        return None
    number = int(value)
    return number if str(number) == value and number != 0 else None


def _complaint(text: Json) -> tuple[str, ...] | None:
    """The kind of a parser's complaint; None for any other text."""
    known = (kind for kind in _COMPLAINTS if isinstance(text, str) and text.startswith(kind))
    return next(known, None)


def _outline(members: Json) -> Json:
    """The fields of all members, once, with the types of their values."""
    if not isinstance(members, list):
        return "no list"
    outlines: list[Json] = []
    for member in members:
        outline: Json = "no object"
        if isinstance(member, dict):
            outline = {name: type(value).__name__ for name, value in member.items()}
        if outline not in outlines:
            outlines.append(outline)
    return outlines


def _short(value: Json) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
