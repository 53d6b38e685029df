"""What an honest agent sends passes under one ordinary rule, which allows the agent and names nothing."""

from __future__ import annotations

from typing import Any

import pytest

from kalguard_core.decision import Decision
from permissive_guard import decided, guard_by, token
from smuggling_cases import Case

RULE = "rules:\n  - {id: agent, match: {agentIds: [agent-1]}, decision: allow}\n"
SEALED = "EqQBCkYIBxgCKkB5sWfR0p2nX3vQ8mJ1cZ7Ld4uHyTgKeAbNqVoPiMxUwFsRtEj6"
HI = [{"role": "user", "content": "hi"}]
BLOCK = [{"role": "user", "content": [{"text": "hi"}]}]
PART = {"role": "user", "parts": [{"text": "hi"}]}
CODE = (
    '1\u2192re.sub(r"\\\\u([0-9a-f]{4})\\b", x)  # "C:\\new\\u1234", %s 100%% a%20b &lt;b&gt;&#39;\r\n\x1b[31m'
    "<system-reminder>\nthe list is empty\n</system-reminder>"
)
SHELL = (
    'Runs a command. Quote paths: cd "/a b" && pytest\ngit commit -m "$(cat <<\'EOF\'\nMessage\nEOF\n)"\n'
    "You MUST avoid `find` and `grep`. NEVER update the git config."
)
WORLD = "مرحبا \u200fשלום 👩🏽\u200d💻👨\u200d👩\u200d👧 می\u200cخواهم हिन्दी 日本語 naïve ½ a\u00adb c\u200bd"
SCHEMA = {"type": "object", "properties": {"command": {"type": "string", "description": "e.g. ls -la | grep x"}}}
TOOL = {"name": "Bash", "description": SHELL, "input_schema": SCHEMA}
FUNCTION = {"type": "function", "function": {"name": "f", "description": SHELL, "parameters": SCHEMA}}
MARK = {"cache_control": {"type": "ephemeral"}}
CLAUDE = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 32000,
    "system": [{"type": "text", "text": f"<example>\nuser: 2 + 2\nassistant: 4\n</example>\n{WORLD}", **MARK}],
    "tools": [TOOL, {**TOOL, "name": "mcp__github__delete_branch", **MARK}],
    "metadata": {"user_id": "user_" + "a1" * 32 + "_account_3f0c1c3e-1111-2222-3333-444455556666"},
    "thinking": {"type": "enabled", "budget_tokens": 31999},
    "context_management": {"edits": [{"type": "clear_tool_uses_20250919", "keep": {"type": "tool_uses", "value": 3}}]},
    "stop_sequences": ["\n\nHuman:", "</answer>"],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": CODE, **MARK}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "", "signature": SEALED},
                {"type": "redacted_thinking", "data": SEALED},
                {"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": "grep -rn x | head -5"}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": CODE}]}],
        },
    ],
}
GEMINI = {
    "contents": [
        PART,
        {
            "role": "model",
            "parts": [{"functionCall": {"name": "f", "args": {"text": "a", "Text": "b"}}, "thoughtSignature": SEALED}],
        },
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": CODE}}}]},
    ],
    "tools": [{"functionDeclarations": [{"name": "f", "description": SHELL, "parametersJsonSchema": SCHEMA}]}],
    "safetySettings": [{"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "threshold": "BLOCK_ONLY_HIGH"}],
    "generationConfig": {
        "responseSchema": {"type": "OBJECT", "properties": {"routingConfig": {"type": "STRING"}}},
        "stopSequences": ["<|im_end|>"],
        "topK": 40.0,
    },
}
CONVERSE = {
    "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}],
    "messages": [
        *BLOCK,
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "hmm", "signature": SEALED}}},
                {"reasoningContent": {"redactedContent": SEALED}},
                {"toolUse": {"toolUseId": "t", "name": "f", "input": {"q": "50% a+b"}}},
            ],
        },
        {
            "role": "user",
            "content": [{"toolResult": {"toolUseId": "t", "content": [{"json": {"d": CODE}}, {"text": CODE}]}}],
        },
    ],
    "toolConfig": {"tools": [{"toolSpec": {"name": "f", "description": SHELL, "inputSchema": {"json": SCHEMA}}}]},
    "inferenceConfig": {"maxTokens": 9, "stopSequences": ["<|eot_id|>"]},
    "guardrailConfig": {"guardrailIdentifier": "gr", "guardrailVersion": "1"},
    "additionalModelRequestFields": {"top_k": 5, "anthropic_beta": ["interleaved-thinking-2025-05-14"]},
}
COHERE = {
    "model": "command-a",
    "messages": [
        *HI,
        {"role": "assistant", "tool_plan": "I search.", "tool_calls": [{"id": "s", "type": "function"}]},
        {"role": "tool", "tool_call_id": "s", "content": [{"type": "document", "document": {"data": '{"a": "b"}'}}]},
    ],
    "documents": [{"id": "d", "data": {"text": WORLD}}, "plain"],
    "citation_options": {"mode": "ACCURATE"},
    "tools": [FUNCTION],
    "raw_prompting": False,
}
OLLAMA = {
    "model": "qwen3:8b",
    "messages": [
        {**HI[0], "images": [], "tool_calls": []},
        {
            "role": "assistant",
            "content": "",
            "thinking": "hm",
            "tool_calls": [{"function": {"name": "f", "arguments": {}}}],
        },
        {"role": "tool", "content": CODE, "tool_name": "f"},
    ],
    "tools": [FUNCTION],
    "format": SCHEMA,
    "options": {"num_predict": -1, "mirostat": None, "stop": ["<|im_start|>", "<|im_end|>", "[INST]"]},
    "keep_alive": "5m",
    "think": "high",
}
LLAMA_4 = "<|begin_of_text|><|header_start|>user<|header_end|>\n\nhi<|eot|><|header_start|>assistant<|header_end|>\n\n"
INVOKE = {"anthropic_version": "bedrock-2023-05-31", **{name: CLAUDE[name] for name in CLAUDE if name != "model"}}
REASONING = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": f"gAAAAA{SEALED}=="}

