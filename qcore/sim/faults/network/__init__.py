"""Executes the timeline actions on the network: on links, and on single messages."""
