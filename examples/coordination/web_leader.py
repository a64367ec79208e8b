"""A web service of several workers, of which one leads and does periodic work.

    pip install 'qcore-raft[web]'
    qcore node start --id 1 --ws-addr 127.0.0.1:8080 --data-dir data/leader --machine kv &
    qcore cluster init --endpoints 127.0.0.1:8080
    python examples/coordination/web_leader.py ada --http 127.0.0.1:8301 &
    python examples/coordination/web_leader.py bob --http 127.0.0.1:8302 &
    python examples/coordination/web_leader.py eve --http 127.0.0.1:8303 &
    curl http://127.0.0.1:8302/

Ctrl-C or SIGTERM resigns, and the next worker leads immediately. After a kill -9 it leads once the lease has ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from qcore import Client, QcoreError
from qcore.kv import Condition, KeyValue, Put
from qcore.node import Address
from qcore.recipes import Held, LeaderElection

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route
except ImportError as missing:
    sys.exit(f"{missing.name} is not installed: pip install 'qcore-raft[web]'")

log = logging.getLogger("web_leader")

WORK_KEY = "web-leader/work"
WORK_EVERY_S = 0.5


class Worker:
    """One worker of the service.

    Args:
        kv: the keys of the cluster.
        name: names the worker.
        ttl_s: how long no worker leads after the leader was killed, seconds.
    """

    def __init__(self, kv: KeyValue, name: str, ttl_s: float) -> None:
        self.kv = kv
        self.name = name
        self.leader: str | None = None
        self.election = LeaderElection(kv, "web-leader", candidate=name, ttl_s=ttl_s)

    async def run(self) -> None:
        """Campaign, lead, and learn who leads, until the task is cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.election.run(self.lead))
                group.create_task(self.observe())
        except* QcoreError as errors:  # such as missing permissions; a broken connection is none
            log.error("this worker ends: %s", errors.exceptions[0])
            signal.raise_signal(signal.SIGTERM)

    async def lead(self, leadership: Held) -> None:
        """Runs while this worker leads, and is cancelled when it does not any more."""
        log.info("%s leads with token %d", self.name, leadership.token)
        while True:
            try:
                await self.work(leadership.token)
            except QcoreError as error:
                log.warning("the work is done later: %s", error)
            await asyncio.sleep(WORK_EVERY_S)

    async def work(self, token: int) -> None:
        """Do the periodic work once. Here it counts in the cluster; it could write to any store that compares tokens.

        This worker may be stopped right before it writes, and another one may lead meanwhile. So the write must not
        take effect if a leader with a larger token has written.
        """
        seen = await self.kv.get(WORK_KEY)
        last = {"token": 0, "runs": 0} if seen is None else json.loads(seen.value)
        if last["token"] > token:
            return
        new = {"worker": self.name, "token": token, "runs": last["runs"] + 1}
        revision = 0 if seen is None else seen.mod_revision
        is_as_seen = Condition.number("mod_revision", WORK_KEY, "=", revision)
        await self.kv.txn([is_as_seen], [Put(WORK_KEY, json.dumps(new))])

    async def observe(self) -> None:
        """Learn who leads. If this worker is cut off, it may be a former leader."""
        async for leader in self.election.observe():
            self.leader = None if leader is None else leader.label


async def index(request: Request) -> JSONResponse:
    """What this worker knows, without a request to the cluster."""
    worker: Worker = request.app.state.worker
    return JSONResponse({"worker": worker.name, "leader": worker.leader})


def make_app(client: Client, worker: Worker) -> Starlette:
    """The application. Its lifespan is that of the worker."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.worker = worker
        async with client:
            task = asyncio.create_task(worker.run())
            yield
            task.cancel()
            await asyncio.wait([task])  # it resigns

    return Starlette(routes=[Route("/", index)], lifespan=lifespan)


def main() -> None:
    """Start one worker."""
    parser = argparse.ArgumentParser(description="One worker of the web service.")
    parser.add_argument("name", help="of this worker")
    parser.add_argument("--endpoints", default="127.0.0.1:8080", help="host:port of some nodes")
    parser.add_argument("--http", default="127.0.0.1:8301", help="host:port for HTTP")
    parser.add_argument("--ttl", type=float, default=10, help="of the lease, seconds")
    options = parser.parse_args()
    try:
        http = Address.parse(options.http, "--http")
        client = Client(options.endpoints.split(","), timeout_s=5)
        kv = KeyValue(client)
        worker = Worker(kv, options.name, options.ttl)
        asyncio.run(kv.status())  # without a cluster, this fails, while an election waits for one
    except QcoreError as error:
        sys.exit(f"error: {error}")
    logging.basicConfig(level=logging.INFO)
    # uvicorn stops on Ctrl-C and SIGTERM, and then raises them again for these handlers.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: sys.exit(0))
    uvicorn.run(make_app(client, worker), host=http.host, port=http.port)


if __name__ == "__main__":
    main()
