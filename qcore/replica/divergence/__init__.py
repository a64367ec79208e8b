"""Finds members that differ by their digests; a node that differs from a majority contains itself."""
