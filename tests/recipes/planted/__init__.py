"""Mistakes in recipes, planted to show that the checks find them."""
