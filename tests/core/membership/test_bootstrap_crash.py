"""A crash while a cluster is initialised: whatever reached the disk, another attempt must be possible."""

from __future__ import annotations

import random

import pytest

from qcore.core import DurableState, Membership, RaftConfig, RaftCore
from qcore.core.effects import AppendLog, SaveHardState
from qcore.core.events import Bootstrap
from qcore.core.log.durable_state import apply_write
from qcore.errors import ConfigError

ALONE = Membership(voters=(1,))


@pytest.mark.parametrize("survive", [0, 1, 2, 3])
def test_bootstrap_after_a_crash_succeeds_or_already_happened(survive: int) -> None:
    """However many writes reached the disk, the node either has its configuration or accepts one."""
    durable = DurableState()
    core = RaftCore(RaftConfig(1), durable, rng=random.Random(1), now=0)
    effects = core.step(Bootstrap(ALONE, 0), 0)
    writes = [effect for effect in effects if isinstance(effect, SaveHardState | AppendLog)]
    for write in writes[:survive]:
        apply_write(durable, write)
    again = RaftCore(RaftConfig(1), durable, rng=random.Random(1), now=0)
    again.initial_effects()
    if durable.entries:
        with pytest.raises(ConfigError, match="already belongs"):
            again.step(Bootstrap(ALONE, 0), 0)
    else:
        again.step(Bootstrap(ALONE, 0), 0)
    assert again.membership == ALONE
