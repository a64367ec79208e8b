"""The run viewer: one HTML file that shows a run, from its trace."""
