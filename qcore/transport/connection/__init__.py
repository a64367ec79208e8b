"""One WebSocket connection: framing, liveness, and the end that opens it (the other end is in `server`)."""
