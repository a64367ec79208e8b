"""A setting is defined once: the check, option, variable, keys and row all come from the field."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from qcore.cli.main import app
from qcore.cli.node.config_file import read_config_file
from qcore.cli.node.setting_options import NODE_SETTINGS, with_options
from qcore.cli.node.start import start
from qcore.core.config import RaftConfig
from qcore.errors import ConfigError
from qcore.node.backups.backup_config import BackupConfig
from qcore.node.config import NodeConfig
from qcore.node.discovery.discovery_config import DiscoveryConfig
from qcore.replica.config import ReplicaConfig
from qcore.settings import (
    SettingField,
    build,
    check_bounds,
    for_node,
    section,
    setting,
    settings_of,
)
from qcore.sim.scenario.specs.cluster_spec import ClusterSpec
from qcore.sim.scenario.specs.node_settings import NodeSettings
from qcore.sim.scenario.specs.setting_keys import SETTING_KEYS
from qcore.transport.address import Address
from qcore.transport.limits import MAX_FOUNDERS, TransportLimits
from tests.settings.page import PAGE, page, rows

CLASSES = (NodeConfig, ReplicaConfig, RaftConfig, TransportLimits, BackupConfig, DiscoveryConfig)

SECTIONS = (
    *("", "Raft", "Requests and snapshots", "Connections"),
    *("Scheduled backups", "Discovery"),
)

#: Fields that hold other classes, and rules that only tests switch off.
NOT_SETTINGS = {"raft", "replica", "limits", "safeguards", "tls", "backups", "discovery"}

#: Keys of a scenario that have another form than the setting.
OTHER_FORMS = {"election_timeout_ms", "priorities"}


@dataclass(slots=True, frozen=True)
class Inner:
    """A class of settings with a new one."""

    new_limit_s: float = field(
        default=2.0,
        metadata=setting("Waits for `colour`.", unit="s", above=0, zero="never", node_default=3.0),
    )

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(slots=True, frozen=True)
class Outer:
    """The class that holds it."""

    colour: str = field(metadata=setting("The colour."))
    inner: Inner = field(default_factory=Inner, metadata=section("Inner"))


def test_a_new_field_alone_gives_every_form_of_a_setting(tmp_path: Path) -> None:
    settings = settings_of(Outer)
    program, seen = typer.Typer(), []

    @program.command()
    @with_options(settings)
    def run(ctx: typer.Context, file: Path | None = None, **values: object) -> None:
        seen.append(for_node(Outer, values))

    def made(*arguments: str, variables: dict[str, str] | None = None, text: str = "") -> Any:
        (tmp_path / "f.toml").write_text(text)
        values = read_config_file(tmp_path / "f.toml", settings)
        done = CliRunner().invoke(program, arguments, env=variables, default_map=values)
        assert done.exit_code == 0, done.output
        return seen.pop()

    assert made("--colour", "red") == Outer("red", Inner(3.0))
    assert made("--colour", "red", "--new-limit-s", "0") == Outer("red", Inner(0.0))
    variables = {"QCORE_NEW_LIMIT_S": "7", "QCORE_COLOUR": "blue"}
    assert made(variables=variables) == Outer("blue", Inner(7.0))
    assert made(text="new_limit_s = 5\ncolour = 'green'") == Outer("green", Inner(5.0))
    both = made("--colour", "red", variables=variables, text="new_limit_s = 5")
    assert both == Outer("red", Inner(7.0))
    help_page = CliRunner().invoke(program, ["--help"]).output
    assert "--new-limit-s" in help_page
    assert list(rows(settings[1:], {"new_limit_s": "new_limit_s"})) == [
        "| `new_limit_s` | Waits for `colour`. | `--new-limit-s` | `QCORE_NEW_LIMIT_S` | s | 3.0 "
        "| positive and finite, or 0 for never | `new_limit_s`, 2.0 |\n"
    ]
    with pytest.raises(
        ConfigError, match=r"^new_limit_s is -1; it must be positive and finite, or"
    ):
        Inner(-1)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_is_a_setting_with_a_text(cls: Any) -> None:
    names = {each.name for each in fields(cls)} - NOT_SETTINGS
    own = {each.field.name: each for each in settings_of(cls)}
    assert names <= set(own)
    for name in names:
        text = own[name].about.text
        assert len(text) > 10, name
        assert text.endswith("."), name


def test_every_bound_is_checked_where_the_setting_is_held() -> None:
    """In Python, where no option and no file check it first."""
    usual = {"node_id": 1, "data_dir": Path("d")}
    bounded = [each for each in settings_of(NodeConfig) if each.about.bounded]
    assert {each.section for each in bounded} == {*SECTIONS}
    for each in bounded:
        name, about = each.field.name, each.about
        bad = [-1, *([] if about.zero or about.minimum == 0 else [0])]
        bad += [] if about.maximum is None else [int(about.maximum) + 1]
        for value in bad:
            with pytest.raises(
                ConfigError, match=rf"^{name} is {value}; it must be {about.allowed}$"
            ):
                for_node(NodeConfig, {**usual, name: value})


def test_no_two_settings_share_a_name() -> None:
    settings = settings_of(NodeConfig)
    assert len({each.name for each in settings}) == len(settings)
    assert len({each.field.name for each in settings}) == len(settings)


def test_all_forms_of_all_settings_agree() -> None:
    text = PAGE.read_text()
    options = inspect.signature(start).parameters
    for each in settings_of(NodeConfig):
        assert (each.field.name in options) == each.about.node
        assert (f"| `{each.option}`" in text) == each.about.node
        assert (f"| `{each.variable}`" in text) == each.about.node
        assert f"| `{each.name}` |" in text
    for each in settings_of(ReplicaConfig):
        key = each.scenario_key
        if key is None:
            assert each.name == "id"
            continue
        assert key in ClusterSpec.model_fields
        assert (each in SETTING_KEYS) == (key not in OTHER_FORMS)
        assert key == "priorities" or key in NodeSettings.model_fields
        if each in SETTING_KEYS:
            assert ClusterSpec.model_fields[key].default == each.field.default
            assert NodeSettings.model_fields[key].default is None


def test_the_help_lists_every_option_in_the_section_of_its_class() -> None:
    text = CliRunner().invoke(app, ["node", "start", "--help"], terminal_width=200).output
    sections = re.split(r"^(\w[\w ]+):$", text, flags=re.MULTILINE)[1:]
    options = dict(zip(sections[::2], sections[1::2], strict=True))
    assert list(options) == [
        "Options",
        "Requests and snapshots",
        "Raft",
        "Connections",
        "TLS",
        "Scheduled backups",
        "Discovery",
    ]
    for each in NODE_SETTINGS:
        assert f"  {each.option} " in options[each.section or "Options"].replace(",", " ")
    assert "--pre-vote" not in text
    assert "A value above --max-frame-bytes has no effect." in " ".join(text.split())
    assert "0: never." in text


def test_the_page_of_settings_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run `make fix`"


def test_a_scenario_gives_each_setting_to_the_replica() -> None:
    """By a value that is not the default, for the cluster and for a single node."""
    plain = ClusterSpec().replica_config(1)
    for each in SETTING_KEYS:
        name, value = each.field.name, other_value(each)
        if each.type is bool:
            value = not each.field.default  # a node may have another default
        if name == "check_quorum":
            assert value is False  # and lease_reads is off
        whole = ClusterSpec.model_validate({name: value, "rules": 1}).replica_config(1)
        single = ClusterSpec.model_validate({"settings": {2: {name: value}}, "rules": 1})
        for changed in (whole, single.replica_config(2)):
            assert held(changed, name) == value
            assert changed != plain
        assert single.replica_config(1) == plain


def other_value(each: SettingField, number: int = 0) -> Any:
    """A valid value that differs from the default. Numbers differ from each other's, and for each `number`."""
    default, kind = each.node_default, each.type
    place = 1 + settings_of(NodeConfig).index(each) if each in NODE_SETTINGS else 1
    step = place + 100 * number
    if kind in (bool, bool | None):
        return bool(default) == bool(number % 2)
    if each.name == "max_rules":
        return 1 + number % 2
    if each.name == "expect":
        return 1 + step % MAX_FOUNDERS
    if each.name == "id":
        return step
    if kind is int:
        return default - step if each.name == "max_command_bytes" else default + step
    if kind is float:
        return default + step / 1000
    if kind in (Address, Address | None):
        return Address("node-9.example", step)
    if kind in (Path, Path | None):
        return Path(f"elsewhere-{step}")
    if each.name == "allow_hosts":
        return (f"a-{step}.example", f"b-{step}.example")
    if each.name == "discover":
        return (f"static:a-{step}.example:80", f"dns:b.example:{step}")
    if each.name == "peers":
        return (f"{step}=a.example:1", f"{step + 1}=b.example:{step}")
    if kind == tuple[str, ...]:
        return (f"https://a-{step}.example", f"http://b.example:{step}")
    choices = {"log_format": ("json", "text"), "log_level": ("error", "debug")}
    return choices.get(each.name, ("register", "entity"))[number % 2]


