"""The replicated log of one server: append, replicate, commit, compact, restore; and how fast its disk is."""
