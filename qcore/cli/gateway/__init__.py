"""The commands that run gateways."""
