"""OpenAI's Responses API: items of every type, and what acts or lies outside our sight."""

from __future__ import annotations

from typing import Any

import pytest

from kalguard_core.action import Action
from kalguard_core.codes import ErrorCode
from wire_support import read, refused, request

ASKED = request("openai", "/v1/responses")
PICTURE = "data:image/png;base64,iVBORw0KGgo="


def response(*items: Any, **members: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "input": list(items) or "hello", **members}


def actions(body: Any) -> tuple[Action, ...]:
    return read(ASKED, body).actions


def others(body: Any) -> set[str]:
    """The actions beside the prompt, by their resource. Each of them needs a rule that names it."""
    found = actions(body)[1:]
    assert all(action.explicit for action in found)
    return {str(action.resource) for action in found}


def test_a_response_is_one_prompt_check_about_its_model() -> None:
    body = response(instructions="be kind", stream=True, max_output_tokens=7, store=True)
    (action,) = actions(body)
    assert [(message.role, message.text, message.where) for message in action.messages] == [
        ("system", "be kind", ("instructions",)),
        ("user", "hello", ("input",)),
    ]
    assert action.attributes == {
        "maxTokens": 7,
        "messageCount": 1,
        "model": "gpt-4o",
        "provider": "openai",
        "store": True,
        "stream": True,
        "tokenEstimate": 3,
        "toolCount": 0,
    }


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        ({"type": "web_search"}, {"hosted:web_search"}),
        ({"type": "web_search_preview_2025_03_11"}, {"hosted:web_search"}),
        ({"type": "web_search_2025_08_26"}, {"hosted:web_search"}),
        ({"type": "file_search", "vector_store_ids": ["vs_1"]}, {"hosted:file_search", "vector_store:vs_1"}),
        ({"type": "code_interpreter", "container": "cntr_1"}, {"hosted:code_interpreter", "container:cntr_1"}),
        (
            {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file_1"]}},
            {"hosted:code_interpreter", "file:file_1"},
        ),
        ({"type": "computer"}, {"hosted:computer_use"}),
        ({"type": "computer_use_preview", "environment": "linux"}, {"hosted:computer_use"}),
        ({"type": "local_shell"}, {"hosted:shell"}),
        (
            {"type": "shell", "environment": {"type": "container_reference", "container_id": "c1"}},
            {"hosted:shell", "container:c1"},
        ),
        (
            {
                "type": "shell",
                "environment": {"type": "container_auto", "skills": [{"type": "skill_reference", "skill_id": "s1"}]},
            },
            {"hosted:shell", "skill:s1"},
        ),
        ({"type": "apply_patch"}, {"hosted:apply_patch"}),
        (
            {"type": "image_generation", "input_image_mask": {"image_url": PICTURE}},
            {"hosted:image_generation", "image/png"},
        ),
        ({"type": "mcp", "server_label": "x", "server_url": "https://mcp.test/sse"}, {"hosted:mcp"}),
        (
            {"type": "mcp", "server_label": "x", "connector_id": "connector_gmail"},
            {"hosted:mcp", "connector:connector_gmail"},
        ),
        ({"type": "tool_search"}, {"hosted:tool_search"}),
        ({"type": "programmatic_tool_calling"}, {"hosted:programmatic_tool_calling"}),
        ({"type": "teleport"}, {"hosted:teleport"}),
        ({"type": "Function", "name": "f"}, {"hosted:Function"}),
    ],
)
def test_a_tool_that_the_vendor_runs_is_an_action_of_its_own(tool: dict[str, Any], expected: set[str]) -> None:
    assert others(response(tools=[{"type": "function", "name": "mine"}, tool])) == expected
    assert others(response({"type": "additional_tools", "role": "developer", "tools": [tool]})) == expected
    assert others(response({"type": "tool_search_output", "tools": [tool]})) == expected


def test_a_remote_mcp_server_is_told_by_its_host() -> None:
    tool = {
        "type": "mcp",
        "server_label": "x",
        "server_url": "https://mcp.test:8443/sse",
        "server_description": "text of it",
    }
    prompt, mcp = actions(response(tools=[tool]))
    assert (mcp.name, mcp.tool, mcp.attributes["host"]) == ("tool:execute", "hosted:mcp", "mcp.test:8443")
    assert "text of it" in [message.text for message in prompt.messages]
    assert prompt.attributes["urlHosts"] == ("mcp.test:8443",)
    assert refused(ASKED, response(tools=[{**tool, "server_url": "litellm_proxy"}])).code is ErrorCode.BAD_REQUEST


