"""Recipes with planted mistakes, which the checks must find."""
