"""Documents that are sessions: their commands and Python blocks run in their order."""
