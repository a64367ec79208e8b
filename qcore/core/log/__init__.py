"""The log in memory: append, replicate, commit, compact, restore."""
