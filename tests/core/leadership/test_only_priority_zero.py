"""A server reports that no node may lead, as far as it knows the priorities."""

from __future__ import annotations

from qcore.core import Membership, RaftConfig
from tests.core.support.single_core import restored


def test_only_voter_of_priority_zero_is_reported() -> None:
    alone = Membership(voters=(1,))
    problem = restored(config=RaftConfig(1, priority=0), membership=alone).status().priority_problem
    assert problem is not None
    assert problem.startswith("all of the voters [1] have priority 0, and no node may lead")
    assert restored(config=RaftConfig(1), membership=alone).status().priority_problem is None
