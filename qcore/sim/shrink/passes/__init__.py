"""The passes of a shrink. Each is a function from the smallest failing run until now to edits that may make it smaller."""
