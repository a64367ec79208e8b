"""Other programs that do what qcore does, measured in the same run as qcore, each only where it is installed."""
