"""`qcore log`: shows what is in a node's log and snapshot. It reads the files only, also those of a running node."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from qcore.cli.exits import ExitCode
from qcore.cli.log.rows import LogPrinter, time_text
from qcore.cli.options import DataDirOption, OutputFormat, OutputOption
from qcore.cli.output import show
from qcore.core.log.restore import RECOVERY_ADVICE
from qcore.display import escape_unprintable
from qcore.errors import ConfigError, LogCorrupt

if TYPE_CHECKING:
    from qcore.cli.log.follow import LogFollower
    from qcore.storage.live.log_reader import LogReader, StoredLog

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Show what is in a node's log and snapshot, also of a running node.",
)

#: How often `--follow` looks for new entries.
_POLL_S: Final = 0.2
_END: Final = 2**62

FullOption = Annotated[
    bool,
    typer.Option("--full", envvar="QCORE_FULL", help="Do not shorten the texts in a table."),
]


@app.command()
def dump(
    data_dir: DataDirOption,
    first: Annotated[
        int, typer.Option("--first", min=1, metavar="INDEX", help="The first entry to show.")
    ] = 1,
    last: Annotated[
        int | None,
        typer.Option(
            "--last", min=1, metavar="INDEX", help="The last entry to show. Default: the newest."
        ),
    ] = None,
    snapshot: Annotated[
        bool,
        typer.Option(
            "--snapshot",
            help="Show what the snapshot holds and not the log. With --full, print the snapshot's whole text.",
        ),
    ] = False,
    full: FullOption = False,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Show the log's entries, oldest first, or the snapshot.

    The newest entries may not be committed: the commit index that the node has stored may be behind.
    Entries before the first index are only in the snapshot.

    With -o json, the first line is an object about the node, and each other line is an entry.

    Exit code 5: something is damaged. The sound entries are shown.
    """
    from qcore.cli.log.follow import LogFollower
    from qcore.storage.live.log_reader import LogReader

    if last is not None and last < first:
        raise ConfigError(f"--last {last} is before --first {first}: give a later entry")
    with _quiet_interrupt():
        reader = LogReader(data_dir)
        log = reader.describe()
        if snapshot:
            _show_snapshot(reader, log, data_dir, full=full, output=output)
            return
        printer = LogPrinter(output, full=full)
        printer.header(log)
        end = log.state.last_index if last is None else min(last, log.state.last_index)
        follower = LogFollower(reader, max(first, log.state.first_index))
        _print_new(follower, printer, end)
    _report(follower)


@app.command()
def tail(
    data_dir: DataDirOption,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="How many of the newest entries to show.")
    ] = 10,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="Show new entries as the node writes them. Ctrl-C ends it."
        ),
    ] = False,
    full: FullOption = False,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Show the newest entries, and with --follow those to come.

    The newest entries may not be committed. If the node replaces entries, a line of kind `replaced`
    says from which one on. A restart of the node and the compaction of its log do not end --follow.

    With -o json, the first line is an object about the node, and each other line is an entry.

    Exit code 5: something is damaged, or the directory was removed.
    """
    from qcore.cli.log.follow import LogFollower
    from qcore.storage.live.log_reader import LogReader

    with _quiet_interrupt():
        reader = LogReader(data_dir)
        log = reader.describe()
        printer = LogPrinter(output, full=full)
        printer.header(log)
        first = max(log.state.first_index, log.state.last_index - lines + 1)
        follower = LogFollower(reader, first)
        _print_new(follower, printer, _END if follow else log.state.last_index)
        while follow:
            time.sleep(_POLL_S)
            _print_new(follower, printer, _END)
    _report(follower)


@contextmanager
def _quiet_interrupt() -> Iterator[None]:
    """End with the exit code for interruption at Ctrl-C and SIGTERM."""

    def on_signal(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _print_new(follower: LogFollower, printer: LogPrinter, last: int) -> None:
    from qcore.cli.log.follow import Note

    for item in follower.new_items(last):
        if isinstance(item, Note):
            printer.note(item.index, item.kind, item.what)
        else:
            printer.entry(item)


def _report(follower: LogFollower) -> None:
    """Fail if an entry was damaged."""
    if follower.damaged:
        indexes = ", ".join(map(str, follower.damaged[:5]))
        more = f" and {len(follower.damaged) - 5} more" if len(follower.damaged) > 5 else ""
        raise LogCorrupt(f"the log is damaged at entry {indexes}{more}. {RECOVERY_ADVICE}")


def _show_snapshot(
    reader: LogReader, log: StoredLog, data_dir: Path, *, full: bool, output: OutputFormat
) -> None:
    from qcore.cli.log.entry_text import describe_membership, describe_version
    from qcore.recovery.snapshot_summary import summarise, without_hashes

    stored = log.snapshot
    if stored is None:
        raise ConfigError(
            f"{data_dir} has no snapshot yet: the whole log is there (`qcore log dump` without --snapshot)"
        )
    try:
        if full:
            escape = sys.stdout.isatty()
            for part in without_hashes(reader.snapshot_parts(stored)):
                # A terminal obeys control codes; a file gets the text as it is.
                sys.stdout.write(
                    "\n".join(map(escape_unprintable, part.split("\n"))) if escape else part
                )
            sys.stdout.flush()
            return
        found = summarise(reader.snapshot_parts(stored))
    except ValueError as error:
        raise LogCorrupt(
            f"{data_dir}: the snapshot is unreadable: {error}. {RECOVERY_ADVICE}"
        ) from error
    meta = stored.meta
    facts: dict[str, int | str | None] = {
        "index": meta.last_included_index,
        "term": meta.last_included_term,
        "time": time_text(meta.last_included_time_us),
        "version": describe_version(meta.version),
        "configuration": describe_membership(meta.membership),
        "cluster_id": meta.membership.cluster_id,
        "bytes": stored.size,
        "sessions": found.sessions,
        "replies": found.replies,
        "session_bytes": found.session_bytes,
        "users": found.users,
        "machine_bytes": found.machine_bytes,
    }
    lines = [f"{name.replace('_', ' '):<14} {value}" for name, value in facts.items()]
    show(output, facts, text="\n".join(lines))
