"""Decodes frames into messages and encodes messages, with strict validation, bounds, and errors that name the field."""
