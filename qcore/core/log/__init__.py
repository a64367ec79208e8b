"""The log: appended, replicated, committed, compacted, restored."""
