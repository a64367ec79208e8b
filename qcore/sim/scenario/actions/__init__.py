"""The actions of a timeline, grouped by what they act on; `registry` lists them all."""
