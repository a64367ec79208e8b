"""One driver for cores and replicas in tests: copy it to begin another driver.

Nothing happens by itself. Each test decides which message arrives, which write becomes durable, which node crashes and
how time passes.

| module | what it holds |
|---|---|
| `driver` | one node: it steps its server and executes every effect |
| `disk` | what is written, what is durable, and what survives a crash |
| `network` | the messages on their way, the cut links, the nodes that are cut off |
| `clock` | true time, and each node's monotonic clock and wall clock |
| `cluster` | the nodes together: delivery, elections, time |
| `cores`, `replicas` | the two servers to step: a `RaftCore` with a toy machine, and a `Replica` |
| `observer`, `safety_observer` | what watches every step; the safety argument of Raft is on by default |
| `first_state` | what the disks hold at the start |
"""
