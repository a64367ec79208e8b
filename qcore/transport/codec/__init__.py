"""Frames to messages and back, validated and bounded."""
