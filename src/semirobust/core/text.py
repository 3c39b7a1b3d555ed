"""Short texts made from others: the first line of an error, a name that suits a file."""

__all__ = ["first_line", "slug"]


def first_line(error: BaseException, *, with_type: bool = False) -> str:
    """The first line of what ``error`` says; the name of its class where it says nothing.

    Args:
        error: any exception. Those of PyTorch run over many lines, of which the first names the cause.
        with_type: put the name of the class in front, for errors of a user's own code.
    """
    kind = type(error).__name__
    said = str(error).strip()
    if not said:
        return kind
    line = said.splitlines()[0]
    return f"{kind}: {line}" if with_type else line


def slug(name: str) -> str:
    """``name`` as part of a file name: whatever is neither letter nor digit becomes a hyphen."""
    return "".join(character if character.isalnum() else "-" for character in name)
