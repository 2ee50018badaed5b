"""The one exception that users see: its text is a line that says what is wrong and what to do."""


class CxrflowError(Exception):
    """Bad input or a failed check. The command line prints the text and exits with code 2."""
