"""`qcore kv`: reads, sets, deletes and watches keys of a cluster that runs the machine `kv`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from qcore.cli.exits import ExitCode
from qcore.cli.kv import lease
from qcore.cli.kv.key_rows import (
    COLUMNS,
    REVISION_COLUMNS,
    change_body,
    change_line,
    change_row,
    counted,
    kv_body,
    kv_row,
    value_text,
)
from qcore.cli.kv.kv_connection import with_keys
from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
)
from qcore.cli.output import as_json, csv_header, csv_rows, show
from qcore.cli.stdin import argument_or_stdin
from qcore.display import escape_unprintable
from qcore.errors import ConfigError
from qcore.files import read_regular

if TYPE_CHECKING:
    from qcore.client import Client
    from qcore.kv import Deleted, KeyVersion, KeyWatch, MachineStatus, Page

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Read, set, delete and watch keys of a cluster that runs the machine `kv`.",
)
app.add_typer(lease.app, name="lease")

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="The key.")]
PrefixOption = Annotated[
    bool, typer.Option("--prefix", help="All keys that begin with KEY, which may be empty.")
]
EndOption = Annotated[
    str | None,
    typer.Option("--end", metavar="KEY", help="All keys from KEY on and before this one."),
]
LeaseOption = Annotated[
    int,
    typer.Option(
        "--lease", min=0, metavar="ID", help="The lease that deletes the key when it ends."
    ),
]
PreviousOption = Annotated[
    bool, typer.Option("--previous", help="Show the keys as they were before.")
]

#: The largest file that is read: more than the largest value.
_MAX_VALUE_BYTES: Final = 16 << 20
#: `@FILE` gives a value the content of a file.
_FILE: Final = "@"


@app.command()
def get(
    key: KeyArgument,
    prefix: PrefixOption = False,
    end: EndOption = None,
    revision: Annotated[
        int | None, typer.Option("--revision", min=1, help="As of this revision. Default: now.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="At most so many keys; 0 for one page.")
    ] = 0,
    after: Annotated[
        str | None,
        typer.Option("--after-key", metavar="KEY", help="Only keys behind this one."),
    ] = None,
    keys_only: Annotated[bool, typer.Option("--keys-only", help="Leave out the values.")] = False,
    value_only: Annotated[
        bool, typer.Option("--value-only", help="Print the values, one a line, and nothing else.")
    ] = False,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Show a key, or the keys of a range, with values and revisions. Without a key the exit code is 4."""
    from qcore.kv import KeyValue, Range

    named = _range(key, prefix, end)
    request = Range(*named, after, limit, revision, keys_only=keys_only)

    async def work(client: Client) -> Page:
        return await KeyValue(client).range(request)

    page = with_keys(endpoints, timeout, work)
    if value_only:
        for kv in page.kvs:
            print(value_text(kv.value))
    else:
        body = {
            "kvs": [kv_body(kv) for kv in page.kvs],
            "more": page.more,
            "count": page.count,
            "revision": page.revision,
        }
        show(output, body, rows=[kv_row(kv) for kv in page.kvs], columns=COLUMNS)
    if page.after is not None:
        options = f"--after-key {value_text(page.after)!r} --revision {revision or page.revision}"
        print(f"there are other keys; to continue: {options}", file=sys.stderr)
    if not page.kvs and not (prefix or end is not None):
        print(f"there is no key {key!r}", file=sys.stderr)
        raise typer.Exit(ExitCode.REJECTED)


