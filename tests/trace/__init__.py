"""The records of a trace, their writer, and the two formats of a file."""
