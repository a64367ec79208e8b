"""How connections are fitted to the number of files that the system allows."""

from __future__ import annotations

import pytest

from qcore.errors import ConfigError
from qcore.node.runtime.file_descriptors import LEAST_FILES, OWN_FILES, fitting_limits
from qcore.transport.limits import TransportLimits

KINDS = ("max_clients", "max_handshakes", "reserved_for_peers", "reserved_for_admin")


@pytest.mark.parametrize("allowed", [LEAST_FILES, 64, 100, 256, 1024, 4096])
def test_connection_limits_fit_the_file_limit_and_none_is_zero(allowed: int) -> None:
    wanted = TransportLimits(max_clients=10_000)
    limits = fitting_limits(wanted, allowed)
    numbers = [getattr(limits, kind) for kind in KINDS]
    assert min(numbers) >= 2
    assert limits.max_clients >= 4
    assert OWN_FILES + 12 + sum(numbers) <= allowed
    assert all(getattr(limits, kind) <= getattr(wanted, kind) for kind in KINDS)


def test_limits_that_fit_are_unchanged() -> None:
    assert fitting_limits(TransportLimits(), 4096) == TransportLimits()


def test_too_few_files_are_rejected_with_the_numbers() -> None:
    with pytest.raises(
        ConfigError, match=rf"may open {LEAST_FILES - 1} files.*at least {LEAST_FILES}"
    ):
        fitting_limits(TransportLimits(), LEAST_FILES - 1)
