"""The side that accepts connections, and how it shares the event loop between clients."""
