"""The YAML reader: values as in YAML 1.2, places in errors, and bounds against hostile files."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore import yaml_reader
from qcore.errors import ConfigError
from qcore.machines.entity.topology.topology_file import parse_topology
from qcore.sim import parse_scenario
from qcore.yaml_reader import ScalarNode, find, parse_yaml, to_python


@pytest.fixture(params=["C parser", "Python parser"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """PyYAML has two parsers, and some machines lack the one in C."""
    name: str = request.param
    if name == "Python parser":
        monkeypatch.setattr(yaml, "__with_libyaml__", False)
    return name


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("Off", "Off"),
        ("y", "y"),
        ("true", True),
        ("TRUE", True),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        (".5e3", 500.0),
        ("+5", 5),
        ("-5.", -5.0),
        ("2024-01-01", "2024-01-01"),
        ("2024-13-45", "2024-13-45"),
        ("~", None),
        ("", None),
        ("Null", None),
        ("<<", "<<"),
        ("'10'", "10"),
        ('"no"', "no"),
        ("٣", "٣"),
    ],
)
def test_a_plain_value_means_what_yaml_1_2_says(parser: str, text: str, value: object) -> None:
    found = to_python(parse_yaml(f"key: {text}\n", "f"))
    assert found == {"key": value}
    assert isinstance(found, dict)
    assert type(found["key"]) is type(value)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: 1\nb: {a: 1,\n  a: 2}", "f:3:3: b: key 'a' is given twice, first in line 2"),
        ("a: [x, *y]", "f:1:8: a[1]: alias *y: write the value out"),
        ("a: [&y x, !!int 5]", "f:1:11: a[1]: tag tag:yaml.org,2002:int"),
        ("a: 1e999", "f:1:4: a: 1e999: the number is too large"),
        ("a: -1.5e+400", "f:1:4: a: -1.5e+400: the number is too large"),
        ("a:\n- b\n- .inf", "f:3:3: a[1]: .inf: NaN and infinity are refused"),
        ("a: -.INF", "f:1:4: a: -.INF: NaN"),
        ("a: " + "1" * 41, "f:1:4: a: the number has more than 40 digits"),
        ("1: a", "f:1:1: a key must be a text; quote it"),
        ("a: {[b]: c}", "f:1:5: a: a key must be a text"),
        ("a: 1\n--- b", "f:2:1: a second document begins"),
        ("", "f:1:1: the file is empty"),
        ("a:\n\tb: 1", "f:2:1: not valid YAML: a tab; indent with spaces"),
        ("a: {b", "f:2:1: not valid YAML"),
        ("a: \x07", "f:1:4: not valid YAML"),
        ("a: '\ud800'", "f:1:5: not valid YAML: half a character"),
    ],
)
def test_an_error_names_line_column_and_path(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f")
    assert str(caught.value).startswith(error)


def test_a_tab_is_named_by_both_parsers(parser: str) -> None:
    for text in ("a:\n\tb: 1", "a:\n  b: 1\n\tc: 2"):
        with pytest.raises(ConfigError, match="a tab; indent with spaces"):
            parse_yaml(text, "f")


def test_depth_and_number_of_nodes_are_bounded(
    parser: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse_yaml("[" * 32 + "]" * 32, "f", max_depth=32)
    with pytest.raises(ConfigError, match="more than 32 maps and lists within each other"):
        parse_yaml("[" * 33 + "]" * 33, "f", max_depth=32)
    with pytest.raises(ConfigError, match=r"^f:1:"):
        parse_yaml("[" * 300, "f", max_depth=32)
    monkeypatch.setattr(yaml_reader, "MAX_NODES", 100)
    parse_yaml("[" + "a," * 99 + "]", "f")
    with pytest.raises(ConfigError, match=r"f:1:200: \[99\]: the file has more than 100"):
        parse_yaml("[" + "a," * 100 + "]", "f")


def test_an_alias_bomb_is_refused() -> None:
    bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]"
    with pytest.raises(ConfigError, match=r"^f:2:8: b\[0\]: alias \*a"):
        parse_scenario(bomb, "f")
    with pytest.raises(ConfigError, match=r"^f:2:8: b\[0\]: alias \*a"):
        parse_topology(bomb, "f")


def test_keys_may_be_whole_numbers_where_the_file_allows_it() -> None:
    root = parse_yaml("{1: a, '1': b, 0x2: c}", "f", number_keys=True)
    assert to_python(root) == {1: "a", "1": "b", 2: "c"}
    for text, what in (("{1: a, 01: b}", "'1' is given twice"), ("{1.5: a}", "must be a text")):
        with pytest.raises(ConfigError, match=what):
            parse_yaml(text, "f", number_keys=True)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("yes", "(yes is a text in YAML 1.2: write true)"),
        ("Off", "write false"),
        ("1_000.5", "write 1000.5"),
        ("1:30", "write the number in base ten"),
        ("0b101", "write 5"),
        ("2024-01-01", "there are no dates"),
        ("2024-01-01 10:00:00", "there are no dates"),
        ("yesterday", ""),
        ("'yes'", ""),
    ],
)
def test_a_value_with_another_meaning_in_yaml_1_1_is_explained(text: str, advice: str) -> None:
    scenario = f"network:\n  loss: {text}"
    with pytest.raises(ConfigError, match=r"^f:2:3: network.loss: ") as caught:
        parse_scenario(scenario, "f")
    assert advice in str(caught.value)
    assert ("YAML 1.2" in str(caught.value)) == bool(advice)
    topology = f"schemas:\n- entity_type: A\n  fields: {{B: {{default_value: true, rank: {text}}}}}"
    with pytest.raises(ConfigError, match=r"^f:3:43: schemas\[0\].fields.B.rank: ") as caught:
        parse_topology(topology, "f")
    assert advice in str(caught.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@settings(max_examples=30)
@given(VALUES)
def test_what_pyyaml_writes_is_read_as_it_was(value: object) -> None:
    """JSON is YAML, so any value can be written with every text in quotes."""
    text = yaml.safe_dump(value, default_style='"', allow_unicode=False)
    text = text.replace("!!bool ", "").replace("!!int ", "").replace("!!null ", "")

    def same(one: object, other: object) -> bool:
        if isinstance(one, dict) and isinstance(other, dict):
            return [*one] == [*other] and all(same(one[key], other[key]) for key in one)
        if isinstance(one, list) and isinstance(other, list):
            return len(one) == len(other) and all(map(same, one, other))
        if isinstance(one, str) and not isinstance(other, str):
            return one == ("null" if other is None else str(other).lower())  # quoted by the writer
        return one == other

    assert same(to_python(parse_yaml(text, "f")), _sorted(value))


def _sorted(value: object) -> object:
    """As `yaml.safe_dump` orders keys."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [*map(_sorted, value)] if isinstance(value, list) else value


@settings(max_examples=100)
@given(st.text(st.sampled_from("ab:-[]{},'\"\n\t #&*!|>%@`0\ud800\x07é"), max_size=30))
def test_any_text_is_a_tree_or_a_config_error(text: str) -> None:
    try:
        parse_yaml(text, "f")
    except ConfigError:
        return


def test_the_deepest_known_place_is_found() -> None:
    root = parse_yaml("a:\n  b: [x, {c: y}]", "f")
    place, node = find(root, ["a", "b", 1, "c", "more"])
    assert (place.line, place.column, place.path) == (2, 11, "a.b[1].c")
    assert isinstance(node, ScalarNode)
    assert node.value == "y"
    assert find(root, ["a", "b", 7])[0].path == "a.b"
    assert find(root, [])[0] is root
