"""The source archive and the wheel hold what they should, and describe themselves truly."""

from __future__ import annotations

import tarfile
import tomllib
from email import message_from_bytes
from email.message import Message
from zipfile import ZipFile

import qcore
from tests.checkout import CHECKOUT
from tests.packaging.installation import SOURCE_FILES, SOURCES, Archives, run_documented

#: Folder at the top of the checkout -> where the wheel has its files.
IN_WHEEL = {
    "qcore": "qcore",
    "scenarios": "qcore/data/scenarios",
    "examples": "qcore/data/examples",
    "notebooks": "qcore/data/notebooks",
}


def tracked(folder: str) -> set[str]:
    """The files of the folder that belong to the package, relative to the folder."""
    skipped = {"__pycache__", ".ipynb_checkpoints", ".pytest_cache", ".ruff_cache", ".mypy_cache"}
    skipped.add("compiled.json")  # of `make compile`, as the libraries are
    return {
        path.relative_to(CHECKOUT / folder).as_posix()
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file() and path.suffix != ".so" and not skipped & set(path.parts)
    }


def metadata(archives: Archives) -> Message:
    with ZipFile(archives.wheel) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
        return message_from_bytes(wheel.read(name))


def test_the_wheel_holds_the_package_and_its_data_only(archives: Archives) -> None:
    expected = {f"{there}/{name}" for here, there in IN_WHEEL.items() for name in tracked(here)}
    with ZipFile(archives.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        information = {
            name.partition(".dist-info/")[2] for name in wheel.namelist() if ".dist-info/" in name
        }
        assert names == expected
        assert {"qcore/py.typed", "qcore/data/scenarios/leader_isolated.yaml"} <= names
        assert information >= {"METADATA", "RECORD", "entry_points.txt", "licenses/LICENSE"}
        for name in ("scenarios/chaos.yaml", "examples/client.py", "notebooks/elections.ipynb"):
            assert wheel.read(f"qcore/data/{name}") == (CHECKOUT / name).read_bytes()


def test_the_source_archive_can_build_the_wheel_and_no_more(archives: Archives) -> None:
    with tarfile.open(archives.sdist) as sdist:
        names = {member.name.partition("/")[2] for member in sdist if member.isfile()}
        links = [member.name for member in sdist if member.issym() or member.islnk()]
    assert links == []
    made = {name for name in names if name.startswith("qcore_raft.egg-info/")}
    expected = {f"{folder}/{name}" for folder in SOURCES for name in tracked(folder)}
    assert names - made == expected | {*SOURCE_FILES, "PKG-INFO", "setup.cfg"}


def test_the_description_of_the_archives_is_valid(archives: Archives) -> None:
    printed = run_documented("python -m twine check", archives.sdist.parent.parent)
    assert printed.count("PASSED") == 2


def test_the_metadata_is_that_of_the_project(archives: Archives) -> None:
    found = metadata(archives)
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert found["Version"] == qcore.__version__
    assert "version" in project["dynamic"]
    assert found["License-Expression"] == "Apache-2.0"
    assert found["Author"] == "qcore contributors"
    assert found["Requires-Python"] == project["requires-python"]
    assert found.get_all("Project-URL") is None
    assert set(found.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])
    assert "Apache License" in (CHECKOUT / "LICENSE").read_text(encoding="utf-8")


def test_only_python_versions_that_were_tried_are_named() -> None:
    """docs/how-to/releasing.md lists the versions with which the tests ran."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    start = "Programming Language :: Python :: 3."
    named = {line.removeprefix(start) for line in project["classifiers"] if line.startswith(start)}
    tried = (CHECKOUT / "docs/how-to/releasing.md").read_text(encoding="utf-8")
    assert named
    for minor in named:
        assert f"| 3.{minor}." in tried
    assert project["requires-python"] == f">=3.{min(map(int, named))}"
