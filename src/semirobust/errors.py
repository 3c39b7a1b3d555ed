"""The one exception for input that a user can mend."""

__all__ = ["InputError"]


class InputError(ValueError):
    """Wrong input, said in one sentence: which argument, what was expected, what came.

    The command line prints the sentence and exits with code 2; nothing else in the library is caught there.
    """
