"""For each kind of fault a planted bug that needs it: a run with the fault catches it, and one without does not."""
