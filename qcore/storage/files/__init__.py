"""Plain files: written whole or not at all, synced, and locked."""
