"""Files that include others, and their parameters: what they mean, and errors that name the right place."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from qcore.cli.main import app
from qcore.errors import ConfigError
from qcore.sim import Scenario, load_scenario, parse_scenario, run_scenario

BASE = """
name: base
summary: The base.
cluster: {nodes: 5, disk: {latency_ms: 2}, priorities: {1: 2}}
timeline: [{at_ms: 1000, crash: leader, for_ms: 300}]
until_ms: 9000
"""
CUT = """
include: base.yaml
parameters: {cut_ms: 3000, n: 3, who: leader, link: {loss: 0.1}}
summary: ${who} is cut off at ${cut_ms}, for $${price}.
cluster: {nodes: "${n}", priorities: {2: 3}}
network: ${link}
timeline: [{at_ms: "${cut_ms}", isolate: "${who}", for_ms: 500}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "cut.yaml").write_text(CUT)
    return tmp_path


def test_an_including_file_adds_to_what_it_includes(folder: Path) -> None:
    cut = load_scenario(folder / "cut.yaml")
    assert cut.name == "cut"
    assert cut.cluster.nodes == (1, 2, 3)
    assert cut.cluster.disk.latency_ms.first == 2
    assert cut.cluster.priorities == {1: 2, 2: 3}
    assert [item.name for item in cut.timeline] == ["crash", "isolate"]
    assert cut.until_ms == 9000


def test_a_later_include_wins_and_lists_replace(folder: Path) -> None:
    (folder / "seven.yaml").write_text("cluster: {nodes: [1, 2, 3, 4, 5, 6, 7]}\n")
    (folder / "both.yaml").write_text("include: [base.yaml, seven.yaml]\n")
    assert load_scenario(folder / "both.yaml").cluster.nodes == (1, 2, 3, 4, 5, 6, 7)
    (folder / "other.yaml").write_text("include: [seven.yaml, base.yaml]\n")
    assert load_scenario(folder / "other.yaml").cluster.nodes == (1, 2, 3, 4, 5)


def test_parameters_keep_their_type_or_become_text(folder: Path) -> None:
    cut = load_scenario(folder / "cut.yaml", parameters={"cut_ms": 2500, "n": 5})
    assert cut.summary == "leader is cut off at 2500, for ${price}."
    assert cut.timeline[1].at_ms == 2500
    assert len(cut.cluster.nodes) == 5
    assert cut.network.loss == 0.1


def test_the_replay_command_has_the_parameters(folder: Path) -> None:
    cut = load_scenario(folder / "cut.yaml", parameters={"cut_ms": 2500, "who": "follower_1"})
    replay = run_scenario(cut, 3).replay
    assert (
        replay
        == f"qcore sim run {folder / 'cut.yaml'} --seed 3 --set cut_ms=2500 --set 'who=\"follower_1\"'"
    )
    found = CliRunner().invoke(
        app,
        [
            "sim",
            "run",
            str(folder / "cut.yaml"),
            "--seed",
            "3",
            "--set",
            "cut_ms=2500",
            "--set",
            'who="follower_1"',
            "-o",
            "json",
        ],
    )
    assert run_scenario(cut, 3).trace_sha256 in found.stdout


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("include: nowhere.yaml", "x.yaml:1:10: include: cannot read the scenario"),
        ("include: 5", "x.yaml:1:10: include: include is the path of a file"),
        ("include: []", "x.yaml:1:10: include: include names no file"),
        ("include: x.yaml", "x.yaml:1:10: include: x.yaml includes itself"),
        (
            "include: y.yaml",
            "y.yaml:1:10: include: x.yaml includes itself, by way of x.yaml, y.yaml",
        ),
        (
            "include: bad.yaml",
            "bad.yaml:2:3: cluster.nodse: unknown key: did you mean nodes? The keys here are",
        ),
        ("include: list.yaml", "list.yaml:1:1: a scenario is a map"),
        (
            "until_ms: ${end}",
            "x.yaml:1:11: until_ms: ${end}: no parameter is called end: the file has no",
        ),
        ("parameters: {a: 1}", "x.yaml:1:17: parameters.a: the parameter a is used nowhere"),
        (
            "parameters: {a: '${b}', b: 1}\nuntil_ms: ${a}",
            "x.yaml:1:17: parameters.a: the value of a parameter cannot use ${b}",
        ),
        ("parameters: [a]", "x.yaml:1:13: parameters: parameters is a map of names"),
        ("parameters: {a-b: 1}", "x.yaml:1:14: parameters.a-b: a parameter's name has letters"),
        ("parameters: {a: []}\nname: x${a}", "x.yaml:2:7: name: ${a} is a list or a map"),
        (
            "parameters: {a: x}\nuntil_ms: ${a}",
            'x.yaml:2:1: until_ms: write a number, not "x"',
        ),
        ("edited: true", "x.yaml:1:1: edited: unknown key"),
    ],
)
def test_an_error_names_its_file_and_line(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "bad.yaml").write_text("cluster:\n  nodse: 3\n")
    (tmp_path / "list.yaml").write_text("[1]\n")
    (tmp_path / "y.yaml").write_text("include: x.yaml\n")
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_scenario(tmp_path / "x.yaml")
    assert error in str(raised.value).replace(f"{tmp_path}/", "")


