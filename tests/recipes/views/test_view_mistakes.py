"""Mistakes in `ConfigWatch` and `ServiceRegistry`, which their checks find within a few seeds of chaos.

The tests of the recipes run the same checks with more of the same chaos, and these find nothing.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import pytest

from qcore.recipes.views.live_keys import LiveKeys
from qcore.recipes.views.once_writer import OnceWriter
from qcore.recipes.views.service_registration import Registration
from tests.recipes.chaos_runs import chaos_records, chaos_scenario
from tests.recipes.checks.config_check import config_violations
from tests.recipes.checks.registry_check import registry_violations
from tests.recipes.planted.config_mistakes import CONFIG_MISTAKES, mistaken_config
from tests.recipes.planted.registry_mistakes import REGISTRY_MISTAKES, mistaken_registry
from tests.recipes.programs.config_program import config_program
from tests.recipes.programs.registry_program import registry_program

#: A mistake that more seeds than these do not show needs a sharper scenario.
SEEDS: Final = range(1, 41)
#: Half as long, because a mistake shows while there are faults.
SHORT: Final = chaos_scenario(faults_until_ms=7000, stop_ms=9000, until_ms=12_000)


@pytest.mark.parametrize("mistake", CONFIG_MISTAKES)
def test_the_check_finds_a_mistaken_config(mistake: type[LiveKeys | OnceWriter]) -> None:
    program = partial(config_program, make=mistaken_config(mistake))
    assert any(config_violations(chaos_records(program, seed, SHORT)[0]) for seed in SEEDS)


@pytest.mark.parametrize("mistake", REGISTRY_MISTAKES)
def test_the_check_finds_a_mistaken_registry(mistake: type[Registration | LiveKeys]) -> None:
    program = partial(registry_program, make=mistaken_registry(mistake))
    assert any(registry_violations(chaos_records(program, seed, SHORT)[0]) for seed in SEEDS)
