"""The shape of the load: which node a client asks first, how the rate changes, which keys and values it draws."""
