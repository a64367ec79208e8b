"""What a seed decides in a scenario: random times and choices, random faults, and swarms.

`drawing` turns all of it into ordinary timeline items before the run begins.
"""
