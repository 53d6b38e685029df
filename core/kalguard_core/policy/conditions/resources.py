"""Which resources a rule is about; it says nothing about a request without one."""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from .base import TextKey

RESOURCES: Final = TextKey("resources", attrgetter("resource"))
