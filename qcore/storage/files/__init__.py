"""Plain files beside the database: written whole, synced and locked."""
