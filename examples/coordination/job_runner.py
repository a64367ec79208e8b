"""Runs the commands of a queue on many workers: each at least once, with retries and dead letters.

    qcore node start --id 1 --ws-addr 127.0.0.1:8080 --data-dir data/jobs --machine kv &
    qcore cluster init --endpoints 127.0.0.1:8080
    python examples/coordination/job_runner.py work ada &
    python examples/coordination/job_runner.py work bob &
    python examples/coordination/job_runner.py put "echo hello" "sleep 5; date" "ls /missing"
    python examples/coordination/job_runner.py list
    python examples/coordination/job_runner.py retry

A command that fails runs again, three times in all. Then it is a dead letter, which `list` shows and `retry` puts back.
If a worker is killed, another one runs its job again after the time of the lease. The command of the killed worker may
still run then. So let commands do no harm if they run twice, or let what they write to compare `JOB_TOKEN`: each run of
a job has a larger one than the runs before it. The workers run whatever the queue holds: let only programs that you
trust write to the cluster.
"""

# ruff: noqa: T201 - an example prints for the person who runs it

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys

from qcore import Client, QcoreError
from qcore.kv import KeyValue
from qcore.recipes import LeaseLost, Queue, QueueItem

MAX_ATTEMPTS = 3  # the same number in all programs that use the queue


class JobFailed(Exception):
    """The command could not run, or has failed."""


async def run_command(item: QueueItem) -> None:
    """Run the command of a job, and kill it if this task is cancelled."""
    environment = {**os.environ, "JOB_NUMBER": str(item.number), "JOB_TOKEN": str(item.token)}
    try:
        process = await asyncio.create_subprocess_shell(
            item.text, env=environment, start_new_session=True
        )
    except (OSError, ValueError) as error:  # such as a text that is not UTF-8
        raise JobFailed(f"cannot run: {error}") from error
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    if code:
        raise JobFailed(f"exit code {code}")


async def work(queue: Queue, name: str) -> None:
    """Run one job after another."""
    print(f"{name} waits for jobs")
    while True:
        try:
            async with queue.take() as item:
                print(f"{name}: job {item.number}, attempt {item.attempt}, token {item.token}")
                try:
                    await run_command(item)
                except asyncio.CancelledError:
                    # This worker ends. Without this line, the attempt would count as failed.
                    await item.give_back()
                    raise
            print(f"{name}: job {item.number} is done")
        except JobFailed as error:
            print(f"{name}: job {item.number} has failed: {error}")
        except LeaseLost as error:
            print(f"{name}: another worker may have the job now: {error}")


async def list_jobs(queue: Queue) -> None:
    """Print how many jobs there are, and the dead letters."""
    size = await queue.size()
    print(f"{size.waiting} waiting, {size.claimed} claimed, {size.dead} dead")
    async for letter in queue.dead_letters():
        command = letter.data.decode(errors="replace")
        print(f"job {letter.number} died after {letter.attempts} attempts: {command}")
        print(f"  {letter.reason}")


async def main(options: argparse.Namespace) -> None:
    """Do what the command line says."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with Client(options.endpoints.split(","), timeout_s=5) as client:
        kv = KeyValue(client)
        await kv.status()  # without a cluster, this fails, while a queue waits for one
        async with Queue(kv, "jobs", ttl_s=options.ttl, max_attempts=MAX_ATTEMPTS) as queue:
            if options.action == "work":
                await work(queue, options.name)
            elif options.action == "put":
                numbers = await queue.put_many(options.command)
                print("put", *(f"job {number}" for number in numbers))
            elif options.action == "retry":
                async for letter in queue.dead_letters():
                    await queue.retry_dead(letter.number)
                    print(f"job {letter.number} is in the queue again")
            else:
                await list_jobs(queue)


def read_options() -> argparse.Namespace:
    """The command line."""
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    shared.add_argument("--endpoints", help="host:port of some nodes")
    shared.add_argument("--ttl", type=float, help="of the lease, seconds")
    parser = argparse.ArgumentParser(
        description="A queue of jobs, and workers that run them.", parents=[shared]
    )
    actions = parser.add_subparsers(dest="action", required=True)
    working = actions.add_parser("work", help="run jobs", parents=[shared])
    working.add_argument("name", help="of this worker")
    putting = actions.add_parser("put", help="add jobs", parents=[shared])
    putting.add_argument("command", nargs="+")
    actions.add_parser("list", help="show how many jobs there are", parents=[shared])
    actions.add_parser("retry", help="put all dead letters back", parents=[shared])
    return parser.parse_args(namespace=argparse.Namespace(endpoints="127.0.0.1:8080", ttl=10))


if __name__ == "__main__":
    try:
        asyncio.run(main(read_options()))
    except asyncio.CancelledError:
        pass  # Ctrl-C or SIGTERM: the queue is closed, and other workers get the job
    except QcoreError as error:
        sys.exit(f"error: {error}")