Row = tuple[str, str, dict[str, Any]]
REQUESTS: list[Row] = [
    ("anthropic", "/v1/messages?beta=true", CLAUDE),
    ("anthropic", "/v1/messages/count_tokens", CLAUDE),
    ("anthropic", "/v1/messages/batches", {"requests": [{"custom_id": f"r{n}", "params": CLAUDE} for n in range(9)]}),
    ("bedrock", "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse", CONVERSE),
    ("bedrock", "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke", INVOKE),
    ("bedrock", "/model/us.meta.llama4-scout-17b-instruct-v1%3A0/invoke", {"prompt": LLAMA_4, "max_gen_len": 9}),
    ("bedrock", "/model/us.amazon.nova-pro-v1%3A0/invoke", {"schemaVersion": "messages-v1", "messages": BLOCK}),
    (
        "bedrock",
        "/model/mistral.mistral-7b-instruct-v0%3A2/invoke",
        {"prompt": "<s>[INST] hi [/INST]", "stop": ["</s>"]},
    ),
    ("bedrock", "/model/amazon.titan-text-express-v1/invoke", {"inputText": "User: hi\nBot:"}),
    ("cohere", "/v2/chat", COHERE),
    ("cohere", "/v1/chat", {"message": "hi", "chat_history": [{"role": "Chatbot", "message": "hello"}]}),
    ("gemini", "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", GEMINI),
    ("vertex", "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:generateContent", GEMINI),
    ("vertex", "/v1/projects/p/locations/l/publishers/anthropic/models/claude-x@1:rawPredict", INVOKE),
    ("ollama", "/api/chat", OLLAMA),
    ("ollama", "/api/generate", {"model": "m", "prompt": "def f(", "template": "", "raw": False, "context": []}),
    (
        "openai",
        "/v1/responses",
        {"model": "o4", "store": False, "input": [REASONING, {"role": "user", "content": "hi"}]},
    ),
]


def sent(kind: str, path: str, body: Any) -> Decision:
    request = Case(id="honest", kind=kind, path=path, body=body).request("", token())
    return decided(request, guard_by(RULE, "tools: {}"))


@pytest.mark.parametrize(("kind", "path", "body"), REQUESTS, ids=[f"{kind}{path}" for kind, path, _ in REQUESTS])
def test_an_ordinary_request_passes_under_an_ordinary_rule(kind: str, path: str, body: dict[str, Any]) -> None:
    decision = sent(kind, path, body)
    assert decision.allowed, f"{decision.code}: {decision.reason} ({decision.detail})"


@pytest.mark.parametrize(
    "options",
    [
        {"stop": ["<|im_end|>", "ignore all previous instructions"]},
        {"stop": ["<|im_start|>system"]},
        {"stop_at": ["<|im_end|>"]},
    ],
)
def test_only_a_mark_by_itself_may_end_what_a_model_says(options: dict[str, Any]) -> None:
    assert not sent("ollama", "/api/chat", {"model": "m", "messages": HI, "options": options}).allowed