def test_files_that_include_each_other_without_end_are_refused(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}.yaml").write_text(f"include: {number + 1}.yaml\n")
    with pytest.raises(
        ConfigError, match=r"7\.yaml:1:10: include: 8 files include each other already"
    ):
        load_scenario(tmp_path / "0.yaml")


def test_a_scenario_of_too_many_files_is_refused(tmp_path: Path) -> None:
    """Each of seven files includes the next one ten times."""
    for number in range(7):
        (tmp_path / f"{number}.yaml").write_text(f"include: [{f'{number + 1}.yaml, ' * 10}]\n")
    (tmp_path / "7.yaml").write_text("until_ms: 500\n")
    with pytest.raises(ConfigError, match=r"include: more than 64 files are included"):
        load_scenario(tmp_path / "0.yaml")


@pytest.mark.parametrize("value", ["x" * 1000, [1] * 1000], ids=["a text", "a list"])
def test_parameters_that_make_a_huge_scenario_are_refused(value: object) -> None:
    uses = ", ".join(["'${a}'"] * 2000)
    text = f"parameters: {{a: {value}}}\nworkload: {{watchers: {{topics: [{uses}]}}}}\n"
    with pytest.raises(ConfigError, match=r"topics.*: the parameters put more than 1000000 keys"):
        parse_scenario(text, "x.yaml")


@pytest.mark.parametrize("given", ["cut_ms", "=5", "cut_ms=[1]", "no=1"])
def test_a_wrong_parameter_option_is_a_usage_error(folder: Path, given: str) -> None:
    done = CliRunner().invoke(app, ["sim", "run", str(folder / "cut.yaml"), "--set", given])
    assert isinstance(done.exception, ConfigError)
    assert given.partition("=")[0] in str(done.exception)


def test_with_changes_parts_and_leaves_the_rest() -> None:
    before = parse_scenario(BASE)
    after = before.with_(cluster={"nodes": 7, "priorities": {2: 5}}, until_ms=20_000)
    assert len(after.cluster.nodes) == 7
    assert after.cluster.priorities == {1: 2, 2: 5}
    assert after.cluster.disk == before.cluster.disk
    assert after.timeline == before.timeline
    assert (
        before.with_({"cluster.nodes": 7, "cluster.priorities": {2: 5}, "until_ms": 20_000})
        == after
    )
    slow = before.with_({"cluster.disk.latency_ms": {"exponential": 4}, "network.loss": 0.1})
    assert (slow.cluster.disk.latency_ms.shape, slow.network.loss) == ("exponential", 0.1)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"cluster": {"node": 7}}, "cluster: ClusterSpec has no node: did you mean nodes?"),
        ({"clusters": {}}, "Scenario has no clusters: did you mean cluster?"),
        (
            {"cluster.disk.latency": 1},
            "cluster.disk: DiskSpec has no latency: did you mean latency_ms?",
        ),
        (
            {"network": {"loss": 2}},
            "network: NetworkSpec: loss: 2 is not at most 1",
        ),
        ({"cluster": 5}, "Scenario: cluster: "),
        ({"cluster.nodes": 3, "cluster": 5}, "cluster is given twice"),
        ({5: 3}, "5 is no name of a part"),
        (
            {"timeline": [{"at_ms": 1, "crsh": 1}]},
            "timeline.0: crsh: unknown key; did you mean crash",
        ),
    ],
)
def test_with_refuses_what_a_file_could_not_say(changes: dict[str, object], error: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_scenario(BASE).with_(changes)
    assert error in str(raised.value)


def test_a_changed_scenario_is_saved_before_its_replay(tmp_path: Path) -> None:
    changed = load_scenario("leader_isolated").with_(cluster={"nodes": 3})
    result = run_scenario(changed, 5)
    assert result.replay == (
        "qcore sim run leader_isolated_5.yaml --seed 5  # after scenario.save('leader_isolated_5.yaml')"
    )
    changed.save(tmp_path / "saved.yaml")
    assert run_scenario(tmp_path / "saved.yaml", 5).trace_sha256 != ""
    assert load_scenario(tmp_path / "saved.yaml").cluster == changed.cluster
    made = Scenario(until_ms=500)
    assert "scenario.save(" in run_scenario(made, 1).replay
    with pytest.raises(ConfigError, match="cannot write the scenario"):
        made.save(tmp_path / "no" / "folder.yaml")
