"""Records of a long run in little memory: old ones are compressed, and none is lost."""
