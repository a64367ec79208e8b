"""What a hostile filter must not do: hide a macro in a raw text, or make an error that is not `BadFilter`."""

from __future__ import annotations

import pytest

from qcore.errors import BadFilter
from qcore.machines.entity.filter.entity_filter import compile_filter
from qcore.machines.entity.filter.filter_text import rewrite
from tests.machines.entity.harness import StoreHarness, people, write


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


@pytest.fixture(scope="module")
def large() -> StoreHarness:
    """Ten users with a text of 100,000 characters and a list of 900 entities."""
    harness = people()
    for number in range(10):
        user = harness.create("User", None, str(number))
        harness.update(
            write(user, "Email", {"String": "x" * 100_000}),
            write(user, "Friends", {"EntityList": [user] * 900}),
        )
    return harness


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("Email in [" + ",".join(["Email"] * 140) + "]", 2),
        ("size(Email + Email + Email + Email + Email + Email) > 0", 5),
        ('size(Email + Email) > 0 && !("a" in [' + ",".join(["Email"] * 60) + "])", 3),
        ("size(Email) > 0", 10),
        ("size(Friends) > 0 && size(Friends) > 0 && size(Friends) > 0", 6),
    ],
)
def test_each_use_of_a_large_value_shortens_the_page(
    large: StoreHarness, text: str, most: int
) -> None:
    """It is copied wherever it occurs. When that counted once, a frame of 700 bytes blocked a node for seconds."""
    options = {"limit": 100, "cursor": None}
    found = large.ok("StoreFindEntities", entity_type="User", page_opts=options, filter=text)
    assert len(found["items"]) <= most
    assert found["items"]


@pytest.mark.parametrize(
    "text",
    [
        "size(" + " + ".join(["Email"] * 140) + ") < 0",
        "size(" + " + ".join(["Friends"] * 140) + ") < 0",
        'duration(Email + "1s" + Email + Email + Email) == duration("1s")',
    ],
)
def test_a_comparison_copies_a_bounded_number_of_bytes(large: StoreHarness, text: str) -> None:
    """Each `+` copies all before it."""
    error = large.error("StoreFindEntities", entity_type="User", page_opts=None, filter=text)
    assert "it uses large values too often" in error
    assert large.store.last_cost < 512


def test_long_texts_of_filters_shorten_the_page() -> None:
    harness = people()
    for number in range(10):
        harness.create("User", None, str(number))
    short, long = 'Name in ["x"]', "Name in [" + ",".join(['"x"'] * 140) + "]"
    costs = []
    for text in (short, long):
        harness.ok("StoreFindEntities", entity_type="User", page_opts=None, filter=text)
        costs.append(compile_filter(text, harness.store._records.schemas.slots("User")).cost)
    assert costs == [2, 6]
