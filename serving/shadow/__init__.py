"""A second version that is asked the same in the background, and never seen by a client."""
