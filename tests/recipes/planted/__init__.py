"""Mistakes in recipes, which the checks must find."""
