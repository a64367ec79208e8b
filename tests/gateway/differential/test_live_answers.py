"""A real etcd and the gateway answer the same requests at the same time: recorded sequences, and random ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings

from qcore.testing import LocalCluster
from tests.gateway.differential.comparison import Comparison, Difference
from tests.gateway.differential.corpus import RECORDED, SEQUENCES
from tests.gateway.differential.exchange import run_on
from tests.gateway.differential.random_sequences import sequences
from tests.gateway.differential.recording import (
    answers_of,
    compare_answers,
    compare_servers,
    recorded,
    recorded_version,
    report,
)
from tests.gateway.differential.servers import ETCD, etcd_server, installed_version
from tests.gateway.differential.steps import Sequence, Step
from tests.gateway.gateway_process import GatewayProcess

pytestmark = [
    pytest.mark.long,
    pytest.mark.process,
    pytest.mark.skipif(ETCD is None, reason="etcd is not installed: Debian's package etcd-server"),
]

#: How many random sequences each test tries.
RANDOM: Final = int(os.environ.get("QCORE_RANDOM_SEQUENCES", "300"))
#: Many sequences of several requests to two servers: no single one is slow.
PATIENT: Final = settings(
    max_examples=RANDOM, database=None, suppress_health_check=list(HealthCheck), print_blob=False
)


@pytest.fixture(scope="module")
def etcd() -> Iterator[str]:
    """The address of an etcd."""
    with etcd_server() as address:
        yield address


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The addresses of two gateways, in front of three nodes. They take turns, since any of them is as good."""
    logs = tmp_path_factory.mktemp("gateways")
    with LocalCluster(3, machine="kv") as cluster, ExitStack() as stack:
        started = [
            stack.enter_context(GatewayProcess(list(cluster.endpoints), logs / f"{number}.log"))
            for number in range(2)
        ]
        yield ",".join(gateway.address for gateway in started)


def first_difference(first: str, second: str, steps: tuple[Step, ...]) -> Difference | None:
    """Take the steps on both servers until the answers differ."""
    comparison = Comparison()
    with ExitStack() as stack:
        runs = [stack.enter_context(run_on(address)) for address in (first, second)]
        for step in steps:
            one, other = (run.perform(step) for run in runs)
            if found := comparison.differences(step, one, other):
                return found[0]
    return None


def check_equal(first: str, second: str, steps: tuple[Step, ...]) -> None:
    """Fail with the steps and the first difference."""
    difference = first_difference(first, second, steps)
    lines = "\n".join(str(step) for step in steps)
    assert difference is None, f"these steps have different answers:\n{lines}\n{difference}"


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda sequence: sequence.name)
def test_etcd_answers_a_second_time_as_the_first(etcd: str, sequence: Sequence) -> None:
    """The comparison itself is silent if the servers are equal."""
    differences = compare_servers(etcd, etcd, sequence)
    assert not differences, report(differences)


def test_etcd_and_etcd_agree_on_random_sequences(etcd: str) -> None:
    with etcd_server() as other:

        @PATIENT
        @given(sequences())
        def agree(steps: tuple[Step, ...]) -> None:
            check_equal(etcd, other, steps)

        agree()


@pytest.mark.parametrize("sequence", RECORDED, ids=lambda sequence: sequence.name)
def test_the_recorded_answers_are_those_of_etcd(etcd: str, sequence: Sequence) -> None:
    if installed_version() != recorded_version():
        pytest.skip(f"etcd {installed_version()} is installed, not {recorded_version()}")
    found = answers_of(etcd, sequence)
    differences = compare_answers(sequence.steps, recorded()[sequence.name], found)
    assert not differences, report(differences)


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda sequence: sequence.name)
def test_the_gateway_answers_as_etcd(etcd: str, gateway: str, sequence: Sequence) -> None:
    differences = compare_servers(etcd, gateway, sequence)
    assert not differences, report(differences)


@pytest.mark.timeout(3600)
def test_the_gateway_agrees_on_random_sequences(etcd: str, gateway: str) -> None:
    @PATIENT
    @given(sequences())
    def agree(steps: tuple[Step, ...]) -> None:
        check_equal(etcd, gateway, steps)

    agree()
