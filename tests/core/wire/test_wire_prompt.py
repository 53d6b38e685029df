"""What gathers the contents of a model request."""

from __future__ import annotations

import pytest

from kalguard_core.wire.prompt import BodyError, Prompt


@pytest.mark.parametrize(("known", "written"), [("text", "Text"), ("toolUse", "tooluse"), ("toolUse", "ToolUse")])
def test_a_member_that_differs_from_a_known_one_by_case_alone_is_refused(known: str, written: str) -> None:
    with pytest.raises(BodyError, match=f"did you mean '{known}'"):
        Prompt("vendor", None).others({written: "x"}, frozenset({known}), ())
