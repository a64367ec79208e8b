"""`TraceWriter`: hashes the records of a run, and writes them as JSON lines or in the compact format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from qcore.trace import block_codec
from qcore.trace.block_codec import BLOCK_RECORDS, DETAIL_WIDTHS, ROW_WIDTHS, TEXT_PER_RECORD, Part
from qcore.trace.compact_trace import CompactTrace
from qcore.trace.json_lines import LINE_OF_DETAIL, LINE_OF_ROW, Row, as_line, details_mark
from qcore.trace.record_details import DETAIL_FIELDS, DETAIL_KINDS
from qcore.trace.trace_origin import TraceOrigin
from qcore.trace.trace_record import KINDS, LONG_FIELDS, SCHEMA_VERSION, TraceRecord

_RUN: Final = KINDS.index("run")
_UP: Final = KINDS.index("up")
_DOWN: Final = KINDS.index("down")
_ROLE: Final = KINDS.index("role")
_VOTE: Final = KINDS.index("vote")
_CONFIG: Final = KINDS.index("config")
_COMMIT: Final = KINDS.index("commit")
_APPLY: Final = KINDS.index("apply")
_SEND: Final = KINDS.index("send")
_RECV: Final = KINDS.index("recv")
_DROP: Final = KINDS.index("drop")
_FAULT: Final = KINDS.index("fault")
_OP: Final = KINDS.index("op")
_WATCH: Final = KINDS.index("watch")
_BAD: Final = KINDS.index("bad")
_VIOLATION: Final = KINDS.index("violation")
_LOG: Final = DETAIL_KINDS.index("log")
_REQUEST: Final = DETAIL_KINDS.index("request")
_CLOCK: Final = DETAIL_KINDS.index("clock")

#: The most records in one write to a text stream.
_LINES: Final = 512


class TextSink(Protocol):
    """The output of a `TraceWriter` for JSON lines, usually a text file."""

    def write(self, text: str, /) -> object:
        """Accept one or more complete lines."""
        ...

    def flush(self) -> object:
        """Make the accepted lines visible to readers."""
        ...


class BinarySink(Protocol):
    """The output of a `TraceWriter` for the compact format, usually a binary file."""

    def write(self, data: bytes, /) -> object:
        """Accept one block."""
        ...

    def flush(self) -> object:
        """Make the accepted blocks visible to readers."""
        ...


class TraceWriter:
    """Hashes records, and keeps them or writes them to streams.

    Args:
        stream: gets the records as JSON lines.
        compact: gets the records in the compact format, a block at a time. Call `finish` at the end.
        keep: keep the records in memory, for `lines()` and `trace()`.
        hashed: compute the trace hash. Without it, a writer of JSON lines does less work.

    Attributes:
        takes_details: whether the records go anywhere. If not, the methods for details must not be called.

    The methods for records are on the simulator's hot path. They only collect the cells of each record; the
    records of a block are encoded together. Names such as a role or the name of a message must be plain identifiers.
    """

    def __init__(
        self,
        stream: TextSink | None = None,
        *,
        compact: BinarySink | None = None,
        keep: bool = False,
        hashed: bool = True,
    ) -> None:
        self._stream = stream
        self._compact = compact
        self._kept: bytearray | None = bytearray(block_codec.head()) if keep else None
        self._encodes = hashed or keep or compact is not None
        self.takes_details = stream is not None or keep or compact is not None
        self._digest = block_codec.new_digest(block_codec.schema_body())
        self._records = 0  # in complete blocks
        self._order: list[int] = []  # the kinds of the records of this block
        # For each kind the cells of its records in this block, one record after the other. Tuples would need more time:
        # they would stay alive, and each would need its memory.
        self._cells: list[list[Any]] = [[] for _ in KINDS]
        self._details = _Details()
        self._written = 0  # records of this block that the text stream has
        self._written_cells = [0] * len(KINDS)
        self._block_end = BLOCK_RECORDS
        self._limit = 0  # the number of records in this block at which to do something
        self._set_limit()
        # The cells of the most frequent kinds. Compiled, an `append` for each cell takes a third of an `extend`.
        self._commit_cells = self._cells[_COMMIT]
        self._apply_cells = self._cells[_APPLY]
        self._send_cells = self._cells[_SEND]
        self._recv_cells = self._cells[_RECV]
        if compact is not None:
            compact.write(block_codec.head())
            compact.flush()

    @property
    def count(self) -> int:
        """How many records were written until now."""
        return self._records + len(self._order)

    def begin(self, make_origin: Callable[[], TraceOrigin]) -> None:
        """Write what the run begins with, before its first record. It is not part of the trace hash.

        Args:
            make_origin: called only if the records go to the compact format or are kept.
        """
        if self._compact is None and self._kept is None:
            return
        block = block_codec.origin_block(make_origin())
        if self._compact is not None:
            self._compact.write(block)
        if self._kept is not None:
            self._kept += block

    # -- records ---------------------------------------------------------------------------------

    def run(self, t_us: int, name: str, seed: int, nodes: Sequence[int]) -> None:
        self._put(_RUN, (t_us, 0, SCHEMA_VERSION, name, seed, tuple(nodes)))

    def up(self, t_us: int, node: int, term: int, commit: int, last_index: int) -> None:
        self._put(_UP, (t_us, node, term, commit, last_index))

    def down(self, t_us: int, node: int, why: str) -> None:
        self._put(_DOWN, (t_us, node, why))

    def role(self, t_us: int, node: int, role: str, term: int, leader: int | None) -> None:
        self._put(_ROLE, (t_us, node, role, term, leader))

    def vote(self, t_us: int, node: int, term: int, candidate: int) -> None:
        self._put(_VOTE, (t_us, node, term, candidate))

    def config(
        self,
        t_us: int,
        node: int,
        index: int,
        voters: Sequence[int],
        voters_outgoing: Sequence[int],
        learners: Sequence[int],
    ) -> None:
        row = (t_us, node, index, tuple(voters), tuple(voters_outgoing), tuple(learners))
        self._put(_CONFIG, row)

    def commit(self, t_us: int, node: int, index: int) -> None:
        cells = self._commit_cells
        cells.append(t_us)
        cells.append(node)
        cells.append(index)
        self._add(_COMMIT)

    def apply(self, t_us: int, node: int, index: int, term: int, entry: str) -> None:
        cells = self._apply_cells
        cells.append(t_us)
        cells.append(node)
        cells.append(index)
        cells.append(term)
        cells.append(entry)
        self._add(_APPLY)

    def send(
        self, t_us: int, node: int, to: int, message_id: str, message: str, term: int, note: str
    ) -> None:
        """`note` is a summary of the message."""
        cells = self._send_cells
        cells.append(t_us)
        cells.append(node)
        cells.append(to)
        cells.append(message_id)
        cells.append(message)
        cells.append(term)
        cells.append(note)
        self._add(_SEND)

    def recv(self, t_us: int, node: int, from_node: int, message_id: str, message: str) -> None:
        cells = self._recv_cells
        cells.append(t_us)
        cells.append(node)
        cells.append(from_node)
        cells.append(message_id)
        cells.append(message)
        self._add(_RECV)

    def drop(
        self, t_us: int, node: int, from_node: int, message_id: str, message: str, note: str
    ) -> None:
        """The message `message_id` from `from_node` does not reach `node`; `note` states why."""
        self._put(_DROP, (t_us, node, from_node, message_id, message, note))

    def fault(
        self,
        t_us: int,
        phase: str,
        fault: str,
        nodes: Sequence[int] = (),
        links: Iterable[tuple[int, int]] = (),
        note: str = "",
    ) -> None:
        """`phase` is `begin`, `end` or `act`; `links` are the directed links that the fault affects."""
        self._put(
            _FAULT, (t_us, 0, phase, fault, tuple(nodes), tuple(map(tuple, links)), note), note
        )

    def op(
        self,
        t_us: int,
        node: int,
        phase: str,
        client: int,
        op_id: int,
        op: str,
        key: str,
        value: str | int | None,
        note: str = "",
    ) -> None:
        """`phase` is `invoke`, `ok`, `refused` or `unknown`; `value` is the value written or read."""
        row = (t_us, node, phase, client, op_id, op, key, value, note)
        self._put(_OP, row, value if type(value) is str else "")

    def watch(
        self,
        t_us: int,
        node: int,
        phase: str,
        client: int,
        topic: str,
        index: int,
        sequence: int,
        note: str = "",
    ) -> None:
        """`phase` is `invoke`, `ok`, `notice` or `ended`; `client` is the number of the watcher."""
        self._put(_WATCH, (t_us, node, phase, client, topic, index, sequence, note), note)

    def bad(self, t_us: int, node: int, from_node: int, message: str, note: str) -> None:
        self._put(_BAD, (t_us, node, from_node, message, note), note)

    def violation(self, t_us: int, node: int, check: str, note: str) -> None:
        self._put(_VIOLATION, (t_us, node, check, note), note)

    def record(self, record: TraceRecord) -> None:
        """Write a record or detail of another trace."""
        if record.kind in DETAIL_FIELDS:
            if self.takes_details:
                number = DETAIL_KINDS.index(record.kind)
                self._detail(number, (record.t_us, record.node, *record.values))
            return
        text = record.fields.get(LONG_FIELDS.get(record.kind, ""))
        self._put(
            KINDS.index(record.kind),
            (record.t_us, record.node, *record.values),
            text if isinstance(text, str) else "",
        )

    # -- details, which `takes_details` asks for ---------------------------------------------------

    def log(
        self, t_us: int, node: int, phase: str, index: int, term: int = 0, count: int = 0
    ) -> None:
        """`phase` is `append`, `cut`, `snapshot` or `durable`; `qcore.trace.record_details` says what each means."""
        self._detail(_LOG, (t_us, node, phase, index, term, count))

    def request(
        self,
        t_us: int,
        node: int,
        phase: str,
        client: int,
        op_id: int,
        request: int,
        index: int = 0,
        term: int = 0,
        message: str = "",
    ) -> None:
        """`phase` is `take`, `end`, `forward` or `answer`; `qcore.trace.record_details` says what each means."""
        row = (t_us, node, phase, client, op_id, request, index, term, message)
        self._detail(_REQUEST, row)

    def clock(self, t_us: int, node: int, offset_us: int, drift_ppm: int) -> None:
        """The wall clock of a simulated node is ahead by `offset_us` from now on, and drifts."""
        self._detail(_CLOCK, (t_us, node, offset_us, drift_ppm))

    # -- output ----------------------------------------------------------------------------------

    def sha256(self) -> str:
        """The trace hash of all records written until now, in hexadecimal.

        It is the same wherever the records go; `qcore.trace.block_codec` says what it covers.
        """
        self.flush()
        return self._sha256().hex()

    def lines(self) -> list[str]:
        """All records written until now as JSON lines, without details. Empty unless `keep` is true."""
        return [] if self._kept is None else [as_line(record) for record in self.trace().records()]

    def trace(self) -> CompactTrace:
        """All records written until now. Empty unless `keep` is true."""
        if self._kept is None:
            empty = block_codec.new_digest(block_codec.schema_body()).digest()
            return CompactTrace(block_codec.head() + block_codec.end_block(0, empty))
        end = self._end(self._records + len(self._order))
        return CompactTrace(bytes(self._kept) + self._block() + end)

    def flush(self) -> None:
        """Write the pending records to the text stream. The compact format gets whole blocks only."""
        stream = self._stream
        if stream is not None and (self._written < len(self._order) or self._details.waiting):
            lines = self._pending_lines()
            lines.append("")
            stream.write("\n".join(lines))
            stream.flush()
        self._written = len(self._order)
        self._set_limit()

    def finish(self, *, complete: bool = True) -> None:
        """Write everything that is pending; write nothing later.

        Args:
            complete: whether the trace is complete. If the run failed, readers then say that records are missing.
        """
        self.flush()
        compact = self._compact
        if compact is None:
            return
        self._compact = None
        compact.write(self._block())
        if complete:
            compact.write(self._end(self._records + len(self._order)))
        compact.flush()

    # -- blocks ----------------------------------------------------------------------------------

    def _detail(self, kind: int, row: Row) -> None:
        self._details.add(len(self._order), kind, row)
        if self._stream is not None and self._details.waiting >= _LINES:
            self.flush()

    def _pending_lines(self) -> list[str]:
        """The lines that the text stream does not have: records, and details in their places."""
        lines: list[str] = []
        for place, detail in self._details.take_lines():
            self._add_lines(lines, place)
            lines.append(detail)
        self._add_lines(lines, len(self._order))
        return lines

    def _add_lines(self, lines: list[str], end: int) -> None:
        places = self._written_cells
        for kind in self._order[self._written : end]:
            start = places[kind]
            places[kind] = start + ROW_WIDTHS[kind]
            lines.append(LINE_OF_ROW[kind](self._cells[kind][start : places[kind]]))
        self._written = end

    def _put(self, kind: int, row: Row, text: str = "") -> None:
        self._cells[kind].extend(row)
        self._long_text(text)
        self._add(kind)

    def _add(self, kind: int) -> None:
        """Count a record of this kind, whose cells are there."""
        order = self._order
        order.append(kind)
        if len(order) >= self._limit:
            self._at_limit()

    def _long_text(self, text: str) -> None:
        """Count a long text as several records, so that a block of long texts needs no more memory than others."""
        if len(text) >= TEXT_PER_RECORD:
            self._block_end -= len(text) // TEXT_PER_RECORD
            self._set_limit()

    def _set_limit(self) -> None:
        self._limit = self._block_end
        if self._stream is not None:
            self._limit = min(self._limit, self._written + _LINES)

    def _at_limit(self) -> None:
        self.flush()
        if len(self._order) >= self._block_end:
            self._end_block()

    def _end_block(self) -> None:
        if self._encodes:
            parts = self._parts()
            for part in parts:
                part.hash_into(self._digest)
            if self._compact is not None or self._kept is not None:
                block = self._details.block() + block_codec.records_block(parts)
                if self._compact is not None:
                    self._compact.write(block)
                    self._compact.flush()
                if self._kept is not None:
                    self._kept += block
        self._records += len(self._order)
        self._order.clear()
        for cells in self._cells:
            cells.clear()
        self._details.clear()
        self._written = 0
        self._written_cells = [0] * len(KINDS)
        self._block_end = BLOCK_RECORDS
        self._set_limit()

    def _block(self) -> bytes:
        """What is pending, in the compact format."""
        records = block_codec.records_block(self._parts()) if self._order else b""
        return self._details.block() + records

    def _parts(self) -> list[Part]:
        return block_codec.encode_parts(self._order, self._cells)

    def _sha256(self) -> bytes:
        digest = self._digest.copy()
        if self._order:
            for part in self._parts():
                part.hash_into(digest)
        return digest.digest()

    def _end(self, records: int) -> bytes:
        return block_codec.end_block(records, self._sha256())


class _Details:
    """The details of one block."""

    def __init__(self) -> None:
        self._places: list[int] = []  # for each, how many records of the block precede it
        self._order = bytearray()
        self._cells: list[list[Any]] = [[] for _ in DETAIL_KINDS]
        self._written = 0  # how many the text stream has
        self._written_cells = [0] * len(DETAIL_KINDS)
        self._is_marked = False  # whether the text stream has the line before the first detail

    @property
    def waiting(self) -> int:
        """How many the text stream does not have."""
        return len(self._order) - self._written

    def add(self, place: int, kind: int, row: Row) -> None:
        self._places.append(place)
        self._order.append(kind)
        self._cells[kind].extend(row)

    def take_lines(self) -> Iterator[tuple[int, str]]:
        """The lines that the text stream does not have, each after its place among the records."""
        places = self._written_cells
        for number in range(self._written, len(self._order)):
            kind, place = self._order[number], self._places[number]
            start = places[kind]
            places[kind] = start + DETAIL_WIDTHS[kind]
            cells = self._cells[kind][start : places[kind]]
            if not self._is_marked:
                self._is_marked = True
                yield place, details_mark(cells[0])
            yield place, LINE_OF_DETAIL[kind](cells)
        self._written = len(self._order)

    def block(self) -> bytes:
        """Their block in the compact format; empty if there are none."""
        if not self._order:
            return b""
        return block_codec.details_block(self._places, self._order, self._cells)

    def clear(self) -> None:
        """Begin another block."""
        self._places.clear()
        self._order.clear()
        for cells in self._cells:
            cells.clear()
        self._written = 0
        self._written_cells = [0] * len(DETAIL_KINDS)


def hash_of(records: Iterable[TraceRecord]) -> str:
    """The trace hash of some records, in hexadecimal."""
    writer = TraceWriter()
    for record in records:
        writer.record(record)
    return writer.sha256()
