"""Founders find each other and begin one cluster without an operator (`--auto-init`)."""
