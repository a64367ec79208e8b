"""What a scenario needs beside its own text: the user's files that it names, and the modules beside them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qcore.errors import ConfigError
from qcore.files import read_regular
from qcore.sim.scenario.generated.scenario_text import values_text
from qcore.sim.scenario.model import Scenario

_SUFFIX: Final = ".py"
#: The largest file of a user that is copied.
_MAX_BYTES: Final = 16 << 20


@dataclass(slots=True, frozen=True)
class PortableScenario:
    """A scenario with the user's files that it names, for another directory or another computer.

    Attributes:
        text: the scenario, which names the files as they are called in `files`.
        files: name -> content. They belong beside the scenario.
    """

    text: str
    files: Mapping[str, bytes]


def portable(scenario: Scenario) -> PortableScenario:
    """The scenario with copies of the files that it names as machine, checks and program.

    A module that such a file imports, and that lies beside it, is copied too. A module that the scenario names by
    its import path is not: it must be installed wherever the scenario runs.

    Raises:
        ConfigError: one of the files cannot be read.
    """
    copies = _Copies(Path(scenario.source).parent)
    values = scenario.to_dict()
    for part, key in (("cluster", "machine"), ("workload", "program")):
        given = values.get(part)
        if isinstance(given, dict) and isinstance(reference := given.get(key), str):
            given[key] = copies.reference(f"{part}.{key}", reference)
    if scenario.checks:
        values["checks"] = copies.file("checks", scenario.checks)
    return PortableScenario(values_text(values), copies.files)


class _Copies:
    """Collects the files of one scenario under distinct names.

    Args:
        folder: where the scenario's relative files are looked up first.
    """

    def __init__(self, folder: Path) -> None:
        self.files: dict[str, bytes] = {}
        self._folder = folder
        self._names: dict[Path, str] = {}

    def reference(self, key: str, text: str) -> str:
        """A reference `file.py:name` to the copy of its file. Any other reference is returned as it is."""
        where, _, name = text.rpartition(":")
        return f"{self.file(key, where)}:{name}" if where.endswith(_SUFFIX) else text

    def file(self, key: str, where: str) -> str:
        """The name of the copy of a file. The name of a module is returned as it is."""
        if not where.endswith(_SUFFIX):
            return where
        candidates = (self._folder / where, Path(where))
        found = next((path for path in candidates if path.is_file()), None)
        if found is None:
            raise ConfigError(f"{key}: there is no file {candidates[0]}")
        return self._copy(key, found.resolve())

    def _copy(self, key: str, path: Path) -> str:
        if path in self._names:
            return self._names[path]
        try:
            content = read_regular(path, _MAX_BYTES)
        except OSError as error:
            raise ConfigError(f"{key}: cannot read {path}: {error.strerror}") from None
        name = self._free_name(path)
        self._names[path] = name
        self.files[name] = content
        for module in _imported(content):
            beside = path.parent / f"{module}{_SUFFIX}"
            if beside.name not in self.files and beside.is_file():
                self._copy(key, beside)
        return name

    def _free_name(self, path: Path) -> str:
        """The name of the file; with a number if another file has it."""
        name, number = path.name, 1
        while name in self.files:
            number += 1
            name = f"{path.stem}_{number}{_SUFFIX}"
        return name


def _imported(content: bytes) -> Iterator[str]:
    """The first parts of the names of the modules that a file imports."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # loading the file reports it
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
