"""Requests on their way to exactly one outcome: admission, deadlines, writes, reads, forwarding, state copies."""
