"""The program of release 0.1.0, built from the history of the repository, and installed into a separate environment.

There is no tag: `COMMIT` is the last commit before the work on 0.2.0. The build needs neither the network nor anything
that is not installed for the tests.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Final

from qcore.processes import NodeProcess
from tests.checkout import CHECKOUT
from tests.packaging.installation import Installation, install, run

COMMIT: Final = "9952f6cea218570fb91605b250ba6d637e0f1261"
_START_SCRIPT: Final = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
#: The program of a `NodeProcess` of this checkout.
NEW_PROGRAM: Final = ("-m", "qcore")


class NotAvailable(Exception):
    """The release cannot be built here. The message says why."""


def build(folder: Path) -> Installation:
    """Build the wheel of 0.1.0 in a folder, and install it there.

    Raises:
        NotAvailable: the commit is not in the history of this checkout, or a tool is missing.
    """
    if shutil.which("git") is None:
        raise NotAvailable("git is missing, which has the program of release 0.1.0 in its history")
    if find_spec("setuptools") is None:
        raise NotAvailable(
            "setuptools is missing, which builds release 0.1.0: `make dev-deps` installs it"
        )
    archive = subprocess.run(
        ["git", "-C", str(CHECKOUT), "archive", "--format=tar", COMMIT],
        capture_output=True,
        check=False,
    )
    if archive.returncode != 0:
        raise NotAvailable(
            f"the history of this checkout has no commit {COMMIT[:8]} (release 0.1.0): "
            "`git fetch --unshallow` gets it"
        )
    source = folder / "source"
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        # Python has the filter from 3.11.4 on.
        files.extraction_filter = getattr(tarfile, "data_filter", None)
        files.extractall(source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ("--no-deps", "--no-build-isolation", "--no-index")
    run([*pip, "wheel", "--quiet", *offline, "--wheel-dir", str(folder), str(source)], folder)
    (wheel,) = folder.glob("*-0.1.0-*.whl")
    install(wheel, folder)
    work = folder / "work"
    work.mkdir()
    return Installation(folder / "environment", work)


def use_old(node: NodeProcess, old: Installation) -> None:
    """From its next start on, the node runs 0.1.0."""
    node.program = ("-c", _START_SCRIPT, str(old.script))
    node.environment = {**node.environment, "PYTHONPATH": ""}


def use_new(node: NodeProcess) -> None:
    """From its next start on, the node runs this checkout."""
    node.program = NEW_PROGRAM
