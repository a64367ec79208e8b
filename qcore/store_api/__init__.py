"""The messages of the entity store on the wire, in both spellings. `STORE_MESSAGES` lists them."""
