"""Tests of qcore.storage.live."""
