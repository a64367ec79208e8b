"""What a node without a leader says about the members: the newest configuration that it has committed."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

from qcore.cli.cluster.member import Members, members_without_leader
from qcore.core.entry import Membership
from qcore.core.raft import RaftCore
from qcore.core.status import CoreStatus
from qcore.node.status.metrics_object import _committed_membership, _membership

OLD = Membership((1, 2), learners=(3,), addresses=((1, "a:1"), (2, "b:1"), (3, "c:1")))
NEW = replace(OLD, addresses=((1, "a:1"), (2, "b:1"), (3, "new:1")))


def listed(committed_index: int, committed: Membership) -> Members:
    """What `member list` makes of a node whose newest configuration is `NEW`, at index 9."""
    core = SimpleNamespace(committed_membership=(committed_index, committed))
    status = SimpleNamespace(membership_index=9)
    more = _committed_membership(cast(RaftCore, core), cast(CoreStatus, status))
    config = {"membership": _membership(NEW)}
    extra = {"membership_index": 9, "learners": [3], **more}
    return members_without_leader({"membership_config": config, "qcore": extra})


def test_an_uncommitted_configuration_is_not_listed() -> None:
    members = listed(4, OLD)
    assert (members.index, members.leader, members.addresses[3]) == (4, None, "c:1")
    assert (members.voters, members.learners, members.is_joint) == ([1, 2], [3], False)


def test_the_newest_configuration_is_listed_if_it_is_committed() -> None:
    members = listed(9, NEW)
    assert (members.index, members.leader, members.addresses[3]) == (9, None, "new:1")
