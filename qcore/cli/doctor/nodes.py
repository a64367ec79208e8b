"""What running nodes say: whether they answer, their versions, and how far their clocks are apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qcore.cli.cluster.health_checks import clock_warnings
from qcore.cli.cluster.node_metrics import MetricsOrError, best_informed, metrics_of_all, successful
from qcore.cli.doctor.finding import Finding, ok, problem, warning
from qcore.display import located
from qcore.errors import QcoreError, TransportError
from qcore.release import __version__


async def ask(endpoints: list[str], timeout_s: float) -> tuple[list[Finding], QcoreError | None]:
    """The findings about the nodes at the endpoints and the other members; and the error if no node answered."""
    responses = await metrics_of_all(endpoints, timeout_s)
    metrics = successful(responses)
    if not metrics:
        return [], next(each for each in responses if isinstance(each, QcoreError))
    members = {
        node["addr"]: int(node_id)
        for node_id, node in best_informed(metrics)["membership_config"]["membership"][
            "nodes"
        ].items()
    }
    known = list(dict.fromkeys([*endpoints, *members]))
    responses = await metrics_of_all(known, timeout_s)
    return list(_findings(known, responses, members)), None


def _findings(
    endpoints: Sequence[str], responses: list[MetricsOrError], members: dict[str, int]
) -> Iterator[Finding]:
    versions: dict[str, list[str]] = {}
    for endpoint, response in zip(endpoints, responses, strict=True):
        if isinstance(response, TransportError):
            yield problem("node", str(response), "start this node, or repair the connection to it")
        elif isinstance(response, QcoreError):
            yield problem("node", located(endpoint, str(response)), "see the log of this node")
        else:
            version = str(response["qcore"].get("version", "0.1.0"))
            versions.setdefault(version, []).append(endpoint)
    for version, names in versions.items():
        text = f"{', '.join(names)}: qcore {version}"
        if len(versions) > 1:
            yield warning("node versions", text, "finish the rolling upgrade")
        elif version != __version__:
            yield warning("node versions", f"{text}; this is {__version__}", "use one version")
        else:
            yield ok("node versions", text)
    yield from _clocks(members, responses)


def _clocks(members: dict[str, int], responses: list[MetricsOrError]) -> Iterator[Finding]:
    far = clock_warnings(members, responses)
    for text in far:
        yield warning("clocks of nodes", text, "synchronise the wall clocks of all nodes")
    leaders = [each for each in successful(responses) if each["state"] == "Leader"]
    offsets = [
        offset
        for each in leaders
        for offset in (each["qcore"].get("clock") or {}).get("peer_wall_offsets_us", {}).values()
        if offset is not None
    ]
    if offsets and not far:
        spread = max(0, *offsets) - min(0, *offsets)
        yield ok("clocks of nodes", f"at most {spread / 1000:.1f} ms apart")
