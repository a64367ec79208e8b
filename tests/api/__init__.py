"""Tests of the public API: which names it has, and that documents and examples use no others."""