def held(config: ReplicaConfig | NodeConfig, name: str) -> Any:
    """The value of a setting, wherever the configuration holds it."""
    parts: list[Any] = [config]
    for part in ("replica", "raft", "limits", "tls", "backups", "discovery"):
        parts += [getattr(one, part) for one in parts if hasattr(one, part)]
    return next(getattr(part, name) for part in reversed(parts) if hasattr(part, name))


def test_option_overrides_variable_overrides_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All settings together, in the command itself. Only the node does not run."""
    got: list[NodeConfig] = []

    def run_node(node: NodeConfig, *, on_listening: object, read_settings: object) -> int:
        assert callable(on_listening)
        got.append(node)
        return 0

    monkeypatch.setattr("qcore.node.main.run_node", run_node)
    path = tmp_path / "node.toml"
    in_file, in_variable, in_option = (
        {each: other_value(each, number) for each in NODE_SETTINGS} for number in (0, 1, 2)
    )
    path.write_text("".join(f"{each.name} = {toml_of(in_file[each])}\n" for each in NODE_SETTINGS))
    variables = {each.variable: text_of(value) for each, value in in_variable.items()}
    options = [part for each, value in in_option.items() for part in option_of(each, value)]
    required = ["--id", "1", "--data-dir", "data"]
    file = ["--config", str(path)]
    defaults = {each: each.node_default for each in NODE_SETTINGS if not each.is_required}
    for arguments, environment, expected in (
        (required, {}, defaults),
        (file, {}, in_file),
        ([], {"QCORE_CONFIG": str(path)}, in_file),
        ([], variables, in_variable),
        (file, variables, in_variable),
        (options, {}, in_option),
        ([*file, *options], {}, in_option),
        ([*file, *options], variables, in_option),
    ):
        done = CliRunner().invoke(app, ["node", "start", *arguments], env=environment)
        assert done.exit_code == 0, (done.output, done.exception)
        config = got.pop()
        assert {each: held(config, each.field.name) for each in expected} == expected


def text_of(value: Any) -> str:
    if isinstance(value, tuple) and not isinstance(value, Address):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def toml_of(value: Any) -> str:
    if isinstance(value, tuple) and not isinstance(value, Address):
        return str(list(value))
    return text_of(value) if isinstance(value, int | float) else f'"{value}"'


def option_of(each: SettingField, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [each.option if value else each.option.replace("--", "--no-", 1)]
    if isinstance(value, tuple) and not isinstance(value, Address):
        return [part for text in value for part in (each.option, text)]
    return [each.option, str(value)]


def test_settings_in_python_have_the_defaults_of_a_node() -> None:
    config = NodeConfig.of(1, Path("d"), heartbeat_ms=7, max_clients=9, machine="register")
    assert NodeConfig.of(1, Path("d"), allow_origins=["null"]).allow_origins == ("null",)
    assert (config.raft.heartbeat_ms, config.limits.max_clients, config.machine) == (
        7,
        9,
        "register",
    )
    assert config.raft.election_timeout_min_ms == 500
    assert config.replica.snapshot_entries == 50_000
    assert RaftConfig(1).election_timeout_min_ms == 150
    with pytest.raises(
        ConfigError, match=r"no setting is called heartbeat: did you mean heartbeat_"
    ):
        NodeConfig.of(1, Path("d"), heartbeat=7)
    with pytest.raises(ConfigError, match="data_dir is missing"):
        build(NodeConfig, {"node_id": 1})
