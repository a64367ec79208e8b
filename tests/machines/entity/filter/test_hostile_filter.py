"""What a hostile filter must not do: hide a macro in a raw text, or make an error that is not `BadFilter`."""

from __future__ import annotations

import pytest

from qcore.errors import BadFilter
from qcore.machines.entity.filter.filter_text import rewrite
from tests.machines.entity.harness import people


@pytest.mark.parametrize(
    "text",
    [
        r"""r"\" == 'a' || 'aaa'.matches('a+') //" """,
        r"""R'\' == "a" || [1].all(x, x > 0) //' """,
        r'''r"""\""" == 'a' || 'aaa'.matches('a+') //""" ''',
    ],
)
def test_a_raw_text_ends_at_its_first_quote(text: str) -> None:
    """CEL gives a backslash in a raw text no meaning, so what follows is checked."""
    with pytest.raises(BadFilter, match="is not available"):
        rewrite(text)


def test_compiling_a_long_filter_costs_steps() -> None:
    """Else a replica would compile hundreds of them in one step."""
    harness = people()
    for text, least in (("Age > 3", 0), (" && ".join(["Age > 3"] * 70), 5), ("Age &&" * 300, 12)):
        harness.store_request("StoreFindEntities", entity_type="User", page_opts=None, filter=text)
        assert harness.store.last_cost >= least
    text = "x" * 1_000_000
    error = harness.error("StoreFindEntities", entity_type="User", page_opts=None, filter=text)
    assert "the limit is 2048" in error


@pytest.mark.parametrize("text", ["[1][5] == 1", '{"a": 1}["b"] == 1'])
def test_a_missing_element_is_a_bad_filter(text: str) -> None:
    harness = people()
    harness.create("User", None, "ada")
    error = harness.error("StoreFindEntities", entity_type="User", page_opts=None, filter=text)
    assert 'for "User$' in error
