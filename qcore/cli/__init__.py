"""The `qcore` command: one module or package for each command group, and what the groups share."""
