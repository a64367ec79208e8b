"""The passes of a shrink: functions from the smallest failing run until now to edits that may make it smaller."""
