"""Frames to messages and back: validated strictly, bounded, and with errors that name the field."""
