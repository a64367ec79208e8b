"""`qcore examples`: lists the examples that come with qcore, and copies them to a directory."""

from __future__ import annotations

import ast
import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from qcore.cli.options import OutputFormat, OutputOption, non_empty_path
from qcore.cli.output import show
from qcore.errors import ConfigError
from qcore.release import shipped_folder

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="List the examples that come with qcore, and copy them to a directory.",
)


#: Modules, the extra that installs them, and the begin of a sentence: what needs them.
_NEEDED = (
    (("ipykernel",), "notebook", "the notebooks need"),
    (("pytest", "hypothesis"), "testing", "test_json_storage.py needs"),
    (("starlette", "uvicorn"), "web", "web/service.py needs"),
)


@app.callback()
def _group() -> None:
    """List the examples that come with qcore, and copy them to a directory."""


@app.command(name="list")
def list_examples(output: OutputOption = OutputFormat.table) -> None:
    """List the files that `qcore examples copy` copies, each with a summary."""
    rows = [{"file": name, "summary": summary_of(path)} for name, path in example_files().items()]
    show(output, rows, rows=rows)


@app.command()
def copy(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            parser=non_empty_path,
            help="The directory for the files. It is created if it is missing.",
        ),
    ],
    output: OutputOption = OutputFormat.table,
) -> None:
    """Copy the examples and notebooks to a directory.

    A file that is already there is not replaced: nothing is copied then.
    """
    copied = copy_examples(directory)
    lines = [f"{len(copied)} files copied to {directory}"]
    for modules, extra, what in _NEEDED:
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            lines.append(f"{what} {' and '.join(missing)}: pip install 'qcore-raft[{extra}]'")
    body = [str(path) for path in copied]
    show(output, body, rows=[{"file": path} for path in body], text="\n".join(lines))


def example_files() -> dict[str, Path]:
    """The files of the examples, then the notebooks, by their names in the copy; each group sorted by name."""
    folders = (shipped_folder("examples"), shipped_folder("notebooks"))
    return {
        path.relative_to(folder).as_posix(): path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.suffix in {".html", ".py", ".toml", ".yaml", ".ipynb"}
        and not any(part.startswith(("_", ".")) for part in path.relative_to(folder).parts)
    }


def copy_examples(directory: Path) -> list[Path]:
    """Copy the examples to a directory; return the new files.

    Raises:
        ConfigError: one of the files exists there, or the directory cannot be written.
    """
    files = {directory / name: path for name, path in example_files().items()}
    present = [name for name in example_files() if (directory / name).exists()]
    if present:
        raise ConfigError(
            f"{directory} already holds {', '.join(present)}: name another directory, or move them away"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for target, path in files.items():
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)
    except OSError as error:
        raise ConfigError(
            f"cannot copy the examples to {directory}: {error.strerror}; name another directory"
        ) from None
    return list(files)


def summary_of(path: Path) -> str:
    """The first line of a program's docstring or of a notebook's text; the description of a page.

    For another file its summary or first comment.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    if path.suffix == ".ipynb":
        first: str = json.loads(text)["cells"][0]["source"][0]
        return first.lstrip("# ").rstrip()
    if path.suffix == ".html":
        found = re.search('<meta name="description" content="([^"]*)">', text)
        return found[1] if found else ""
    for line in text.splitlines():
        for start in ("# ", "summary: "):
            if line.startswith(start):
                return line.removeprefix(start)
    return ""
