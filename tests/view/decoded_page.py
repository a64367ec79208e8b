"""Reads the data of a page again, by the rules that the viewer's scripts follow."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from qcore.trace import TraceRecord

Json = dict[str, Any]  # JSON has any type

LOG_PHASES = ("append", "cut", "snapshot")


def inflated(text: str) -> Json:
    """The object in an element."""
    data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(base64.b64decode(text))
    found: Json = json.loads(data)
    return found


@dataclass
class DecodedPage:
    """The data of a page."""

    head: Json
    overview: Json
    chunks: list[Json]

    @classmethod
    def of(cls, data: Iterator[tuple[str, str, str]]) -> DecodedPage:
        elements = {identifier: text for identifier, _, text in data}
        head = json.loads(elements.pop("head"))
        overview = inflated(elements.pop("overview"))
        chunks = [inflated(elements.pop(f"chunk-{n}")) for n in range(len(head["chunks"]))]
        assert not elements
        return cls(head, overview, chunks)

    def events(self, number: int) -> list[Json]:
        """The events of a chunk, with all columns of their kinds."""
        chunk, head = self.chunks[number], self.head
        rows = {kind: iter(self._expanded(kind, chunk)) for kind in chunk["rows"]}
        first = head["chunks"][number][0]
        kinds = [head["kinds"][ord(character) - ord("0")] for character in chunk["order"]]
        return [
            {"event": first + n, "kind": kind, **next(rows[kind])} for n, kind in enumerate(kinds)
        ]

    def records(self, origin_us: int = 0) -> list[TraceRecord]:
        """All events as records of a trace."""
        return [
            TraceRecord(event["t"] + origin_us, event["kind"], event["node"], event)
            for number in range(len(self.chunks))
            for event in self.events(number)
        ]

    def _expanded(self, kind: str, chunk: Json) -> Iterator[Json]:
        columns, head = dict(chunk["rows"][kind]), self.head
        columns["t"] = list(accumulate(columns["t"], initial=chunk["keyframe"]["t"]))[1:]
        for name, how in head["fields"][kind].items():
            if how == "text":
                columns[name] = [chunk["texts"][number] for number in columns[name]]
            elif how == "message":
                columns[name] = [head["names"][number] for number in columns[name]]
            elif how == "role":
                columns[name] = [head["roles"][number] for number in columns[name]]
            elif how == "id":
                senders = columns["node"] if kind == "send" else columns["from"]
                columns[name] = list(_ids(senders, columns[name]))
        names = ("t", "node", *head["fields"][kind])
        for cells in zip(*(columns[name] for name in names), strict=True):
            yield dict(zip(names, cells, strict=True))


def _ids(senders: list[int], column: list[int | str]) -> Iterator[str]:
    newest: dict[int, int] = {}
    for sender, cell in zip(senders, column, strict=True):
        if isinstance(cell, str):
            yield cell
            continue
        newest[sender] = newest.get(sender, 0) + cell
        yield f"{sender}-{newest[sender]}"


def state_after(page: DecodedPage, number: int) -> Json:
    """The nodes of the next keyframe, from the keyframe of a chunk and its events: what the viewer computes.

    Roles come from the overview, as in the viewer: no event shows that a real node was killed.
    """
    chunk = page.chunks[number]
    nodes: Json = json.loads(json.dumps(chunk["keyframe"]["nodes"]))
    for event in page.events(number):
        node = nodes.get(str(event["node"]))
        if node is not None:
            _take(node, event)
    for name in ("log", "durable", "clock"):
        columns = chunk[name]
        for cells in zip(*columns.values(), strict=True):
            row = dict(zip(columns, cells, strict=True))
            _take_change(nodes[str(row["node"])], name, row)
    _take_roles(nodes, page, page.chunks[number + 1]["keyframe"]["t"] - 1)
    return nodes


def _take(node: Json, event: Mapping[str, Any]) -> None:
    kind = event["kind"]
    if kind == "up" and not node["paused"]:
        node |= {"commit": event["commit"], "applied": event["applied"]}
    elif kind == "vote":
        node["vote"] = [event["term"], event["candidate"]]
    elif kind == "commit":
        node["commit"] = event["index"]
    elif kind == "apply":
        node["applied"] = event["index"]
    if kind in ("up", "down"):
        node["paused"] = kind == "down" and event["why"] == "pause"


def _take_roles(nodes: Json, page: DecodedPage, t_us: int) -> None:
    spans = page.overview["spans"]
    names = ("node", "start", "length", "role", "term", "leader", "why")
    for node, start, length, role, term, leader, why in zip(
        *(spans[name] for name in names), strict=True
    ):
        if not start <= t_us < start + length:
            continue
        found, name = nodes[str(node)], page.head["roles"][role]
        found |= {"role": name, "term": term, "leader": leader, "up": name != "down"}
        assert found["paused"] == (name == "down" and why == "pause")
        vote = found["vote"]
        found["voted"] = vote[1] if vote is not None and vote[0] == term else None


def _take_change(node: Json, name: str, row: Json) -> None:
    if name != "log":
        node[name] = row["index" if name == "durable" else "offset"]
        return
    phase, log = LOG_PHASES[row["phase"]], node["log"]
    if phase == "snapshot":
        node["snap"] = [row["last"], row["term"]]
        log[:] = [[max(run[0], row["first"]), *run[1:]] for run in log if run[1] >= row["first"]]
    else:
        _cut(node, row["first"])
    if phase == "append":
        if log and log[-1][2] == row["term"]:
            log[-1][1] = row["last"]
        else:
            log.append([row["first"], row["last"], row["term"]])
    node["last"] = log[-1][1] if log else node["snap"][0]


def _cut(node: Json, first: int) -> None:
    log = node["log"]
    while log and log[-1][0] >= first:
        log.pop()
    if log and log[-1][1] >= first:
        log[-1][1] = first - 1
    if first <= node["snap"][0]:
        node["snap"] = [0, 0]
