"""The scenarios in docs/reference/scenarios.md pass, and it documents every key."""

from __future__ import annotations

import re

import pytest

from qcore.core.config import Safeguards
from qcore.sim import parse_scenario, run_scenario
from qcore.sim.scenario.actions.message_actions import MessageAction
from qcore.sim.scenario.actions.node_actions import PowerLoss
from qcore.sim.scenario.actions.operation_actions import OPERATION_OUTCOMES, OperationAction
from qcore.sim.scenario.actions.registry import ACTIONS
from qcore.sim.scenario.generated.random_faults_spec import RandomFaultsSpec
from qcore.sim.scenario.generated.swarm_spec import SwarmSpec
from qcore.sim.scenario.specs.cluster_spec import ClusterSpec
from qcore.sim.scenario.specs.expect_spec import VIOLATIONS, ExpectSpec
from qcore.sim.scenario.specs.network_spec import ClientLinkSpec, NetworkSpec
from qcore.sim.scenario.specs.workload_spec import WorkloadSpec
from qcore.sim.scenario.timeline import Item, Trigger
from tests.checkout import DOCS
from tests.sim.support.scenario_texts import DESIGN_EXAMPLE, failures

TEXT = (DOCS / "reference" / "scenarios.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES, ids=[text.split("\n")[0] for text in EXAMPLES])
def test_a_documented_scenario_passes(text: str) -> None:
    scenario = parse_scenario(text, "docs/reference/scenarios.md")
    for seed in range(1, 6):
        result = run_scenario(scenario, seed)
        assert result.ok, (seed, failures(result))


def test_the_first_example_is_the_design_example() -> None:
    assert len(EXAMPLES) == 6
    assert EXAMPLES[0].strip() == DESIGN_EXAMPLE.strip()


def test_every_key_is_documented() -> None:
    settings = (DOCS / "reference" / "settings.md").read_text()
    words = set(re.findall(r"[a-z_0-9]+", TEXT + settings))
    keys = {*ACTIONS, *VIOLATIONS, *Safeguards.__dataclass_fields__}
    for model in (
        ClusterSpec,
        NetworkSpec,
        ClientLinkSpec,
        WorkloadSpec,
        ExpectSpec,
        Item,
        Trigger,
        OperationAction,
        PowerLoss,
        MessageAction,
        RandomFaultsSpec,
        SwarmSpec,
    ):
        keys |= {field.alias or name for name, field in model.model_fields.items()}
    missing = keys - words - {"actions", "random_actions", "reorder_extra_ms", "kind", "op"}
    assert not missing
    assert all(f"`{outcome}`" in TEXT for outcome in OPERATION_OUTCOMES)
