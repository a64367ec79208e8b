"""The course of a run: what a trace shows as states over time, for pages, diagrams, tables and explanations."""
