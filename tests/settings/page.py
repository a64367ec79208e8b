"""Writes docs/reference/settings.md from the definitions of the settings: `python -m tests.settings.page`.

`make fix` runs it, and a test compares the page with the definitions.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable, Iterator

from qcore.cli.node.setting_options import choices_of
from qcore.node.config import NodeConfig
from qcore.replica.config import ReplicaConfig
from qcore.settings import SettingField, settings_of
from tests.checkout import DOCS

PAGE = DOCS / "reference" / "settings.md"

INTRODUCTION = """# Settings

Every setting of a node, and of the nodes of a scenario. `python -m tests.settings.page` writes this page from the
definitions in the code.

An operator gives a setting to `qcore node start` as an option, as an environment variable, or as a key of a
configuration file. An option overrides a variable, and a variable overrides the file. `--config` or `QCORE_CONFIG`
names the file. This node takes its settings from `examples/node.toml`, except for one address:

```sh
qcore node start --config examples/node.toml --ws-addr 127.0.0.1:8097 &
qcore cluster init --endpoints 127.0.0.1:8097
kill %?node.toml
```

The file is TOML, with one line `key = value` for each setting and without tables. A relative path in it is relative
to the working directory. A node checks the whole file before it does anything else. A wrong key or value ends the
start with exit code 2, and the error gives the file, the line and the key.

In Python, `qcore.NodeConfig.of` takes all settings by their keys, except that `id` is `node_id`. A setting without an
option is set in Python or in a scenario only.

The column *scenario* has the key in the `cluster` of a [scenario](../scenarios.md), and its default if that differs
from a node's. A setting without a default must be given.
"""

HEADING = """
| key | meaning | option | variable | unit | default | allowed | scenario |
|---|---|---|---|---|---|---|---|
"""


def page() -> str:
    """The text of the page."""
    scenario = {each.field.name: each.scenario_key for each in settings_of(ReplicaConfig)}
    parts = [INTRODUCTION]
    sections: dict[str, list[SettingField]] = {}
    for each in settings_of(NodeConfig):
        sections.setdefault(each.section, []).append(each)
    for title, settings in sections.items():
        parts.append(f"\n## {title or 'The node'}\n{HEADING}")
        parts += rows(settings, scenario)
    return "".join(parts)


def rows(settings: Iterable[SettingField], scenario: dict[str, str | None]) -> Iterator[str]:
    """The lines of a table."""
    for each in settings:
        names = [code(each.option), code(each.variable)]
        if each.about.older:
            older = each.about.older
            names[0] += f" (older: {code('--' + older.replace('_', '-'))})"
            names[1] += f" (older: {code('QCORE_' + older.upper())})"
        key = scenario.get(each.field.name)
        in_scenario = code(key) if key else "–"
        if key and each.node_default != each.field.default:
            in_scenario += f", {value_text(each.field.default)}"
        default = "–" if each.is_required else value_text(each.node_default)
        allowed = ", ".join(map(code, choices_of(each))) or each.about.allowed or "–"
        if not each.about.node:
            names[:] = "––"
        about = [each.about.unit or "–", default, allowed, in_scenario]
        yield f"| {' | '.join([code(each.name), each.about.text, *names, *about])} |\n"


def code(text: str) -> str:
    """The text as a code span."""
    return f"`{text}`"


def value_text(value: object) -> str:
    """A default: numbers that are whole MiB or more in these units."""
    if value in (None, ()):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value >= 1 << 20 and value % (1 << 20) == 0:
        return f"{value} ({value >> 20} Mi)"
    return str(value)


if __name__ == "__main__":
    ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
