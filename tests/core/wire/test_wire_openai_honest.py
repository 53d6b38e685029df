"""What frameworks and servers send every day passes: nothing in it needs a rule of its own or looks like an attack."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kalguard_core.firewall import default_firewall
from wire_support import read, request

HI: dict[str, Any] = {"role": "user", "content": "Hello"}
CODE = r"""path = "C:\\Users\\new\\bin"; print(f"{x!r}\t100%% of %s \u00e9\n" % a)  # "https://x.test/a%20b?q=%22&c=1&amp;d"
return re.sub(r"^(?:[a-z0-9!#$%&'*+/=?^_`{|}~-]+\\d{2,})$", "\\1", text)"""
WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather at a place",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"place": {"type": "string", "pattern": "^[A-Z]\\w+$"}, "unit": {"enum": ["C", "F"]}},
        "required": ["place", "unit"],
        "additionalProperties": False,
    },
}
CALL: dict[str, Any] = {
    "id": "c1",
    "type": "function",
    "function": {"name": "write", "arguments": json.dumps({"x": CODE})},
}
FIREWALL = default_firewall()


def passes(kind: str, path: str, body: Any) -> None:
    actions = read(request(kind, path), body).actions
    assert [action.name for action in actions] == ["prompt:check"]
    assessment = FIREWALL.score(actions[0].messages)
    assert assessment.risk < 50, assessment


@pytest.mark.parametrize(
    "text",
    [
        CODE,
        CODE * 200,
        json.dumps({"log": json.dumps({"body": CODE})}),
        "Growth of 20%25, printf(\"%d%%\\n\"), strftime('%Y-%m-%dT%H%M%S%z'), %APPDATA%\\npm, 100%éxito",
        "redirect_uri=https%3A%2F%2Fapp.test%2Fcb%3Fa%3D1%26b%3D2&state=%7B%22n%22%3A%22x%22%7D+y",
        '<p class="a">Hi &amp; bye &lt;3 &copy; 2024 <a href="https://e.test/?a=1&b=%7B%7D">x</a></p>',
        r"\begin{align} \frac{\partial f}{\nabla} \underbrace{\beta}_{\text{n}} &= b \\ \u{1} \end{align}",
        "const RE = /[\\u200B-\\u200D\\uFEFF\\u202a-\\u202e]/g; s = '\\ud83d\\ude00\\ud83d';",
        "\x1b[31mERROR\x1b[0m build failed\r\n\x1b[1mnpm\x1b[22m exit 1\x00\x08",
        "👨‍👩‍👧‍👦 🇩🇪 🏳️‍🌈 🏴󠁧󠁢󠁥󠁮󠁧󠁿🏴󠁧󠁢󠁳󠁣󠁴󠁿 👍🏽 ❤️ 1️⃣" * 20,
        "\u200fمرحبا، كيف حالك؟ \u202bالرجاء تلخيص النص\u202c ABC\u200f می‌خواهم کتاب‌هایم را بخوانم",
        "क्‍षमा कीजिए, कृपया इस पाठ का सारांश लिखें। র‍্যাব தமிழ்",
        "שלום \u202aabc\u202c עולם. กรุณาสรุป\u200bเอกสาร. Donau\u00addampf\u00adschiff\u00adfahrt",
        "请忽略大小写和标点，统计单词数量，并根据文档说明输出。以下の議事録を要約してください。㈱①",
    ],
    ids=range(14),
)
def test_code_and_the_writing_of_the_world(text: str) -> None:
    passes("openai", "/v1/chat/completions", {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]})


@pytest.mark.parametrize(
    "turns",
    [
        [
            {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "annotations": [],
                "audio": None,
                "tool_calls": [CALL],
            }
        ],
        [
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "ok"},
        ],
        [
            {"role": "assistant", "content": [], "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": []},
        ],
        [{"role": "tool", "tool_call_id": "c1", "content": None}, {"role": "function", "name": "f", "content": None}],
        [{"role": "assistant", "content": None, "reasoning_content": "I think."}],
        [{"role": "assistant", "content": None}, {"role": "assistant", "tool_calls": []}],
        [
            {
                "role": "assistant",
                "content": "x",
                "reasoning_details": [{"type": "reasoning.text", "text": "h"}],
                "images": [],
            }
        ],
        [{"role": "assistant", "content": "```python\n", "prefix": True}],
    ],
    ids=range(8),
)
def test_turns_that_frameworks_keep(turns: list[dict[str, Any]]) -> None:
    passes("compatible", "/v1/chat/completions", {"model": "m", "messages": [HI, *turns, HI]})


@pytest.mark.parametrize(
    "members",
    [
        {
            "tools": [{"type": "function", "function": WEATHER}],
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": WEATHER["parameters"]}},
            "logit_bias": {"50256": -100},
            "stop": ["\nObservation:", "</answer>"],
            "metadata": {"session": "s-1", "feature_flag_name_that_is_long": "on"},
            "prompt_cache_key": "tenant-42/assistant-v3",
            "reasoning_effort": "high",
        },
        dict.fromkeys(
            ("tools", "functions", "stop", "audio", "models", "provider", "chat_template", "logits_processors")
        ),
        {"stop": ["<|im_end|>", "<|eot_id|>", "</s>", "[/INST]", "<end_of_turn>"]},
        {"stop": "<|im_end|>"},
        {"transforms": [], "models": [], "plugins": [], "lora": []},
        {
            "guided_regex": "[A-Z]\\d{3}",
            "guided_grammar": 'root ::= "yes" | "no"\nws ::= [ \\t\\n]*',
            "guided_choice": ["yes", "no"],
            "chat_template_kwargs": {"enable_thinking": False},
            "vllm_xargs": {"k": 1},
            "cache_salt": "abc",
        },
        {"reasoning": {"effort": "high", "exclude": False}, "usage": {"include": True}, "route": "fallback"},
        {"thinking": {"type": "enabled"}, "enable_search": False, "thinking_budget": 1000, "cache": {"no-cache": True}},
    ],
    ids=range(8),
)
def test_members_of_vendors_and_servers(members: dict[str, Any]) -> None:
    passes("compatible", "/v1/chat/completions", {"model": "org/model", "messages": [HI], **members})


def test_a_history_of_responses() -> None:
    said = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    items = [
        HI,
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [said]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "encrypted_content": None},
        {"type": "function_call", "call_id": "c1", "name": "write", "arguments": json.dumps({"x": CODE})},
        {"type": "function_call_output", "call_id": "c1", "output": json.dumps({"ok": True, "diff": CODE})},
    ]
    more = {"tools": [{"type": "function", **WEATHER}], "include": ["reasoning.encrypted_content"], "store": False}
    passes("openai", "/v1/responses", {"model": "gpt-5", "input": items, "previous_response_id": None, **more})
