"""What of a text is words to the learned model, and what is only the code of some.

Rules of this file:
- Letters that stand alone and numbers of characters are no words. Attacks are written so and honest texts hardly ever,
  so a model that sees them learns to call the writing an attack, and blocks whoever spaces a title. What they say is
  read in the view that undoes them.
- Blanks stand for what is no word: offsets stay as they are, and nothing that is left comes together.
- A few of them in a row mean nothing: it takes a run. A NUL is never blanked.
"""

from __future__ import annotations

from typing import Any, Final

import re2

_GAP: Final = rb"[^A-Za-z0-9\x80-\xff\x00]"
_LETTER: Final = rb"(?:[A-Za-z0-9]|[\xc2-\xdf][\x80-\xbf])"
# Numbers of characters or bytes, in any base, with what introduces them.
_CODE: Final = rb"(?:(?:25)?[xX]?[0-9A-Fa-f]{2}|[0-9]{3}|[01]{7,8}|[uU]\{?[0-9A-Fa-f]{2,5}|0[xX][0-9A-Fa-f]{2})"


def _compiled() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1  # bytes are bytes
    letters = b"(?:^|G)L(?:G{1,6}L){5,}(?:G|$)".replace(b"G", _GAP).replace(b"L", _LETTER)
    codes = b"(?:^|G)C(?:G{1,4}C){7,}(?:G|$)".replace(b"G", _GAP).replace(b"C", _CODE)
    return re2.compile(letters + b"|" + codes, options)


_RUN: Final = _compiled()


def legible(data: bytes) -> bytes:
    """Folded text with blanks for runs of single letters and of codes."""
    if _RUN.search(data) is None:
        return data
    parts: list[bytes] = []
    behind = 0
    for found in _RUN.finditer(data):
        start, end = found.span()
        parts += (data[behind:start], b" " * (end - start))
        behind = end
    parts.append(data[behind:])
    return b"".join(parts)
