"""What a page may do: run its own scripts, and nothing else."""

import base64
import binascii
import hashlib
import io
from collections.abc import Iterable

from markupsafe import Markup

from semirobust.core.budget import BUDGET

__all__ = ["policy", "shown_picture"]

_MAX_BYTES, _MAX_SIDE = 4 << 20, 1 << 14


def policy(scripts: Iterable[str], sheets: Iterable[str]) -> Markup:
    """The Content-Security-Policy of a page with these scripts and style sheets.

    Nothing is fetched, sent or framed. A script or a sheet counts where its hash stands here; attributes with
    code or with styles do nothing.
    """
    rules = {
        "default-src": "'none'",
        "script-src": _hashes(scripts) or "'none'",
        "style-src": _hashes(sheets),
        "img-src": "data:",
        **dict.fromkeys(("base-uri", "form-action", "connect-src", "frame-src", "object-src"), "'none'"),
    }
    return Markup("; ".join(f"{name} {allowed}" for name, allowed in rules.items()))


def _hashes(texts: Iterable[str]) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def shown_picture(png: str) -> str:
    """Base64 of a picture that is PNG by its content, whole and of moderate size; else nothing."""
    from PIL import Image

    try:
        content = base64.b64decode(png, validate=True)
        if len(content) > _MAX_BYTES:
            return ""
        with io.BytesIO(content) as file, Image.open(file, formats=["PNG"]) as picture:
            if max(picture.size) > _MAX_SIDE or picture.width * picture.height > BUDGET.picture_pixels:
                return ""
            picture.verify()
    except (binascii.Error, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ""
    return base64.b64encode(content).decode()
