"""What gathers the contents of a model request."""

from __future__ import annotations

import pytest

from kalguard_core.wire.prompt import BodyError, Prompt


@pytest.mark.parametrize(("known", "written"), [("text", "Text"), ("toolUse", "tooluse"), ("toolUse", "ToolUse")])
def test_a_member_that_differs_from_a_known_one_by_case_alone_is_refused(known: str, written: str) -> None:
    with pytest.raises(BodyError, match=f"did you mean '{known}'"):
        Prompt("vendor", None).others({written: "x"}, frozenset({known}), ())


def test_the_parameters_of_a_media_type_are_read() -> None:
    prompt = Prompt("vendor", None)
    prompt.attach("text/plain; note=obey me", "aGVsbG8=", ("a",))
    prompt.attach_url("data:text/plain;note=obey them;base64,aGVsbG8=", ("b",))
    prompt.attach_url("data:text/plain;base64,aGVsbG8=", ("c",))
    texts = [message.text for message in prompt.actions()[0].messages]
    assert sorted(texts) == ["hello"] * 3 + ["text/plain; note=obey me", "text/plain;note=obey them;base64"]
