"""Builds the archives with the command of docs/how-to/releasing.md, and installs the wheel into an empty environment.

The environment sees the dependencies of the tests, but not the checkout: a `.pth` file adds the folder of the
dependencies, and the interpreter does not execute the `.pth` files of a folder that was added like this. So the
editable install of the checkout has no effect there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from tests.checkout import CHECKOUT, DOCS
from tests.documents import commands

#: What a build reads. The tests build from a copy, because a build leaves files in its folder.
SOURCES = ("qcore", "scenarios", "examples", "notebooks")
SOURCE_FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")


@dataclass(frozen=True, slots=True)
class Archives:
    """The source archive, and the wheel that was built from it."""

    sdist: Path
    wheel: Path


def copy_sources(folder: Path) -> None:
    """Copy the files of the build to an empty folder, as a fresh clone would hold them."""
    ignored = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "*.so", "compiled.json")
    for name in SOURCES:
        shutil.copytree(CHECKOUT / name, folder / name, ignore=ignored)
    for name in SOURCE_FILES:
        shutil.copyfile(CHECKOUT / name, folder / name)


def build(folder: Path) -> Archives:
    """Build the source archive of a copy of the checkout, and the wheel of the source archive, below `folder`."""
    source = folder / "source"
    source.mkdir()
    copy_sources(source)
    run_documented("python -m build", source)
    return archives_in(folder)


def run_documented(start: str, folder: Path) -> str:
    """Run the command of docs/how-to/releasing.md that begins like this in a folder; return what it prints."""
    (line,) = [
        each.line for each in commands(DOCS / "how-to/releasing.md") if each.line.startswith(start)
    ]
    return run(["bash", "-c", line], folder)


def archives_in(folder: Path) -> Archives:
    """The archives that `build` made in this folder."""
    (sdist,) = (folder / "source" / "dist").glob("*.tar.gz")
    (wheel,) = (folder / "source" / "dist").glob("*.whl")
    return Archives(sdist, wheel)


def clean_environment(home: Path) -> dict[str, str]:
    """The environment of a user who knows nothing of the checkout."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "MPLCONFIGDIR": str(home / "matplotlib"),
        "IPYTHONDIR": str(home / "ipython"),
    }


def run(command: list[str], folder: Path, timeout_s: float = 300) -> str:
    """Run a command in a folder; return what it prints to stdout."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=clean_environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, (
        f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return done.stdout


@dataclass(frozen=True, slots=True)
class Installation:
    """An environment with qcore, and an empty folder to work in."""

    environment: Path
    folder: Path

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    @property
    def script(self) -> Path:
        """The installed command `qcore`."""
        return self.environment / "bin" / "qcore"

    def qcore(self, *arguments: str) -> str:
        """Run the installed `qcore` script in the folder; return what it prints."""
        return run([str(self.script), *arguments], self.folder)

    def run_python(self, *arguments: str) -> str:
        return run([str(self.python), *arguments], self.folder)


def install(what: Path, folder: Path, *options: str) -> Path:
    """Create the folder `environment` in `folder`, and install a wheel or checkout there without the network.

    Args:
        what: the wheel or the checkout.
        folder: an existing folder.
        options: further options of `pip install`.
    """
    environment = folder / "environment"
    run([sys.executable, "-m", "venv", "--without-pip", str(environment)], folder)
    variables = {"base": str(environment), "platbase": str(environment)}
    site_packages = Path(sysconfig.get_path("purelib", vars=variables))
    dependencies = sysconfig.get_path("purelib")
    (site_packages / "dependencies.pth").write_text(f"{dependencies}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(environment), "--disable-pip-version-check"]
    run(
        [*pip, "install", "--quiet", "--no-deps", "--no-index", *options, str(what)],
        folder,
    )
    return environment
