"""Every configuration records when each member joined, so a member that was added again differs from before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qcore.core import Membership
from qcore.core.events import ChangeMembership
from qcore.core.membership import configuration_after_joint, first_configuration

members = st.frozensets(st.integers(1, 7), min_size=1)


@given(st.lists(st.tuples(members, members), min_size=1, max_size=12))
def test_joined_index_is_the_start_of_the_membership(
    changes: list[tuple[frozenset[int], frozenset[int]]],
) -> None:
    """Members come and go, by one entry or by two; the result is compared with a separate record."""
    now = Membership(voters=(1, 2, 3))
    since = {1: 0, 2: 0, 3: 0}
    index = 1
    for voters, others in changes:
        event = ChangeMembership(tuple(voters), tuple(others - voters), (), 0)
        steps = [first_configuration(now, event, index + 1)]
        if steps[0].is_joint:
            steps.append(configuration_after_joint(steps[0]))
        for now in steps:
            index += 1
            since = {member: since.get(member, index) for member in now.members()}
            assert {member: now.joined_at(member) for member in now.members()} == since
            assert Membership.from_json(now.to_json()) == now


def test_configuration_without_new_members_keeps_its_format() -> None:
    assert "joined" not in Membership(voters=(1, 2, 3)).to_json()
