"""Feature flags: a command changes a flag, and all running processes learn of it.

    qcore node start --id 1 --ws-addr 127.0.0.1:8080 --data-dir data/flags --machine kv &
    qcore cluster init --endpoints 127.0.0.1:8080
    for i in 1 2 3 4 5 6 7 8 9 10; do
        python examples/coordination/feature_flags.py run app-$i &
    done
    python examples/coordination/feature_flags.py set new_page=true rollout_percent=25
    python examples/coordination/feature_flags.py set rollout_percent=101  # an error, and nothing changes

A process that cannot reach the cluster keeps the flags that it has. `ConfigWatch.age_s` says how old they may be.
"""

# ruff: noqa: T201 - an example prints for the person who runs it

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from pydantic import BaseModel, Field, ValidationError

from qcore import Client, QcoreError
from qcore.kv import KeyValue
from qcore.recipes import ConfigWatch


class Flags(BaseModel):
    """The flags. Each has a default, so programs of different versions can read each other's flags."""

    new_page: bool = False
    rollout_percent: int = Field(default=0, ge=0, le=100)
    banner: str = ""


async def run(config: ConfigWatch[Flags], name: str) -> None:
    """A program with flags. It reads `config.value` wherever it needs them; that costs no request."""
    async with config:
        changes = config.changes()
        print(f"{name} begins with {config.value}")
        async for change in changes:
            if change.invalid is not None:
                print(f"{name} keeps its flags, because the new ones are wrong: {change.invalid}")
            else:
                print(f"{name} has {change.value} as of revision {change.revision}")


async def set_flags(config: ConfigWatch[Flags], assignments: list[str]) -> None:
    """Change some flags, such as `new_page=true`. Others that are changed at the same time are not lost."""
    given = dict(each.split("=", 1) for each in assignments if "=" in each)
    unknown = given.keys() - Flags.model_fields.keys()
    if unknown or len(given) < len(assignments):
        sys.exit(f"error: write FLAG=VALUE; the flags are {', '.join(Flags.model_fields)}")
    try:
        new = await config.update(lambda old: Flags.model_validate({**old.model_dump(), **given}))
    except ValidationError as error:
        sys.exit(f"error: nothing was changed: {error}")
    print(f"the flags are {new}")


async def main(options: argparse.Namespace) -> None:
    """Do what the command line says."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with Client(options.endpoints.split(","), timeout_s=5) as client:
        kv = KeyValue(client)
        await kv.status()  # without a cluster, this fails, while a watch waits for one
        config = ConfigWatch(kv, "config/flags", Flags, default=Flags())
        if options.action == "run":
            await run(config, options.name)
        else:
            await set_flags(config, options.assignments)


def read_options() -> argparse.Namespace:
    """The command line."""
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    shared.add_argument("--endpoints", help="host:port of some nodes")
    parser = argparse.ArgumentParser(
        description="Feature flags for many processes.", parents=[shared]
    )
    actions = parser.add_subparsers(dest="action", required=True)
    running = actions.add_parser("run", help="print changes", parents=[shared])
    running.add_argument("name", help="of this process")
    setting = actions.add_parser("set", help="change flags", parents=[shared])
    setting.add_argument("assignments", nargs="+", metavar="FLAG=VALUE")
    return parser.parse_args(namespace=argparse.Namespace(endpoints="127.0.0.1:8080"))


if __name__ == "__main__":
    try:
        asyncio.run(main(read_options()))
    except asyncio.CancelledError:
        pass  # Ctrl-C or SIGTERM
    except QcoreError as error:
        sys.exit(f"error: {error}")
