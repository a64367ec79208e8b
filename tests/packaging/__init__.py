"""Tests of what users install: the source archive, the wheel, and what they give in an empty directory."""
