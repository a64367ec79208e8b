"""Real nodes against strangers, and with the settings that protect them."""
