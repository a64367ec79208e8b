"""When a certificate counts, and whether a new one may replace the one in use: an expired one may not."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
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


def name_problem(content: bytes, host: str) -> str | None:
    """Why clients that connect to this host reject the certificate; None if they do not.

    Args:
        content: of a PEM file, whose first certificate counts. None is found if it holds no certificate.
        host: a name or an IP address.
    """
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(content)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except ValueError:
        return None
    except x509.ExtensionNotFound:
        return f"names no host (subjectAltName), so not {host} either"
    known = [str(each) for each in names.get_values_for_type(x509.IPAddress)]
    known += names.get_values_for_type(x509.DNSName)
    with suppress(ValueError):
        host = str(ipaddress.ip_address(host))  # an IPv6 address has several spellings
    if any(_covers(each, host) for each in known):
        return None
    return f"is for {', '.join(known)[:300] or 'no host'}, and not for {host}"


def _covers(name: str, host: str) -> bool:
    """Whether a name of a certificate is this host; `*` stands for its first part (RFC 9525, section 6.3)."""
    name, host = name.lower().rstrip("."), host.lower().rstrip(".")
    return name == host or (name.startswith("*.") and name[2:] == host.partition(".")[2])


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
