"""A web service of three workers with replicated state; the worker that leads also runs a background job.

Each worker is one process with an embedded node. Start all three, with the same list of nodes:

    pip install 'qcore-raft[web]'
    NODES=1=127.0.0.1:8311,2=127.0.0.1:8312,3=127.0.0.1:8313
    python examples/web/service.py 1 --http 127.0.0.1:8301 --nodes $NODES --data data/web/1 &
    python examples/web/service.py 2 --http 127.0.0.1:8302 --nodes $NODES --data data/web/2 &
    python examples/web/service.py 3 --http 127.0.0.1:8303 --nodes $NODES --data data/web/3 &
    curl -X PUT -d 5 http://127.0.0.1:8301/keys/visits
    curl http://127.0.0.1:8302/keys/visits
    curl http://127.0.0.1:8303/leader
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
from pathlib import Path

from qcore import Node, NodeConfig, QcoreError
from qcore.node import Address

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route
except ImportError as missing:
    sys.exit(f"{missing.name} is not installed: pip install 'qcore-raft[web]'")

log = logging.getLogger("web_service")


async def execute(node: Node, *, read: bool = False, **command: object) -> dict[str, object]:
    """Send a command or a query to the register machine (`qcore.machines.RegisterMachine`)."""
    text = await node.client.execute(json.dumps(command), read=read)
    result: dict[str, object] = json.loads(text)
    return result


async def run_job(node: Node) -> None:
    """Runs while this worker leads. If it does not know yet that another one leads, its `cas` fails."""
    term = node.term
    while True:
        try:
            seen = (await execute(node, read=True, op="get", key="job"))["value"]
            last = seen if isinstance(seen, dict) else {"term": 0, "runs": 0}
            if last["term"] > term:
                return
            new = {"worker": node.node_id, "term": term, "runs": last["runs"] + 1}
            await execute(node, op="cas", key="job", old=seen, new=new)
        except QcoreError as error:
            log.warning("the job runs later: %s", error)
        await asyncio.sleep(0.5)


async def look_after(node: Node, members: list[tuple[int, str]]) -> None:
    """Initialise the cluster, and end this worker if its node fails."""
    initialised = False
    while not initialised:
        try:
            # Every worker sends this at each start. The token lets it take effect once.
            await node.client.init(members, token="web-service-1")
            initialised = True
        except QcoreError as error:
            log.warning("the cluster is not initialised yet: %s", error)
            await asyncio.sleep(1)
    if await node.wait_failed() is not None:
        signal.raise_signal(signal.SIGTERM)


async def keys(request: Request) -> JSONResponse:
    """GET and PUT of a register."""
    node, key = request.app.state.node, request.path_params["key"]
    try:
        if request.method == "GET":
            return JSONResponse(await execute(node, read=True, op="get", key=key))
        value = json.loads(await request.body())
        return JSONResponse(await execute(node, op="set", key=key, value=value))
    except ValueError as error:
        return JSONResponse({"error": f"the body is not JSON: {error}"}, 400)
    except QcoreError as error:  # after OutcomeUnknown, a write may still take effect
        return JSONResponse({"error": str(error)}, 503)


async def leader(request: Request) -> JSONResponse:
    """What this worker knows of the leadership, without asking the others."""
    names = ("node_id", "leader", "is_leader", "term", "has_quorum")
    return JSONResponse({name: getattr(request.app.state.node, name) for name in names})


def make_app(config: NodeConfig, members: list[tuple[int, str]]) -> Starlette:
    """The application. Its lifespan is that of the node."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with Node(config, on_leader=run_job) as node:
            app.state.node = node
            task = asyncio.create_task(look_after(node, members))
            yield
            task.cancel()

    routes = [Route("/keys/{key}", keys, methods=["GET", "PUT"]), Route("/leader", leader)]
    return Starlette(routes=routes, lifespan=lifespan)


def main() -> None:
    """Start one worker."""
    parser = argparse.ArgumentParser(description="One worker of the web service.")
    parser.add_argument("worker", type=int, help="its id in --nodes")
    parser.add_argument("--http", required=True, help="host:port for HTTP")
    parser.add_argument("--nodes", required=True, help="ID=HOST:PORT of all nodes, with commas")
    parser.add_argument("--data", required=True, type=Path, help="its data directory")
    options = parser.parse_args()
    named = [each.partition("=") for each in options.nodes.split(",")]
    members = [(int(number), address) for number, _, address in named]
    try:
        http = Address.parse(options.http, "--http")
        address = Address.parse(dict(members)[options.worker], "--nodes")
        config = NodeConfig.of(options.worker, options.data, ws_addr=address, machine="register")
    except QcoreError as error:
        sys.exit(f"error: {error}")
    logging.basicConfig(level=logging.INFO)
    # uvicorn stops on SIGTERM, and then raises it again for this handler.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    uvicorn.run(make_app(config, members), host=http.host, port=http.port)


if __name__ == "__main__":
    main()
