"""Finds scenario files: by path, or by name in the shipped directory."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

import qcore
from qcore.errors import ConfigError

_SUFFIXES = (".yaml", ".yml")


def scenario_directories() -> list[Path]:
    """The directories to search for names: `scenarios/` in the working directory, then the one beside the package."""
    candidates = [Path("scenarios"), Path(qcore.__file__).parent.parent / "scenarios"]
    found: list[Path] = []
    for candidate in candidates:
        if candidate.is_dir() and candidate.resolve() not in [path.resolve() for path in found]:
            found.append(candidate)
    return found


def scenario_files(directory: Path | None = None) -> list[Path]:
    """The scenario files of a directory, or of the first of `scenario_directories`; sorted by name.

    Raises:
        ConfigError: there is no such directory.
    """
    if directory is None:
        known = scenario_directories()
        if not known:
            raise ConfigError("there is no directory `scenarios` here; name one, or a file")
        directory = known[0]
    if not directory.is_dir():
        raise ConfigError(f"{directory} is not a directory")
    return sorted(path for path in directory.iterdir() if path.suffix in _SUFFIXES)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long for the file system or contains a NUL
        return False


def find_scenario(text: str) -> Path:
    """The file that a user means: a path, or the name of a shipped scenario.

    Raises:
        ConfigError: neither exists. The error names the directories searched and similar names.
    """
    if "\n" in text:
        raise ConfigError(
            "this is the text of a scenario, not its name or path: read it with parse_scenario"
        )
    path = Path(text)
    if _is_file(path) or path.suffix in _SUFFIXES or path.name != text:
        return path  # a path; if it does not exist, the reader reports it
    directories = scenario_directories()
    for directory in directories:
        for suffix in _SUFFIXES:
            candidate = directory / (text + suffix)
            if _is_file(candidate):
                return candidate
    where = ", ".join(map(str, directories)) or "no directory `scenarios`"
    names = sorted({file.stem for directory in directories for file in scenario_files(directory)})
    near = get_close_matches(text, names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`qcore sim list` shows all"
    raise ConfigError(f"there is no scenario {text[:200]!r} (looked in {where}): {hint}")
