"""One WebSocket connection: its frames, its liveness, and the end that opens it."""
