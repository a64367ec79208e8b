"""Views of keys that a watch keeps up to date: a configuration, and the instances of a service."""
