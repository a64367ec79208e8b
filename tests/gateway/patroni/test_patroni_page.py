"""docs/how-to/patroni.md shows the configuration with which the drill runs, and its commands work."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from qcore.processes import ProcessGuard
from tests.checkout import CHECKOUT
from tests.documents import Command, blocks, commands
from tests.gateway.patroni.patroni_drill import TIMES, drill_directory
from tests.gateway.patroni.patroni_instance import (
    UNPRIVILEGED,
    PatroniInstance,
    find_postgresql,
    identity,
    kill_below,
    missing,
)
from tests.shell_session import run_commands
from tests.test_docs import compare

PAGE = CHECKOUT / "docs/how-to/patroni.md"
#: Where the page keeps the data of all instances, and where it finds the programs of PostgreSQL.
DATA, PROGRAMS = "/var/lib/postgresql/orders", "/usr/lib/postgresql/15/bin"


def configuration() -> str:
    """The file that the page asks the reader to save."""
    (text,) = (block.text for block in blocks(PAGE) if block.language == "yaml")
    return text


def settings(tree: Any, path: str = "") -> Iterator[tuple[str, object]]:
    """Each setting of a configuration with its path."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from settings(value, f"{path}.{key}")
    else:
        yield path.removeprefix("."), tree


def test_page_shows_the_configuration_of_the_drill(tmp_path: Path) -> None:
    """The addresses, the directories, and Patroni's times are those of the reader."""
    guard = ProcessGuard()
    try:
        instance = PatroniInstance("pg1", tmp_path, ["127.0.0.1:2379"] * 3, guard, TIMES)
    finally:
        guard.close()
    drill = dict(settings(yaml.safe_load(instance.config_path.read_text())))
    shown = dict(settings(yaml.safe_load(configuration())))
    assert shown.keys() == drill.keys()
    different = {path for path in shown if shown[path] != drill[path]}
    last_words = {path.rpartition(".")[2] for path in different}
    assert last_words <= {
        *("listen", "connect_address", "hosts"),
        *("bin_dir", "data_dir", "pgpass", "unix_socket_directories"),
        *TIMES,
    }


@pytest.mark.process
@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_page_is_followed() -> None:
    """Its commands run in their order in one shell, with free ports, and the file that it shows."""
    if reason := missing():
        pytest.skip(reason)
    directory = drill_directory()  # kept if the test fails
    data = directory / "orders"
    data.mkdir()
    unprivileged = ""
    if user := identity():
        shutil.chown(data, UNPRIVILEGED)
        unprivileged = (
            f"setpriv --reuid={user['user']} --regid={user['group']} --clear-groups"
            f" env HOME={data} "
        )
    python = sys.executable
    programs = {
        "qcore": f'exec "{python}" -m qcore "$@"',
        "patroni": f'exec {unprivileged}"{python}" -m patroni "$@"',
        "patronictl": f'exec "{python}" -c "from patroni.ctl import ctl; ctl()" "$@"',
        "mkdir": f'exec {unprivileged}/bin/mkdir "$@"',
    }
    save = Command(f"cat > pg1.yml <<'END'\n{configuration()}END")
    here = {DATA: str(data), PROGRAMS: str(find_postgresql())}
    session = [save, *commands(PAGE)]
    for shown, real in here.items():
        session = [Command(each.line.replace(shown, real), each.output) for each in session]
    try:
        for ran in run_commands(session, directory, 500, programs):
            compare(ran)
    finally:
        kill_below(directory)
    shutil.rmtree(directory)
