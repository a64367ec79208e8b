"""What must not matter to a machine: how copies get other circumstances, and what a copy shares with others."""
