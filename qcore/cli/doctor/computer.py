"""The programs of this computer, its limits, its wall clock, and who uses the port of the node."""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import resource
import socket
import sqlite3
import ssl
import struct
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from qcore.cli.doctor.finding import Finding, ok, problem, warning
from qcore.display import printable
from qcore.node.runtime.file_descriptors import MIN_FILES, needed_files
from qcore.release import __version__
from qcore.storage.files.directory_lock import LOCK_FILE
from qcore.transport.address import Address
from qcore.transport.limits import TransportLimits

#: `adjtimex` returns this while the clock is not synchronised (<sys/timex.h>).
_TIME_ERROR: Final = 5
#: Room for `struct timex`, with its first field `modes` 0: change nothing.
_TIMEX_BYTES: Final = 512
#: The state of a socket that listens, in /proc/net/tcp.
_LISTENS: Final = "0A"


def versions() -> Finding:
    """The versions of the programs that a node uses."""
    text = (
        f"qcore {__version__}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"{ssl.OPENSSL_VERSION}"
    )
    if importlib.util.find_spec("uvloop") is None:
        return ok("versions", f"{text}; without uvloop, which makes a node faster")
    return ok("versions", f"{text}; with uvloop")


def open_files(limits: TransportLimits) -> Finding:
    """The number of files that a node may open."""
    hard, needed = resource.getrlimit(resource.RLIMIT_NOFILE)[1], needed_files(limits)
    if hard == resource.RLIM_INFINITY:
        return ok("open files", f"no limit; a node may need {needed}")
    text = f"at most {hard}; a node may need {needed}"
    advice = f"raise the hard limit to {needed}: LimitNOFILE= of systemd, or ulimit -Hn"
    if hard < MIN_FILES:
        return problem("open files", f"{text}, and at least {MIN_FILES}", advice)
    if hard < needed:
        return warning("open files", f"{text}: it takes fewer clients", advice)
    return ok("open files", text)


def wall_clock() -> Iterator[Finding]:
    """Whether the system synchronises its clock. Nothing on systems that do not say so, such as containers."""
    with suppress(AttributeError, OSError):
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
        if state == _TIME_ERROR:
            yield warning(
                "clock",
                "the wall clock is not synchronised, as far as the kernel knows",
                "run chrony, ntpd or systemd-timesyncd: time stamps of writes come from this clock",
            )
        elif state >= 0:
            yield ok("clock", "the wall clock is synchronised")


def port(address: Address, data_dir: Path | None) -> Finding:
    """Whether a node can listen here, or does already."""
    if address.port == 0:
        return ok("port", f"{address}: any free port")
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        return problem("port", f"{address}: {error}", "give an address of this computer as ws_addr")
    for family, kind, protocol, _, place in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
                probe.listen()
        except PermissionError:
            return problem(
                "port", f"{address}: only root may listen there", "use a port from 1024 on"
            )
        except OSError as error:
            user = listener_of(str(place[0]), address.port)
            if user is not None and user == node_of(data_dir):
                return ok("port", f"{address}: process {user} listens, which is this node")
            if user is not None:
                text = f"{address}: {describe(user)} listens there"
                return problem("port", text, "stop it, or give another ws_addr")
            return problem(
                "port", f"{address}: {error.strerror}", "give an address and port that are free"
            )
    return ok("port", f"{address} is free")


def node_of(data_dir: Path | None) -> int | None:
    """The process that has this data directory, or had it last."""
    with suppress(OSError, ValueError):
        if data_dir is not None:
            return int((data_dir / LOCK_FILE).read_text(encoding="ascii"))
    return None


def listener_of(host: str, port: int) -> int | None:
    """The id of a process that keeps others from listening here, or None.

    Linux shows it only to root and to the process's user.

    Args:
        host: an IP address of this computer. A process on another address of it does no harm.
        port: the port.
    """
    sockets: set[str] = set()
    place = _in_proc(host)
    is_every = not place.strip("0")
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                taken, _, number = fields[1].rpartition(":")
                is_here = is_every or taken == place or not taken.strip("0")
                if fields[3] == _LISTENS and int(number, 16) == port and is_here:
                    sockets.add(f"socket:[{fields[9]}]")
    for folder in Path("/proc").glob("[0-9]*") if sockets else ():
        with suppress(OSError):
            for file in (folder / "fd").iterdir():
                with suppress(OSError):
                    if str(file.readlink()) in sockets:
                        return int(folder.name)
    return None


def _in_proc(host: str) -> str:
    """An IP address as in /proc/net/tcp: each four bytes in the order of the processor, in hexadecimal."""
    packed = ip_address(host.partition("%")[0]).packed
    words = struct.unpack(f"!{len(packed) // 4}I", packed)
    return struct.pack(f"={len(words)}I", *words).hex().upper()


def describe(process: int) -> str:
    """The process and its command."""
    command = b""
    with suppress(OSError):
        command = Path(f"/proc/{process}/cmdline").read_bytes().rstrip(b"\0")
    words = command.replace(b"\0", b" ").decode(errors="replace")
    return f"process {process} ({printable(words)})" if words else f"process {process}"
