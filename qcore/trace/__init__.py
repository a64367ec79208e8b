"""The traces of simulated and real nodes: their records, their writer, and their two formats.

A trace is a sequence of records. Each has `t_us` (microseconds: simulated time, or Unix time on real nodes), a kind, a
node (0 if the record concerns no single node), and the fields of its kind; `RECORD_FIELDS` gives their order.

| kind | meaning |
|---|---|
| run | the header: schema version, name, seed and nodes |
| up, down | a node started (with restored term, commit and last index); stopped, crashed or paused (`why`) |
| role | the role, the term or the known leader changed |
| vote | the node gave its vote in a term |
| config | the effective configuration changed |
| commit | the commit index moved |
| apply | an entry was applied |
| send, recv, drop | a message was sent, received, lost (one `id`); `note` summarises it, or states why it was lost |
| fault | a fault began, ended or acted; with the name `trace`: records are missing here |
| op | a client operation: `invoke`, then `ok`, `refused` or `unknown` |
| watch | a watcher at this node: `invoke`, `ok` (the watch begins after this position), `notice`, `ended` |
| bad | a malformed or invalid message was ignored |
| violation | an invariant or the linearizability check failed |

A trace that goes anywhere also has details: records of the kinds `log`, `request` and `clock`, which explain the
others. They are not part of the trace hash, and readers get them only if they ask. `record_details` specifies them.

A TCP segment that is lost between simulated whole nodes is a `drop` of a `Segment`, which has no `send`.

On real nodes several responses may share one `id`, because each has the one of the newest request.

A file has one of two formats, and readers recognise it by its first bytes:

- **Compact**, the format of simulated runs: compressed columns in blocks of some thousand records. The format has a
  version, a checksum for each block, and at the end the number of records and the trace hash. `block_codec` specifies
  it. A file is written block by block while the run goes on, so after a kill all complete blocks are readable.
- **JSON lines**, the format of real nodes, and of runs if asked for: one object on each line, with a stable order of
  keys: `t_us`, `kind`, `node`, then the fields.

The trace hash of a run covers the records, not the file: it is the same for either format, and without a file.
"""

from __future__ import annotations

from qcore.trace.compact_trace import CompactTrace
from qcore.trace.json_lines import as_line, is_truncated, next_record_start, parse_trace
from qcore.trace.record_details import DETAIL_FIELDS
from qcore.trace.trace_difference import NodeAtDifference, TraceDifference, diff_traces
from qcore.trace.trace_files import (
    is_json_path,
    open_trace,
    parse_lines,
    pause_collection,
    read_trace,
)
from qcore.trace.trace_origin import TraceOrigin
from qcore.trace.trace_record import (
    ALL_FIELDS,
    RECORD_FIELDS,
    RECORDS_MISSING_FAULT,
    SCHEMA_VERSION,
    TRUNCATED_NOTE,
    TraceRecord,
)
from qcore.trace.trace_writer import BinarySink, TextSink, TraceWriter, hash_of

__all__ = [
    "ALL_FIELDS",
    "DETAIL_FIELDS",
    "RECORDS_MISSING_FAULT",
    "RECORD_FIELDS",
    "SCHEMA_VERSION",
    "TRUNCATED_NOTE",
    "BinarySink",
    "CompactTrace",
    "NodeAtDifference",
    "TextSink",
    "TraceDifference",
    "TraceOrigin",
    "TraceRecord",
    "TraceWriter",
    "as_line",
    "diff_traces",
    "hash_of",
    "is_json_path",
    "is_truncated",
    "next_record_start",
    "open_trace",
    "parse_lines",
    "parse_trace",
    "pause_collection",
    "read_trace",
]
