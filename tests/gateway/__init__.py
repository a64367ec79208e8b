"""Tests of the gateways, with clients that nobody here wrote."""
