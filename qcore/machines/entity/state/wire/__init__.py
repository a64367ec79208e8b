"""The forms of ids, times and values on the wire."""
