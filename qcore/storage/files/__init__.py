"""Plain files beside the database: written whole, synced, locked."""
