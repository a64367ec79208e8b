"""Tests of the web page of `examples/`: in a browser, and of its text."""
