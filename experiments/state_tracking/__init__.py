"""Words of groups: which memories can follow a state that turns."""
