"""Checkouts of two versions beside each other, and probes that run in each with the same interpreter."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.support.python_build import CHECKOUT, environment_of


class CheckError(Exception):
    """The versions cannot be compared."""


def git(repository: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """What git prints."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=repository,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CheckError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def is_clean(repository: Path) -> bool:
    """Whether all files are those of HEAD."""
    return not git(repository, "status", "--porcelain")


def version_before(repository: Path) -> str:
    """What this checkout is compared to, if nothing is named.

    With changes that are not committed it is HEAD; else the last tag, or the commit before if HEAD is the tag or there
    is none.
    """
    if not is_clean(repository):
        return "HEAD"
    try:
        tag = git(repository, "describe", "--tags", "--abbrev=0")
    except CheckError:
        return "HEAD~1"
    at_head = git(repository, "rev-parse", f"{tag}^{{commit}}") == git(
        repository, "rev-parse", "HEAD"
    )
    return "HEAD~1" if at_head else tag


def snapshot(repository: Path) -> str:
    """A commit of all files as they are now, of which no branch and no index knows. HEAD if nothing has changed."""
    if is_clean(repository):
        return git(repository, "rev-parse", "HEAD")
    index = Path(git(repository, "rev-parse", "--absolute-git-dir")) / "index.bench-check"
    environment = {
        "GIT_INDEX_FILE": str(index),
        **{
            f"GIT_{role}_{what}": "bench-check"
            for role in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }
    try:
        git(repository, "read-tree", "HEAD", environment=environment)
        git(repository, "add", "--all", environment=environment)
        tree = git(repository, "write-tree", environment=environment)
        return git(
            repository,
            "commit-tree",
            tree,
            "-p",
            "HEAD",
            "-m",
            "bench-check",
            environment=environment,
        )
    finally:
        index.unlink(missing_ok=True)


@contextmanager
def worktree(repository: Path, commit: str, place: Path) -> Iterator[Path]:
    """A checkout of a commit, which is removed at the end."""
    if place.exists():
        git(repository, "worktree", "remove", "--force", str(place))
    place.parent.mkdir(parents=True, exist_ok=True)
    git(repository, "worktree", "add", "--quiet", "--detach", str(place), commit)
    try:
        yield place
    finally:
        git(repository, "worktree", "remove", "--force", str(place))


def build(tree: Path, command: str, program: str = sys.executable) -> None:
    """Compile a checkout in place. `{python}` in the command stands for the program."""
    done = subprocess.run(
        command.replace("{python}", shlex.quote(program)),
        shell=True,
        cwd=tree,
        env={**os.environ, **environment_of(program, tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CheckError(f"{command} failed in {tree}:\n{done.stderr[-1500:]}")


def probe(name: str, tree: Path, program: str, tools: Path) -> dict[str, float]:
    """Run a probe of these benchmarks on the qcore of a checkout."""
    environment = environment_of(program, tree)
    environment["PYTHONPATH"] = os.pathsep.join([str(tools), environment["PYTHONPATH"]])
    done = subprocess.run(
        [program, "-m", "benchmarks.record.probes", name],
        cwd=tools,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CheckError(f"the probe {name} failed on {tree}:\n{done.stderr[-1500:]}")
    found = json.loads(done.stdout)
    if not Path(found["qcore"]).is_relative_to(tree.resolve()):
        raise CheckError(f"the probe measured {found['qcore']} instead of {tree}")
    figures: dict[str, float] = found["figures"]
    return figures


def make_tools(place: Path) -> Path:
    """A folder that holds these benchmarks and no qcore."""
    folder = place / "benchmarks"
    if folder.is_symlink():  # as this function once made it
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    # Compiled loops work with the qcore only that was compiled with them, so both checkouts get interpreted ones.
    shutil.copytree(CHECKOUT / "benchmarks", folder, ignore=shutil.ignore_patterns("*.so"))
    return place
