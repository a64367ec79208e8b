"""A watching client as a process, which a test can stop: `python -m tests.process.support.watching_process`.

Its arguments are the node's address, the configuration of the watch as JSON, and the last value to wait for. It prints
one line for each thing that it receives, as JSON: `{"begun": after}`, `{"seen": [index, sequence, value]}` or
`{"error": code}`. After `WatchOverflow` it resumes; it ends after any other error, and after the last value.
"""

from __future__ import annotations

import json
import socket
import sys

from websockets.sync.client import ClientConnection, connect


def main(address: str, config: str, last: int) -> None:
    """Watch until the last value, or until the watch cannot go on."""
    host, port = address.split(":")
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    raw.connect((host, int(port)))
    with connect(f"ws://{address}", sock=raw, max_size=None, max_queue=1, proxy=None) as ws:
        register(ws, config, None)
        place: list[int] | None = None
        while True:
            ((name, content),) = json.loads(ws.recv()).items()
            if name == "StoreNotification":
                notification = content["notification"]
                place = [notification["index"], notification["sequence"]]
                value = notification["context"] and notification["context"]["Age"]["Int"]
                report({"seen": [*place, value]})
                if notification["current_value"]["String"].startswith(f"{last} "):
                    return
                continue
            if "detail" in content:
                report({"error": content["detail"]["code"]})
                if content["detail"]["code"] != "WatchOverflow":
                    return
                register(ws, config, place)
            else:
                report({"begun": content["after"]})


def register(ws: ClientConnection, config: str, after: list[int] | None) -> None:
    """Send a registration."""
    content = {"id": "r", "config": json.loads(config), "after": after}
    ws.send(json.dumps({"StoreRegisterNotification": content}))


def report(content: object) -> None:
    """Print a line."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
