"""Ends with 0 if the node in this container is alive, or with `--ready` if it can serve requests; else with 1.

It takes address and certificate from the variables of the node: QCORE_WS_ADDR, QCORE_TLS_CERT, QCORE_TLS_KEY.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys

_TIMEOUT_S = 4


def main() -> int:
    """Ask the node, and print what is wrong."""
    port = int(os.environ.get("QCORE_WS_ADDR", "127.0.0.1:8080").rpartition(":")[2])
    certificate = os.environ.get("QCORE_TLS_CERT")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    if certificate:
        # The other end is this container, whose certificate has no name for 127.0.0.1.
        context = ssl._create_unverified_context()
        context.load_cert_chain(certificate, os.environ.get("QCORE_TLS_KEY"))
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=_TIMEOUT_S, context=context
        )
    try:
        connection.request("GET", "/readyz" if "--ready" in sys.argv else "/livez")
        response = connection.getresponse()
        text = response.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        print(f"the node does not answer: {error}")
        return 1
    print(text)
    return 0 if response.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
