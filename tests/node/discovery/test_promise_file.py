"""`founding.json`: what is promised is durable, and each damaged bit is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.errors import ConfigError, StorageError
from qcore.node.config import NodeConfig
from qcore.node.discovery.promise_file import FILE_NAME, PromiseFile
from qcore.node.discovery.protocol.founding import (
    Acceptance,
    Ballot,
    Founder,
    Founding,
    Promises,
)
from qcore.transport.address import Address

FOUNDERS = tuple(Founder(node, f"10.0.0.{node}:80", f"key-{node}") for node in (1, 2, 3))
PROMISES = Promises(Ballot(7, 3), Acceptance(Ballot(6, 1), Founding("token", "cluster", FOUNDERS)))


def test_what_was_promised_is_read_again(tmp_path: Path) -> None:
    file = PromiseFile(tmp_path)
    assert file.load() == Promises()
    for promises in (Promises(Ballot(2, 1)), PROMISES):
        file.save(promises)
        assert PromiseFile(tmp_path).load() == promises
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_each_flipped_bit_is_found(tmp_path: Path) -> None:
    file = PromiseFile(tmp_path)
    file.save(PROMISES)
    content = (tmp_path / FILE_NAME).read_bytes()
    for position in range(0, len(content) * 8, 7):  # every byte, and each of its bits in turn
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        (tmp_path / FILE_NAME).write_bytes(damaged)
        with pytest.raises(StorageError, match=FILE_NAME):
            file.load()


def test_a_file_of_a_newer_qcore_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"format":2}')
    with pytest.raises(StorageError, match="was written by a newer qcore: format 2"):
        PromiseFile(tmp_path).load()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"auto_init": True}, "auto_init: it needs expect"),
        ({"auto_init": True, "expect": 3}, "with expect 3, discover must name"),
        ({"discover": ["mdns:a b"]}, "the name after mdns:"),
        ({"discover": ["dns:name"]}, "must be static:HOST:PORT, dns:NAME:PORT or mdns:NAME"),
        ({"discover": ["a:1"] * 65}, "65 places are named"),
        (
            {"auto_init": True, "expect": 1, "ws_addr": Address("0.0.0.0", 80)},
            "cannot dial 0.0.0.0:80: give advertise_addr",
        ),
    ],
)
def test_settings_that_cannot_work_are_rejected(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        NodeConfig.of(1, Path("d"), **settings)
