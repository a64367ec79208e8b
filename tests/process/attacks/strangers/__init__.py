"""Attacks by strangers and by users with few rights, on two clusters."""
