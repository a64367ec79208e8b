"""The texts of memberships and versions: written and read without pydantic, as pydantic writes and reads them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from qcore.core.entry import Membership
from qcore.core.version import ClusterVersion

MEMBERSHIPS = TypeAdapter(Membership)
VERSIONS = TypeAdapter(ClusterVersion)

numbers = st.integers(0, 2**64)
ids = st.lists(numbers, max_size=3).map(tuple)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
memberships = st.builds(
    Membership,
    ids,
    ids,
    ids,
    ids,
    st.lists(st.tuples(numbers, texts), max_size=3).map(tuple),
    texts,
    st.lists(st.tuples(numbers, numbers), max_size=2).map(tuple),
    st.booleans(),
)
numbers_of_version = st.integers(1, 2**31 - 1)
versions = st.builds(ClusterVersion, numbers_of_version, texts, numbers_of_version)

#: JSON values of every kind, near the limits of the fields.
odd_values = st.one_of(
    st.sampled_from(
        [None, True, 0, -1, 2**31 - 1, 2**31, 1.0, "1", "", "m" * 65, [], {}, [1], ["1"], [True]]
    ),
    st.sampled_from([[[1, "a"]], [[1, 2]], [[1]], [["1", "a"]], [[1, "a", 2]], [1.0], [[True, 2]]]),
)


@given(memberships)
def test_a_membership_is_written_as_pydantic_writes_it(membership: Membership) -> None:
    text = membership.to_json()
    assert text == MEMBERSHIPS.dump_json(membership).decode()
    assert Membership.from_json(text) == membership


@given(versions)
def test_a_version_is_written_as_pydantic_writes_it(version: ClusterVersion) -> None:
    text = version.to_json()
    assert text == VERSIONS.dump_json(version).decode()
    assert ClusterVersion.from_json(text) == version


def accepted(parse: Any, text: str) -> object:
    try:
        return parse(text)
    except ValueError:
        return None


@given(
    st.dictionaries(
        st.sampled_from(["voters", "learners", "addresses", "cluster_id", "joined", "other"])
        | st.just("auto_leave"),
        odd_values,
    )
)
def test_the_same_memberships_are_read(values: dict[str, object]) -> None:
    """Number texts and the like, which pydantic would convert by default, were never written and are not read."""
    text = json.dumps(values)
    expected = accepted(lambda text: MEMBERSHIPS.validate_json(text, strict=True), text)
    assert accepted(Membership.from_json, text) == expected


@given(st.dictionaries(st.sampled_from(["rules", "machine", "machine_version", "x"]), odd_values))
def test_the_same_versions_are_read(values: dict[str, object]) -> None:
    text = json.dumps(values)
    assert accepted(ClusterVersion.from_json, text) == accepted(VERSIONS.validate_json, text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", "{} {}", "\ufeff{}", "[" * 100_000, "1" * 5000),
        *('{"cluster_id": "\\ud800"}', '{"machine": "\\ud800"}'),
        *('{"machine": "\t"}', '{"cluster_id": "\n"}'),
    ],
)
def test_a_text_that_is_no_json_object_is_rejected(text: str) -> None:
    for parse in (Membership.from_json, ClusterVersion.from_json):
        with pytest.raises(ValueError):
            parse(text)


def test_the_core_runs_without_pydantic() -> None:
    code = (
        "import sys; sys.modules['pydantic'] = sys.modules['pydantic_core'] = None\n"
        "import qcore.core; from qcore.core import Membership, RaftConfig, RaftCore, DurableState\n"
        "import random\n"
        "core = RaftCore(RaftConfig(node_id=1), DurableState(), rng=random.Random(1), now=0)\n"
        "print(core.role, Membership.from_json(Membership(voters=(1,)).to_json()).voters)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "learner (1,)\n"
