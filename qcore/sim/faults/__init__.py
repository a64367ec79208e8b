"""Carries out the timeline of a scenario: faults, repairs, admin requests and single operations."""
