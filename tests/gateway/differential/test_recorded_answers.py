"""The gateway answers the recorded sequences as etcd did. See `corpus/etcd_answers.json` for the version."""

from __future__ import annotations

import pytest

from tests.gateway.differential.corpus import SEQUENCES
from tests.gateway.differential.corpus.deviations import DEVIATIONS, Deviation
from tests.gateway.differential.recording import answers_of, compare_answers, recorded, report
from tests.gateway.differential.steps import Sequence
from tests.gateway.gateway_process import GatewayProcess

pytestmark = pytest.mark.process

QUICK = [sequence for sequence in SEQUENCES if not sequence.slow]


@pytest.mark.parametrize("sequence", QUICK, ids=lambda sequence: sequence.name)
def test_answers_are_those_of_etcd(shared_gateway: GatewayProcess, sequence: Sequence) -> None:
    found = answers_of(shared_gateway.address, sequence)
    differences = compare_answers(sequence.steps, recorded()[sequence.name], found)
    assert not differences, report(differences)


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda deviation: deviation.sequence.name)
def test_listed_deviations_exist(shared_gateway: GatewayProcess, deviation: Deviation) -> None:
    """A deviation that has ended belongs among the sequences with equal answers."""
    steps = deviation.sequence.steps
    found = answers_of(shared_gateway.address, deviation.sequence)
    differences = compare_answers(steps, recorded()[deviation.sequence.name], found)
    assert {id(difference.step) for difference in differences} == {id(steps[-1])}
