"""A crash while a cluster is initialised: whatever reached the disk, another attempt must be possible."""

from __future__ import annotations

import pytest

from qcore.core import DurableState, Membership
from qcore.core.events import Bootstrap
from qcore.errors import ConfigError
from tests.driver.cores import CoreCluster

ALONE = Membership(voters=(1,))


@pytest.mark.parametrize("survive", [0, 1, 2, 3])
def test_bootstrap_after_a_crash_succeeds_or_already_happened(survive: int) -> None:
    """However many writes reached the disk, the node either has its configuration or accepts one."""
    cluster = CoreCluster({1: DurableState()})
    cluster.step(1, Bootstrap(ALONE, 0))
    cluster.crash(1, survive)
    again = cluster.restart(1)
    if again.disk.durable.entries:
        with pytest.raises(ConfigError, match="already belongs"):
            again.step(Bootstrap(ALONE, 0))
    else:
        again.step(Bootstrap(ALONE, 0))
    assert again.core.membership == ALONE
