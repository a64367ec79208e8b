"""The forms of a copy of the whole state: the machine's snapshot, and the one that clients get."""
