"""Where the shipped files are, and that a user's scenarios come first. Also: the hooks need no network."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from qcore import release
from qcore.errors import ConfigError
from qcore.release import shipped_folder
from qcore.sim.scenario.catalogue import find_scenario, is_shipped, scenario_files
from tests.checkout import CHECKOUT, SCENARIOS


def test_a_checkout_uses_its_top_folders() -> None:
    assert shipped_folder("scenarios") == SCENARIOS
    assert shipped_folder("notebooks") == CHECKOUT / "notebooks"


def test_an_installed_package_uses_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if a folder of the same name stands beside the package, as it may in `site-packages`."""
    package = tmp_path / "qcore"
    for folder in (package / "data" / "examples", tmp_path / "examples"):
        folder.mkdir(parents=True)
    monkeypatch.setattr(release, "_PACKAGE", package)
    assert shipped_folder("examples") == package / "data" / "examples"
    with pytest.raises(ConfigError, match=r"the scenarios of qcore are missing in .*install qcore"):
        shipped_folder("scenarios")


def test_scenarios_of_the_working_directory_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_scenario("chaos") == SCENARIOS / "chaos.yaml"
    assert is_shipped(SCENARIOS / "chaos.yaml")
    mine = tmp_path / "scenarios" / "chaos.yaml"
    mine.parent.mkdir()
    mine.write_text("{}")
    assert find_scenario("chaos").resolve() == mine
    assert not is_shipped(SCENARIOS / "chaos.yaml")  # its name finds another file here
    assert [path.resolve() for path in scenario_files()] == [mine]
    assert find_scenario("steady_state") == SCENARIOS / "steady_state.yaml"


def test_the_hooks_run_pinned_tools_of_the_checkout() -> None:
    hooks = yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    pinned = (CHECKOUT / "requirements/dev.txt").read_text(encoding="utf-8")
    (repository,) = hooks["repos"]
    assert repository["repo"] == "local"
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        program, *arguments = hook["entry"].removeprefix(".venv/bin/").split()
        assert program == "python" or f"\n{program}==" in pinned
        checked = [word for word in arguments if not word.startswith("--force")]
        assert f"$(BIN)/{' '.join([program, *checked])}" in makefile, hook["entry"]
