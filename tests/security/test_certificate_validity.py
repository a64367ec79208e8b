"""A renewed certificate that does not count does not replace one that does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pytest

from qcore.security import certificate_validity, tls
from qcore.security.tls import server_context
from tests.security.certificates import Authority

DAY = timedelta(days=1)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Tomorrow(datetime):
    """A clock that is a day ahead, and an hour."""

    @classmethod
    def now(cls, tz: Any = None) -> Self:  # Any: as the class has it
        return super().now(tz) + DAY + timedelta(hours=1)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    caplog.clear()
    return found


@pytest.mark.parametrize(
    ("begin", "end", "why"),
    [(None, -DAY, "has expired on"), (DAY, 90 * DAY, "is not valid before")],
    ids=["expired", "not yet valid"],
)
def test_the_old_certificate_stays_while_it_is_valid(
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    begin: timedelta | None,
    end: timedelta,
    why: str,
) -> None:
    now = datetime.now(UTC)
    context = server_context(authority.issue("node"))
    before = context.current
    authority.issue("node", not_before=None if begin is None else now + begin, not_after=now + end)
    assert context.current is before
    assert context.current is before
    (line,) = errors(caplog)
    assert f"but the new certificate {why}" in line
    assert "the old files stay in use, whose certificate is valid until" in line
    assert "put a valid certificate into" in line
    assert "node.crt" in line
    authority.issue("node")
    assert context.current is not before
    assert not errors(caplog)


def test_the_new_certificate_is_used_once_it_is_valid(
    authority: Authority, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    context = server_context(authority.issue("node"))
    before = context.current
    authority.issue("node", not_before=now + DAY, not_after=now + 90 * DAY)
    assert context.current is before
    assert len(errors(caplog)) == 1
    for module in (tls, certificate_validity):
        monkeypatch.setattr(module, "datetime", Tomorrow)
    assert context.current is not before
    assert not errors(caplog)


def test_an_expired_certificate_follows_one_that_has_expired(
    authority: Authority, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    context = server_context(authority.issue("node", not_after=now + DAY))
    before = context.current
    authority.issue("node", expired=True)
    assert context.current is before
    assert len(errors(caplog)) == 1
    for module in (tls, certificate_validity):
        monkeypatch.setattr(module, "datetime", Tomorrow)
    assert context.current is not before
    (line,) = errors(caplog)
    assert "but the certificate has expired on" in line


@pytest.mark.parametrize(
    ("names", "host", "fits"),
    [
        (("n1.example",), "N1.example", True),
        (("*.example",), "n1.example", True),
        (("*.example",), "a.n1.example", False),
        (("*.example",), "example", False),
        (("n2.example", "10.0.0.2"), "n1.example", False),
        (("10.0.0.1",), "10.0.0.1", True),
        (("10.0.0.2",), "10.0.0.1", False),
        (("2001:db8::1",), "2001:db8:0::1", True),
    ],
)
def test_a_renewed_certificate_without_the_advertised_name_warns(
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    names: tuple[str, ...],
    host: str,
    fits: bool,
) -> None:
    caplog.set_level("INFO", "qcore.transport")
    context = server_context(authority.issue("node"), host=host)
    before = context.current
    authority.issue("node", *names)
    assert context.current is not before
    (line,) = caplog.records
    if fits:
        assert (line.levelname, line.getMessage()) == (
            "INFO",
            "the files for TLS have changed: new connections use them",
        )
        return
    assert line.levelname == "WARNING"
    assert f"and not for {host}, the advertised address" in line.getMessage()
    assert all(each in line.getMessage() for each in names)
    assert "put one with this name into" in line.getMessage()
