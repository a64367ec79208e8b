"""Finds scenario files: by path, or by name among the shipped scenarios."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from qcore.errors import ConfigError
from qcore.release import shipped_folder

_SUFFIXES = (".yaml", ".yml")


def scenario_directories() -> list[Path]:
    """The directories to search for names: `scenarios/` in the working directory, if any, then the shipped one."""
    here, shipped = Path("scenarios"), shipped_folder("scenarios")
    if not here.is_dir():
        return [shipped]
    return [here] if here.resolve() == shipped.resolve() else [here, shipped]


def scenario_files(directory: Path | None = None) -> list[Path]:
    """The scenario files of a directory, or of the first of `scenario_directories`; sorted by name.

    Raises:
        ConfigError: there is no such directory.
    """
    if directory is None:
        directory = scenario_directories()[0]
    if not directory.is_dir():
        raise ConfigError(f"{directory} is not a directory: name one that holds scenario files")
    return sorted(path for path in directory.iterdir() if path.suffix in _SUFFIXES)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long for the file system or contains a NUL
        return False


def is_shipped(file: Path) -> bool:
    """Whether the file of this path is the shipped scenario that its name finds here."""
    directory = scenario_directories()[0]
    return file.is_absolute() and file.parent == directory and _is_file(file)


def shipped_advice(file: Path) -> str:
    """What to write instead of a path that does not exist, if a shipped scenario has that file name."""
    shipped = shipped_folder("scenarios") / file.name
    if file.suffix not in _SUFFIXES or _is_file(file) or not _is_file(shipped):
        return ""
    return f"; write {file.stem} for the scenario that comes with qcore"


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
    where = ", ".join(map(str, directories))
    names = sorted({file.stem for directory in directories for file in scenario_files(directory)})
    near = get_close_matches(text, names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`qcore sim list` shows all"
    raise ConfigError(f"there is no scenario {text[:200]!r} (looked in {where}): {hint}")
