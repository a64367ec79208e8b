"""One WebSocket connection: frames, liveness, and the side that opens it."""
