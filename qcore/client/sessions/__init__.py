"""Client sessions: writes that take effect once, however often they are sent."""
