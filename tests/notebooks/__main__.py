"""Renews the outputs that are committed with the notebooks.

`python -m tests.notebooks [NAME ...]` runs the named notebooks, or all, and writes their outputs into them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import nbformat

from tests.notebooks.executed_notebooks import NOTEBOOKS, execute


def main() -> None:
    """Run the notebooks of the command line, and write their outputs."""
    parser = argparse.ArgumentParser(prog="python -m tests.notebooks", description=__doc__)
    parser.add_argument("name", nargs="*", help="the name of a notebook, such as elections")
    chosen: list[str] = parser.parse_args().name
    unknown = set(chosen) - {path.stem for path in NOTEBOOKS}
    if unknown:
        parser.error(f"there is no notebook {', '.join(sorted(unknown))}")
    for path in NOTEBOOKS:
        if chosen and path.stem not in chosen:
            continue
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
        path.write_text(
            nbformat.writes(notebook, indent=1) + "\n",  # type: ignore[no-untyped-call]  # no types
            encoding="utf-8",
        )
        sys.stdout.write(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB\n")


if __name__ == "__main__":
    main()
