"""The one exception for input that a user can mend."""

__all__ = ["InputError"]

_LONGEST = 1000


class InputError(ValueError):
    """Wrong input, said in one sentence: which argument, what was expected, what came.

    The command line prints the sentence and exits with code 2; nothing else in the library is caught there.
    What came may be long, and comes from files: the middle of a long sentence is left out.
    """

    def __init__(self, sentence: str) -> None:
        if len(sentence) > _LONGEST:
            sentence = f"{sentence[: _LONGEST // 2 - 5]} ... {sentence[5 - _LONGEST // 2 :]}"
        super().__init__(sentence)
