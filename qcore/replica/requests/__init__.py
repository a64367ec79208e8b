"""Client requests on their way to exactly one outcome: admission, deadlines, writes, reads, forwarding, snapshots."""
