"""The network and what goes with it: no step, a subject that several steps share."""
