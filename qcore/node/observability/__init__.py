"""How a node can be watched from outside: log lines, metrics, traces."""
