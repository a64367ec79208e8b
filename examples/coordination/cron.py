"""A distributed cron: start it on several computers, and each job runs on one of them in each time slot.

    qcore node start --id 1 --ws-addr 127.0.0.1:8080 --data-dir data/cron --machine kv &
    qcore cluster init --endpoints 127.0.0.1:8080
    python examples/coordination/cron.py ada &
    python examples/coordination/cron.py bob &
    python examples/coordination/cron.py eve &

Kill one while it runs a job. `report` has `retry=True`, so another process runs it again for the same slot, once the
lease has ended. `reminder` has `retry=False`, so it never runs twice, and its slot may stay without a result.
"""

# ruff: noqa: T201 - an example prints for the person who runs it

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from datetime import UTC, datetime
from functools import partial

from qcore import Client, QcoreError
from qcore.kv import Condition, KeyValue, Put
from qcore.recipes import RunOnce, SlotRun


class Cron:
    """The jobs of one process.

    Args:
        kv: the keys of the cluster.
        name: names the process.
        every_s: how long a slot is, seconds.
        work_s: how long a job works, seconds.
        ttl_s: after this time, another process runs the job of one that was killed, seconds.
    """

    def __init__(
        self, kv: KeyValue, name: str, every_s: float, work_s: float, ttl_s: float
    ) -> None:
        self.kv = kv
        self.name = name
        self.every_s = every_s
        self.work_s = work_s
        self.ttl_s = ttl_s

    async def run(self) -> None:
        """Run all jobs, without end."""
        report = RunOnce(self.kv, "cron/report", ttl_s=self.ttl_s, retry=True)
        reminder = RunOnce(self.kv, "cron/reminder", ttl_s=self.ttl_s, retry=False)
        failed = self.print_failure
        print(f"{self.name} waits for its slots")
        await asyncio.gather(
            # In place of every_s, `schedule` takes a function, such as one that reads crontab lines.
            report.run(self.report, every_s=self.every_s, on_error=partial(failed, "report")),
            reminder.run(self.remind, every_s=self.every_s, on_error=partial(failed, "reminder")),
        )

    async def report(self, run: SlotRun) -> str:
        """Write a report. It may run again if its process ends."""
        self.print_run("report", run)
        await asyncio.sleep(self.work_s)
        written = await self.write_report(run, f"the report of {run.time_s:.0f}, by {self.name}")
        state = "written" if written else "not written, because a later run has written"
        self.print_run("report", run, state)
        return state  # is kept in the record of the slot; see RunOnce.records

    async def remind(self, run: SlotRun) -> None:
        """Send a mail, for example, which must not arrive twice."""
        self.print_run("reminder", run)

    async def write_report(self, run: SlotRun, text: str) -> bool:
        """Write unless a later run has written. Any store that a job writes to should compare tokens like this."""
        key = "cron-example/report"
        before = await self.kv.get(key)
        if before is not None and json.loads(before.value)["token"] > run.token:
            return False
        unchanged = Condition.number(
            "mod_revision", key, "=", 0 if before is None else before.mod_revision
        )
        content = json.dumps({"token": run.token, "text": text})
        return (await self.kv.txn([unchanged], [Put(key, content)])).succeeded

    def print_run(self, job: str, run: SlotRun, state: str = "begins") -> None:
        """Print what happens to a run."""
        slot = datetime.fromtimestamp(run.time_s, UTC).isoformat()
        print(f"{self.name}: {job} of {slot}, attempt {run.attempt}, token {run.token}: {state}")

    def print_failure(self, job: str, run: SlotRun, error: Exception) -> None:
        """A job has failed, or its lease was lost. The next slots go on."""
        self.print_run(job, run, f"failed: {error}")


async def main(options: argparse.Namespace) -> None:
    """Run the jobs until Ctrl-C or SIGTERM."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with Client(options.endpoints.split(","), timeout_s=5) as client:
        kv = KeyValue(client)
        await kv.status()  # without a cluster, this fails, while a schedule waits for one
        await Cron(kv, options.name, options.every, options.work, options.ttl).run()


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="One process of a distributed cron.")
    parser.add_argument("name", help="of this process")
    parser.add_argument("--endpoints", default="127.0.0.1:8080", help="host:port of some nodes")
    parser.add_argument("--every", type=float, default=10, help="the length of a slot, seconds")
    parser.add_argument("--work", type=float, default=2, help="how long a report takes, seconds")
    parser.add_argument("--ttl", type=float, default=10, help="of the leases, seconds")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        asyncio.run(main(read_options()))
    except asyncio.CancelledError:
        pass  # Ctrl-C or SIGTERM: another process may run the job now
    except QcoreError as error:
        sys.exit(f"error: {error}")
