"""docs/scenarios.md documents every key, as the models define it, and the scenarios in it pass."""

from __future__ import annotations

import re

import pytest
from pydantic import Field

from qcore.core.config import Safeguards
from qcore.sim import parse_scenario, run_scenario
from qcore.sim.scenario.actions.operation_actions import OPERATION_OUTCOMES
from qcore.sim.scenario.actions.registry import ACTIONS
from qcore.sim.scenario.generated.swarm_kinds import SWARM_KINDS
from qcore.sim.scenario.model import Scenario
from qcore.sim.scenario.specs.expect_spec import VIOLATIONS
from qcore.sim.scenario.values import Probability, Spec
from tests.docs.scenario_page import PAGE, ScenarioPage, all_parts, page, shown_fields, slug
from tests.sim.support.scenario_texts import DESIGN_EXAMPLE, failures

TEXT = PAGE.read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
MODELS = [Scenario, *(part.model for part in all_parts()), *dict.fromkeys(ACTIONS.values())]


@pytest.mark.parametrize("text", EXAMPLES, ids=[text.split("\n")[0] for text in EXAMPLES])
def test_a_documented_scenario_passes(text: str) -> None:
    scenario = parse_scenario(text, "docs/scenarios.md")
    for seed in range(1, 6):
        result = run_scenario(scenario, seed)
        assert result.ok, (seed, failures(result))


def test_the_first_example_is_the_design_example() -> None:
    assert len(EXAMPLES) == 8
    assert EXAMPLES[0].strip() == DESIGN_EXAMPLE.strip()


def test_the_documented_programs_work(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for program in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(program, names)
    printed = capsys.readouterr().out
    assert printed.startswith("True\nname: made_in_python\ncluster: {nodes: [1, 2, 3, 4, 5]}\n")
    assert "'leader_isolated', seed 7, " in printed


def test_the_page_of_scenarios_is_up_to_date() -> None:
    assert page() == TEXT, "run `make fix`"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_has_a_description(model: type[Spec]) -> None:
    assert (model.__doc__ or "").strip()
    for name, field in shown_fields(model).items():
        text = field.description or ""
        assert len(text) > 8, f"{model.__name__}.{name} needs Field(description=...)"
        assert text.endswith((".", ".)")), f"{model.__name__}.{name}: {text}"


def test_every_name_that_a_value_may_have_is_documented() -> None:
    words = set(re.findall(r"[a-z_0-9]+", TEXT))
    assert not {*ACTIONS, *VIOLATIONS, *Safeguards.__dataclass_fields__} - words
    assert all(f"`{outcome}`" in TEXT for outcome in OPERATION_OUTCOMES)


def test_every_link_within_the_page_has_its_heading() -> None:
    headings = {slug(heading) for heading in re.findall(r"^#+ (.*)", TEXT, re.MULTILINE)}
    assert not {*re.findall(r"\]\(#([^)]*)\)", TEXT)} - headings


class Moat(Spec):
    """A ring of water."""

    depth: Probability = Field(default=0.5, alias="deep", description="How deep it is.")


class Castle(Scenario):
    """A scenario with a key that the template does not name."""

    moats: tuple[Moat, ...] = Field(default=(), description="The moats.")


class Spade(Spec):
    """A tool."""

    width: Probability = Field(description="How wide it is.")


class Dig(Spec):
    """Dig a moat. It takes long."""

    moat: Moat = Field(description="The moat.")
    spade: Spade = Field(description="The tool.")


def test_a_new_model_alone_gives_its_section() -> None:
    text = ScenarioPage(Castle, actions={**ACTIONS, "dig": Dig}).text()
    assert "| `moats` | list: [keys](#moats) |  | The moats. |\n" in text
    section = text[text.index("### moats\n") :]
    assert section.startswith(
        "### moats\n\nA ring of water.\n\n| key | value | default | meaning |"
    )
    assert "| `deep` | number from 0 to 1 | `0.5` | How deep it is. |\n" in section
    assert "| [`dig`](#dig) | Dig a moat. | no |\n" in text
    assert "#### dig\n\nDig a moat. It takes long.\n" in text
    assert "| `moat` | [keys](#moats) | The moat. |\n" in text
    assert "##### dig.spade\n\nA tool.\n" in text


def test_a_template_that_names_no_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no model is at cluster\.no_such, nowhere"):
        ScenarioPage(template="<!-- keys: nowhere -->\n<!-- keys: cluster.no_such -->\n")


def test_every_kind_of_a_swarm_is_documented() -> None:
    section = TEXT.split("### Swarms\n")[1].split("\n### ")[0]
    listed = section.split("The kinds are ")[1].split(".\n")[0]
    further = section.split("more kinds are drawn only")[1].split("\n\n")[0]
    assert re.findall(r"`(\w+)`", listed) + re.findall(r"`(\w+)`: ", further) == [*SWARM_KINDS]
