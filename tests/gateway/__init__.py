"""Tests of the gateways, with clients that others wrote."""
