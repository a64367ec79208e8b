"""`qcore shell`: an interactive prompt for the commands of `qcore`, over one connection."""
