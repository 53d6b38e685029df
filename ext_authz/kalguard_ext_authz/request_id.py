"""Request ids: believed when they are short tokens, made when they are not."""

from __future__ import annotations

import os
import re
from typing import Final

_SANE: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def new_request_id() -> str:
    """A fresh id: `req_` and 24 hexadecimal digits, as the original makes them."""
    return f"req_{os.urandom(12).hex()}"


def sane_request_id(value: str | None) -> str | None:
    """`value` if it may go into logs, headers and the audit as it is, else None."""
    return value if value and _SANE.fullmatch(value) else None
