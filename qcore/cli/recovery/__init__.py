"""Commands for a data directory on which no node runs: `qcore check` and `qcore repair`."""
