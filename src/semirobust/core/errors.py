"""The exception for input that a user can correct."""

__all__ = ["InputError", "LostProcessError"]

_MAX_LENGTH = 1000


class InputError(ValueError):
    """Wrong input, in one sentence: which argument, what was expected, what came, and what to do.

    The command line prints the sentence and exits with code 2. Values in the sentence may come from files and
    be long, so the middle of a long sentence is left out.

    Args:
        sentence: what is said.
    """

    def __init__(self, sentence: str) -> None:
        if len(sentence) > _MAX_LENGTH:
            sentence = f"{sentence[: _MAX_LENGTH // 2 - 5]} ... {sentence[5 - _MAX_LENGTH // 2 :]}"
        super().__init__(sentence)


class LostProcessError(RuntimeError):
    """A process that a run needs is gone, in one sentence: the command line prints it and exits with code 1.

    The system ended it, often for its memory. What a command keeps to go on from stays.
    """
