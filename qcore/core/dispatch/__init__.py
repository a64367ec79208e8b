"""From a message to what handles it."""
