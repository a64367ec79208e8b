"""The actions of a timeline."""
