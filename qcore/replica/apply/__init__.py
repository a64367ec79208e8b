"""How committed entries become state: in bounded steps, by the rules of the active version."""