@app.command()
def put(
    key: KeyArgument,
    value: Annotated[
        str,
        typer.Argument(
            metavar="VALUE",
            help="The value; @FILE for the content of a file, - for standard input.",
        ),
    ],
    lease: LeaseOption = 0,
    previous: PreviousOption = False,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Set a key. Prints the revision of the write."""
    from qcore.kv import Put
    from qcore.kv.key_values import previous_of, read_result

    request = json.dumps(Put(key, _value(value), lease, previous).to_json())

    async def work(client: Client) -> tuple[int, KeyVersion | None]:
        done = read_result(await client.execute(request))
        return int(done["revision"]), previous_of(done)

    revision, before = with_keys(endpoints, timeout, work)
    body: dict[str, object] = {"revision": revision}
    if previous:
        body["previous"] = None if before is None else kv_body(before)
    show(output, body, text=_with_previous(f"revision {revision}", [before] if before else []))


@app.command("del")
def delete(
    key: KeyArgument,
    prefix: PrefixOption = False,
    end: EndOption = None,
    previous: PreviousOption = False,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Delete a key, or the keys of a range. Prints how many it deleted."""
    from qcore.kv import KeyValue

    named = _range(key, prefix, end)

    async def work(client: Client) -> Deleted:
        first, last, all_with = named
        return await KeyValue(client).delete(first, end=last, prefix=all_with, previous=previous)

    done = with_keys(endpoints, timeout, work)
    body: dict[str, object] = {"deleted": done.count, "revision": done.revision}
    if previous:
        body["previous"] = [kv_body(kv) for kv in done.previous]
    show(output, body, text=_with_previous(counted(done.count), done.previous))


@app.command()
def txn(
    transaction: Annotated[
        str,
        typer.Argument(
            metavar="JSON",
            help='An object with `if`, `then` and `else`, such as {"if": [{"key": "a", "exists": false}], "then": '
            '[{"op": "put", "key": "a", "value": "1"}]}; - to read it from standard input.',
        ),
    ],
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.json,
) -> None:
    """Run a transaction: if all comparisons hold, the operations of `then`, else those of `else`.

    The reference of the key-value machine lists the fields.
    """
    from qcore.kv.key_values import read_result

    text = argument_or_stdin(transaction, "transaction")
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the transaction is not JSON: {error}") from None
    if not isinstance(given, dict):
        raise ConfigError("the transaction must be a JSON object with `if`, `then` and `else`")
    request = json.dumps({**given, "op": "txn"})

    async def work(client: Client) -> dict[str, object]:
        return dict(read_result(await client.execute(request)))

    result = with_keys(endpoints, timeout, work)
    del result["ok"]
    show(output, result, indent=2)


@app.command()
def watch(
    key: KeyArgument,
    prefix: PrefixOption = False,
    end: EndOption = None,
    from_revision: Annotated[
        int | None,
        typer.Option(
            "--from-revision", min=1, help="Begin with the changes of this revision. Default: now."
        ),
    ] = None,
    previous: PreviousOption = False,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="End after so many changes.")
    ] = None,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Print the changes of a key, or of a range, until Ctrl-C. With -o json, each line is an object.

    The watch survives lost connections. --timeout is how long it may be without one.
    """
    from qcore.kv import KeyValue

    named = _range(key, prefix, end)

    async def work(client: Client) -> None:
        first, last, all_with = named
        watched = KeyValue(client).watch(
            first,
            end=last,
            prefix=all_with,
            from_revision=from_revision,
            previous=previous,
            timeout_s=timeout,
        )
        await _print_changes(watched, output, count)

    with_keys(endpoints, timeout, work, ask_first=True)


async def _print_changes(watched: KeyWatch, output: OutputFormat, count: int | None) -> None:
    revision: int | None = None
    printed = 0
    async with watched:
        if output is OutputFormat.csv:
            csv_header(REVISION_COLUMNS)
        sys.stdout.flush()
        try:
            async for change in watched:
                revision = change.revision
                if output is OutputFormat.json:
                    print(as_json(change_body(change)))
                elif output is OutputFormat.csv:
                    csv_rows(REVISION_COLUMNS, [change_row(change)])
                else:
                    print(escape_unprintable(change_line(change)))
                sys.stdout.flush()
                printed += 1
                if printed == count:
                    return
        finally:
            if revision is not None:
                print(f"to continue: --from-revision {revision + 1}", file=sys.stderr)


@app.command()
def compact(
    revision: Annotated[
        int, typer.Argument(metavar="REVISION", min=1, help="The oldest that remains readable.")
    ],
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Forget the history before a revision: no read and no watch can begin there any more."""
    from qcore.kv import KeyValue

    async def work(client: Client) -> None:
        await KeyValue(client).compact(revision)

    with_keys(endpoints, timeout, work)
    text = f"the oldest revision that can be read is {revision}"
    show(output, {"compacted": revision}, text=text)


@app.command()
def status(
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Show revisions, the number of keys and leases, and how much history is kept."""
    from dataclasses import asdict

    from qcore.kv import KeyValue

    async def work(client: Client) -> MachineStatus:
        return await KeyValue(client).status()

    show(output, asdict(with_keys(endpoints, timeout, work)))


def _range(key: str, prefix: bool, end: str | None) -> tuple[str | None, str | None, str | None]:
    """The arguments `key`, `end` and `prefix` of `KeyValue`."""
    if prefix and end is not None:
        raise ConfigError("give --prefix or --end, not both")
    return (None, None, key) if prefix else (key, end, None)


def _value(argument: str) -> bytes:
    """The value that an argument names."""
    if not argument.startswith(_FILE):
        return argument_or_stdin(argument, "value").encode()
    try:
        return read_regular(Path(argument[1:]), _MAX_VALUE_BYTES)
    except OSError as error:
        raise ConfigError(f"VALUE: {argument[1:]} cannot be read: {error.strerror}") from None


def _with_previous(text: str, previous: list[KeyVersion] | tuple[KeyVersion, ...]) -> str:
    return "\n".join(
        [text, *(f"before: {value_text(kv.key)}  {value_text(kv.value)}" for kv in previous)]
    )
