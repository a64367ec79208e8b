"""How commands name entities, and read and write fields: names, values as texts, the tree."""