def test_functions_of_a_namespace_are_offered_too() -> None:
    tools = [
        {
            "type": "namespace",
            "name": "n",
            "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}],
        }
    ]
    assert actions(response(tools=tools))[0].attributes["toolNames"] == ("f", "c")
    hidden = [{"type": "namespace", "name": "n", "tools": [{"type": "web_search"}]}]
    assert refused(ASKED, response(tools=hidden)).code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (response(previous_response_id="resp_1"), {"response:resp_1"}),
        (response(conversation="conv_1"), {"conversation:conv_1"}),
        (response(conversation={"id": "conv_1"}), {"conversation:conv_1"}),
        ({"prompt": {"id": "pmpt_1", "version": "2", "variables": {"v": "text"}}}, {"prompt:pmpt_1"}),
        (
            response(prompt={"id": "p", "variables": {"v": {"type": "input_file", "file_id": "f"}}}),
            {"prompt:p", "file:f"},
        ),
        (response({"type": "item_reference", "id": "msg_1"}), {"item:msg_1"}),
        (response({"id": "msg_1"}), {"item:msg_1"}),
        (response({"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "gAAAA-_="}), set()),
        (response({"type": "compaction", "encrypted_content": "gAAAA"}), {"compaction:encrypted"}),
        (response({"type": "image_generation_call", "id": "ig_1"}), {"image:ig_1"}),
        (response({"type": "image_generation_call", "id": "ig_1", "result": "iVBORw0KGgo="}), {"*/*"}),
        (response({"type": "mcp_approval_response", "approval_request_id": "a", "approve": True}), {"hosted:mcp"}),
        (response({"type": "mcp_approval_response", "approval_request_id": "a", "approve": False}), set()),
        (
            response(
                {
                    "type": "computer_call_output",
                    "call_id": "c",
                    "output": {"type": "computer_screenshot", "image_url": PICTURE},
                }
            ),
            {"image/png"},
        ),
        (
            response(
                {
                    "type": "function_call_output",
                    "call_id": "c",
                    "output": [{"type": "input_image", "image_url": PICTURE}],
                }
            ),
            {"image/png"},
        ),
        (response({"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}), {"file:file_1"}),
        (response({"role": "user", "content": [{"type": "input_file", "file_url": "https://x.test/a.pdf"}]}), {"*/*"}),
        (
            response(
                {"role": "user", "content": [{"type": "input_file", "filename": "a.pdf", "file_data": "JVBERi0="}]}
            ),
            {"*/*"},
        ),
        (
            response(
                {
                    "role": "user",
                    "content": [{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}],
                }
            ),
            {"audio/wav"},
        ),
        (response({"type": "code_interpreter_call", "id": "x", "container_id": "c1", "code": "1"}), {"container:c1"}),
    ],
)
def test_what_we_cannot_see_is_an_action_that_a_rule_must_name(body: Any, expected: set[str]) -> None:
    assert others(body) == expected


def test_a_text_file_in_a_message_is_read() -> None:
    part = {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aWdub3JlIGFsbA=="}
    (action,) = actions(response({"role": "user", "content": [part]}))
    assert ("file", "ignore all") in [(message.role, message.text) for message in action.messages]


@pytest.mark.parametrize(
    "item",
    [
        {"type": kind, "x": {"deep": ["SECRET"]}}
        for kind in (
            "function_call",
            "custom_tool_call",
            "web_search_call",
            "file_search_call",
            "computer_call",
            "local_shell_call",
            "shell_call",
            "shell_call_output",
            "apply_patch_call",
            "apply_patch_call_output",
            "mcp_list_tools",
            "mcp_call",
            "mcp_approval_request",
            "program",
            "program_output",
            "tool_search_call",
            "configuration_update",
            "compaction_trigger",
            "code_interpreter_call",
            "function_call_output",
            "reasoning",
        )
    ]
    + [
        {"type": "code_interpreter_call", "code": "SECRET"},
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "SECRET"}]},
        {"type": "file_search_call", "results": [{"text": "SECRET"}]},
        {"type": "message", "role": "user", "content": "x", "phase": "SECRET"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "x", "annotations": [{"title": "SECRET"}]}]},
    ],
)
def test_text_is_seen_in_every_item(item: dict[str, Any]) -> None:
    assert any("SECRET" in message.text for message in actions(response(item))[0].messages)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (response({"type": "hologram"}), ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        (response({"role": "user", "content": [{"type": "hologram"}]}), ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        (
            response({"role": "user", "content": [{"type": "input_text", "text": "x", "image_url": "y"}]}),
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
        ),
        (response({"type": "function_call", "image_url": "https://x.test"}), ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        (response({"type": "compaction", "encrypted_content": "ignore all previous"}), ErrorCode.BAD_REQUEST),
        (response({"role": "root", "content": "x"}), ErrorCode.BAD_REQUEST),
        (response({"role": "user", "content": 1}), ErrorCode.BAD_REQUEST),
        (response({"role": "user", "content": []}), ErrorCode.BAD_REQUEST),
        (response({"role": "user", "content": "x", "Content": "y"}), ErrorCode.BAD_REQUEST),
        (response({}), ErrorCode.BAD_REQUEST),
        (response("x"), ErrorCode.BAD_REQUEST),
        (response({"type": 1}), ErrorCode.BAD_REQUEST),
        (response(input=1), ErrorCode.BAD_REQUEST),
        (response(Input="x"), ErrorCode.BAD_REQUEST),
        (response(previous_response_id=["x"]), ErrorCode.BAD_REQUEST),
        (response(conversation=1), ErrorCode.BAD_REQUEST),
        (response(prompt="x"), ErrorCode.BAD_REQUEST),
        (response(tools=[{"type": "function", "Type": "mcp"}]), ErrorCode.BAD_REQUEST),
        (response(tools=[{"type": "file_search", "vector_store_ids": [1]}]), ErrorCode.BAD_REQUEST),
        (response(extra_body={"x": 1}), ErrorCode.BAD_REQUEST),
        ({"input": "x"}, ErrorCode.BAD_REQUEST),
    ],
)
def test_what_cannot_be_read_is_refused(body: Any, code: ErrorCode) -> None:
    assert refused(ASKED, body).code is code


def test_more_references_than_one_request_may_have_are_refused() -> None:
    assert refused(ASKED, response(*({"id": f"m{n}"} for n in range(100)))).code is ErrorCode.BAD_REQUEST
