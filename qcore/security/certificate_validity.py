"""When a certificate counts, and whether a new one may replace the one in use: an expired one may not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self


class CertificateValidity(NamedTuple):
    """The time in which a certificate counts, in UTC."""

    begin: datetime
    end: datetime

    @classmethod
    def of(cls, content: bytes) -> Self:
        """That of the first certificate in the content of a PEM file.

        Raises:
            ValueError: there is no certificate.
        """
        from cryptography import x509  # late: most programs that use TLS do not need it

        found = x509.load_pem_x509_certificate(content)
        return cls(found.not_valid_before_utc, found.not_valid_after_utc)

    def problem(self, now: datetime) -> str | None:
        """Why the certificate does not count now; None if it does."""
        if now > self.end:
            return f"has expired on {_shown(self.end)}"
        if now < self.begin:
            return f"is not valid before {_shown(self.begin)}"
        return None


class KeptBack(NamedTuple):
    """A new certificate that is not used yet.

    Attributes:
        why: why not, and what is used instead.
        until: when to look again, because one of the two begins or ends to count then.
    """

    why: str
    until: datetime


def certificate_end(path: Path) -> datetime:
    """When the first certificate in a PEM file ends.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no certificate.
    """
    return CertificateValidity.of(path.read_bytes()).end


def certificate_problem(content: bytes) -> str | None:
    """Why the first certificate in the content of a PEM file does not count now; None if it does, or there is none."""
    try:
        return CertificateValidity.of(content).problem(datetime.now(UTC))
    except ValueError:
        return None


def kept_back(old: bytes, new: bytes, now: datetime) -> KeptBack | None:
    """Whether a new certificate must wait, because it does not count, and the old one does. None if it need not.

    Args:
        old, new: the content of the PEM file at the last change that was used, and now.
        now: the time, in UTC.
    """
    try:
        before, after = CertificateValidity.of(old), CertificateValidity.of(new)
    except ValueError:
        return None  # OpenSSL has read them, so it decides
    problem = after.problem(now)
    if problem is None or before.problem(now) is not None:
        return None
    until = min(after.begin, before.end) if now < after.begin else before.end
    return KeptBack(
        f"the new certificate {problem}; the old files stay in use, whose certificate is valid until "
        f"{_shown(before.end)}",
        until,
    )


def _shown(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
