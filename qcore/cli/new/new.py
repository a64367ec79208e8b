"""`qcore new`: writes a directory with a state machine, its tests, a scenario and a README, all of which run."""

from __future__ import annotations

import re
import shutil
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated, Final

import typer

from qcore.cli.options import OutputFormat, OutputOption
from qcore.cli.output import show
from qcore.errors import ConfigError

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Write the beginning of a custom state machine.",
)

#: Template -> the name of the file.
_FILES: Final = {
    "machine.py.txt": "${name}_machine.py",
    "partition.yaml.txt": "${name}_partition.yaml",
    "test_machine.py.txt": "test_${name}_machine.py",
    "README.md.txt": "README.md",
}
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
#: So that no line of the files becomes too long.
_MAX_NAME_CHARS: Final = 24
#: Names of machines of qcore.
_TAKEN: Final = ("entity", "kv", "register")


@app.callback()
def _group() -> None:
    """Write the beginning of a custom state machine."""


@app.command()
def machine(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Name of the state machine and of the directory: lowercase letters, digits and single underscores.",
        ),
    ],
    output: OutputOption = OutputFormat.table,
) -> None:
    """Write the directory NAME with a state machine, its tests, a scenario and a README.

    An existing directory is not changed.
    """
    check_name(name)
    directory = Path(name)
    written = write_project(directory, name)
    names = [path.name for path in written]
    text = (
        f"{directory} holds {', '.join(names)}.\n"
        f"Next: cd {directory} && qcore sim run {name}_partition.yaml --seed 1\n"
        "README.md has the commands that test the machine and run it on a node."
    )
    show(output, {"directory": name, "files": names}, text=text)


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a machine, of its directory and of its module.

    Raises:
        ConfigError: proposes a name if there is one that is like it.
    """
    if name in _TAKEN:
        raise ConfigError(f"NAME {name} is a state machine of qcore: choose another name")
    if _NAME.fullmatch(name) and len(name) <= _MAX_NAME_CHARS:
        return
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    like = (
        re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_0123456789")[:_MAX_NAME_CHARS].strip("_")
    )
    proposal = f", for example {like}" if _NAME.fullmatch(like) and like not in _TAKEN else ""
    raise ConfigError(
        f"NAME {name!r} is not possible: give 1 to {_MAX_NAME_CHARS} lowercase letters, digits and single underscores, "
        f"beginning with a letter{proposal}"
    )


def write_project(directory: Path, name: str) -> list[Path]:
    """Write the files to a new directory; return them.

    Raises:
        ConfigError: the directory exists or cannot be written. Then nothing was written.
    """
    values = {"name": name, "class_name": class_name_of(name)}
    try:
        directory.mkdir()
    except FileExistsError:
        raise ConfigError(
            f"{directory} exists and was not changed: choose another name, or move it away"
        ) from None
    except OSError as error:
        raise _cannot_write(directory, error) from error
    templates = files("qcore.cli.new") / "templates"
    written: list[Path] = []
    try:
        for template, file_name in _FILES.items():
            text = (templates / template).read_text(encoding="utf-8")
            path = directory / Template(file_name).substitute(values)
            path.write_text(Template(text).substitute(values), encoding="utf-8")
            written.append(path)
    except OSError as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise _cannot_write(directory, error) from error
    return written


def class_name_of(name: str) -> str:
    """`bank_account` -> `BankAccountMachine`."""
    return "".join(word.capitalize() for word in name.split("_")) + "Machine"


def _cannot_write(directory: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot write {directory.absolute()}: {error.strerror}; run the command in a directory that you may write to"
    )
