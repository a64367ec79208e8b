"""Filters of entities, written in CEL (https://cel.dev)."""
