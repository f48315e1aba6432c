"""The one error that is the user's to mend; every other exception is a bug."""


class InputError(ValueError):
    """Bad input or settings: the message says what was expected, what was found, what to do next.

    Commands print the message on one line, without a traceback, and end with status 2.
    """
