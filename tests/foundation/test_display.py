"""What `qcore.display` makes of texts from elsewhere."""

from __future__ import annotations

import pytest

from qcore.display import located


@pytest.mark.parametrize(
    ("where", "text", "shown"),
    [
        ("a:80", "it is silent", "a:80: it is silent"),
        ("a:80", "the certificate of a:80 is not accepted", None),
        ("a:80", "a:80 uses TLS", None),
        ("a:80", "cannot connect to a:80: refused", None),
        ("a:80", "the leader is at a:8080", "a:80: the leader is at a:8080"),
        ("a:80", "the leader is at data:80", "a:80: the leader is at data:80"),
        ("[::1]:80", "no answer from [::1]:80 within 5 s", None),
    ],
)
def test_an_address_is_named_once(where: str, text: str, shown: str | None) -> None:
    assert located(where, text) == (shown or text)
