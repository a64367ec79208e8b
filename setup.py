"""Ships the folders at the top of the checkout as data of the package, and compiles hot modules if asked to.

Everything else about the package stands in pyproject.toml, which cannot name packages both by search and one by one.

With QCORE_COMPILE=1 in the environment, mypyc compiles the modules that pyproject.toml names under `tool.qcore`.
QCORE_COMPILE_LEVEL is the level of optimisation of the C compiler, by default 3.
"""

import json
import os
import sys
import tomllib
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

FOLDERS = ("scenarios", "examples", "notebooks")  # also in qcore/release.py
LIBRARY_GROUP = (
    "qcore_compiled"  # qcore/compiled_build.py knows the name of the library that comes of it
)


def compiled_modules() -> list[str]:
    """The files to compile, relative to the checkout."""
    settings = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["qcore"]["compiled"]
    left_out = {Path(name) for name in settings["exclude"]}
    patterns = settings["include"] + (settings["only_in_place"] if "--inplace" in sys.argv else [])
    found = {path for pattern in patterns for path in Path().glob(pattern)}
    return sorted(str(p) for p in found - left_out if p.name != "__init__.py")


def stamps() -> dict[str, list[int]]:
    """The state of each source to compile, by its path from the package."""
    states = {path: Path(path).stat() for path in compiled_modules()}
    return {
        os.path.relpath(path, "qcore"): [state.st_mtime_ns, state.st_size]
        for path, state in states.items()
    }


#: What `stamps` returned before the compiler read the sources: an edit meanwhile makes its output old.
COMPILED_STAMPS: dict[str, list[int]] = {}


def extensions() -> list[Extension]:
    """What the C compiler makes."""
    if os.environ.get("QCORE_COMPILE", "") in ("", "0"):
        return []
    from mypyc.build import mypycify

    sys.path.insert(0, os.getcwd())  # mypy loads its plugins
    COMPILED_STAMPS.update(stamps())
    level = os.environ.get("QCORE_COMPILE_LEVEL", "3")
    return mypycify(
        compiled_modules(),
        opt_level=level,
        debug_level="0",
        multi_file=True,
        group_name=LIBRARY_GROUP,
    )


class BuildExtensions(build_ext):
    """Compiles. In place, it also records the state of the sources: see qcore/compiled_build.py."""

    def run(self) -> None:
        """See `setuptools.Command`."""
        if self.inplace:
            folders = [Path("qcore"), Path("benchmarks")]
            old = [path for folder in folders for path in folder.rglob("*.so")]
            for path in [*old, *Path().glob(f"{LIBRARY_GROUP}__mypyc.*")]:
                path.unlink()
        super().run()
        if self.inplace and self.extensions:
            Path("qcore", "compiled.json").write_text(json.dumps(COMPILED_STAMPS))


setup(
    cmdclass={"build_ext": BuildExtensions},
    packages=[*find_packages(include=["qcore*"]), *(f"qcore.data.{name}" for name in FOLDERS)],
    package_dir={f"qcore.data.{name}": name for name in FOLDERS},
    ext_modules=extensions(),
)
