"""What founders agree on, and how: pure, without clocks, entropy, network and disk."""
