"""The limits of connections fit the number of files that the system allows."""

from __future__ import annotations

import pytest

from qcore.errors import ConfigError
from qcore.node.runtime.file_descriptors import BASE_FILES, MIN_FILES, fitting_limits
from qcore.transport.limits import TransportLimits

KINDS = ("max_clients", "max_handshakes", "reserved_for_peers", "reserved_for_admin")


@pytest.mark.parametrize("allowed", [MIN_FILES, 64, 100, 256, 1024, 4096])
def test_connection_limits_fit_the_file_limit_and_none_is_zero(allowed: int) -> None:
    wanted = TransportLimits(max_clients=10_000)
    limits = fitting_limits(wanted, allowed)
    numbers = [getattr(limits, kind) for kind in KINDS]
    assert min(numbers) >= 2
    assert limits.max_clients >= 4
    assert BASE_FILES + 12 + sum(numbers) <= allowed
    assert all(getattr(limits, kind) <= getattr(wanted, kind) for kind in KINDS)


def test_limits_that_fit_are_unchanged() -> None:
    assert fitting_limits(TransportLimits(), 4096) == TransportLimits()


def test_too_few_files_are_rejected_with_the_numbers() -> None:
    with pytest.raises(ConfigError, match=rf"may open {MIN_FILES - 1} files.*at least {MIN_FILES}"):
        fitting_limits(TransportLimits(), MIN_FILES - 1)
