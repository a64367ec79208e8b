"""The recorded sequences: each endpoint, each field, each error that a request alone can cause."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.gateway.differential.corpus import (
    deviations,
    key_requests,
    lease_requests,
    malformed_requests,
    other_requests,
    transactions,
    watch_requests,
)
from tests.gateway.differential.steps import Sequence

SEQUENCES: Final[tuple[Sequence, ...]] = (
    *key_requests.SEQUENCES,
    *transactions.SEQUENCES,
    *lease_requests.SEQUENCES,
    *watch_requests.SEQUENCES,
    *malformed_requests.SEQUENCES,
    *other_requests.SEQUENCES,
)

#: The sequences whose answers are recorded.
RECORDED: Final = (
    *(sequence for sequence in SEQUENCES if not sequence.slow),
    *deviations.SEQUENCES,
)

#: What etcd answered: written by `python -m tests.gateway.differential.recording`.
ANSWERS: Final = Path(__file__).parent / "etcd_answers.json"
