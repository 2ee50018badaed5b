"""Makes the environment: standard library only, in the syntax of Python 3.6."""
