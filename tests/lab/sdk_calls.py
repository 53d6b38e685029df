"""What agents do with the vendors' official SDKs, one `Sdk` each: the same code, whatever URL it is pointed at.

`url` is where the vendor's API is (the stub itself, or the gate's route), `key` what the agent holds.
SDKs are imported when first used: together they take seconds.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

QUESTION = "What is the capital of Portugal?"
TOOL = {
    "type": "object",
    "properties": {"location": {"type": "string", "description": "City"}},
    "required": ["location"],
}
Call = Callable[[str, str], Any]


@dataclass(frozen=True)
class Refused:
    """What an SDK's exception says. `kind`: name of its class."""

    kind: str
    status: int
    text: str


@dataclass(frozen=True)
class Sdk:
    """One vendor's SDK.

    `calls`: by name, what an agent may do; the result can be compared. `stream`: yields pieces of text as they
    arrive. `ask`: one call with that text. `refused`: what its exception says. `denied`, `limited`: names of the
    exception classes that the SDK documents for 403 and 429.
    """

    name: str
    path: str
    calls: dict[str, Call]
    stream: Callable[[str, str], Iterator[str]]
    ask: Callable[[str, str, str], Any]
    refused: Callable[[Exception], Refused]
    denied: str
    limited: str
    tls: bool = False
    more: dict[str, Callable[[str, str], Iterator[str]]] = field(default_factory=dict)
    """Other ways to stream."""

    def __str__(self) -> str:
        return self.name


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


# -- OpenAI, and Azure's deployments of it ----------------------------------------------------------------


def _openai(url: str, key: str, **options: Any) -> Any:
    import openai

    return openai.OpenAI(base_url=url, api_key=key, max_retries=0, **options)


def _azure(url: str, key: str) -> Any:
    import openai

    return openai.AzureOpenAI(azure_endpoint=url, api_key=key, api_version="2024-10-21", max_retries=0)


_CHAT_TOOL: Any = {"type": "function", "function": {"name": "get_weather", "description": "It", "parameters": TOOL}}


def _ask_openai(make: Callable[[str, str], Any], text: str) -> Call:
    def ask(url: str, key: str) -> Any:
        with make(url, key) as client:
            return _plain(client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}]))

    return ask


def _openai_tools(make: Callable[[str, str], Any]) -> Call:
    def tools(url: str, key: str) -> Any:
        messages: list[Any] = [{"role": "user", "content": "How is the weather in Lisbon?"}]
        with make(url, key) as client:
            first = client.chat.completions.create(model="gpt-4o", messages=messages, tools=[_CHAT_TOOL])
            call = first.choices[0].message
            messages += [
                call.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": call.tool_calls[0].id, "content": '{"sky": "clear"}'},
            ]
            second = client.chat.completions.create(model="gpt-4o", messages=messages, tools=[_CHAT_TOOL])
        return _plain(first), _plain(second)

    return tools


def _openai_stream(make: Callable[[str, str], Any]) -> Callable[[str, str], Iterator[str]]:
    def stream(url: str, key: str) -> Iterator[str]:
        with make(url, key) as client:
            messages: list[Any] = [{"role": "user", "content": QUESTION}]
            for chunk in client.chat.completions.create(model="gpt-4o", messages=messages, stream=True):
                if chunk.choices and chunk.choices[0].delta.content:
                    yield chunk.choices[0].delta.content

    return stream


def _openai_responses(url: str, key: str) -> Any:
    with _openai(url, key) as client:
        items: Any = [{"role": "user", "content": [{"type": "input_text", "text": QUESTION}]}]
        tool: Any = {"type": "function", "name": "get_weather", "parameters": TOOL, "strict": False}
        return _plain(client.responses.create(model="gpt-4o", instructions="Be brief.", input=items, tools=[tool]))


def _openai_responses_stream(url: str, key: str) -> Iterator[str]:
    with _openai(url, key) as client:
        for event in client.responses.create(model="gpt-4o", input=QUESTION, stream=True):
            if event.type == "response.created":
                yield ""
            if event.type == "response.output_text.delta":
                yield event.delta


def _openai_embeddings(url: str, key: str) -> Any:
    with _openai(url, key) as client:
        return _plain(client.embeddings.create(model="text-embedding-3-small", input=["one text", "another"]))


def _openai_models(url: str, key: str) -> Any:
    with _openai(url, key) as client:
        return [_plain(model) for model in client.models.list()]


def _openai_async(url: str, key: str) -> Any:
    import openai

    async def both() -> Any:
        async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:
            messages: Any = [{"role": "user", "content": QUESTION}]
            whole = await client.chat.completions.create(model="gpt-4o", messages=messages)
            stream = await client.chat.completions.create(model="gpt-4o", messages=messages, stream=True)
            parts = [_plain(chunk) async for chunk in stream]
        return _plain(whole), parts

    return asyncio.run(both())


def _openai_refused(error: Exception) -> Refused:
    status = getattr(error, "status_code", 0)
    return Refused(type(error).__name__, status, str(error))


# -- Anthropic ---------------------------------------------------------------------------------------------


def _anthropic(url: str, key: str) -> Any:
    import anthropic

    return anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)


def _ask_anthropic(url: str, key: str, text: str = QUESTION) -> Any:
    messages: Any = [{"role": "user", "content": text}]
    with _anthropic(url, key) as client:
        return _plain(client.messages.create(model="claude-x", max_tokens=64, system="Be brief.", messages=messages))


def _anthropic_tools(url: str, key: str) -> Any:
    tool: Any = {"name": "get_weather", "description": "It", "input_schema": TOOL}
    messages: list[Any] = [{"role": "user", "content": "How is the weather in Lisbon?"}]
    with _anthropic(url, key) as client:
        first = client.messages.create(model="claude-x", max_tokens=64, tools=[tool], messages=messages)
        call = first.content[0]
        messages += [
            {"role": "assistant", "content": [call.model_dump(exclude_none=True)]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "clear sky"}]},
        ]
        second = client.messages.create(model="claude-x", max_tokens=64, tools=[tool], messages=messages)
    return _plain(first), _plain(second)


def _anthropic_count(url: str, key: str) -> Any:
    messages: Any = [{"role": "user", "content": QUESTION}]
    with _anthropic(url, key) as client:
        return _plain(client.messages.count_tokens(model="claude-x", messages=messages))


def _anthropic_stream(url: str, key: str) -> Iterator[str]:
    messages: Any = [{"role": "user", "content": QUESTION}]
    with _anthropic(url, key) as client:
        for event in client.messages.create(model="claude-x", max_tokens=64, messages=messages, stream=True):
            if event.type == "content_block_delta":
                yield event.delta.text
            elif event.type == "message_start":
                yield ""


# -- Google ------------------------------------------------------------------------------------------------


def _gemini(url: str, key: str) -> Any:
    from google import genai

    return genai.Client(api_key=key, http_options=genai.types.HttpOptions(base_url=url))


def _ask_gemini(url: str, key: str, text: str = QUESTION) -> Any:
    client = _gemini(url, key)  # it closes its connections when it is collected, so it must have a name
    answer = _plain(client.models.generate_content(model="gemini-x", contents=text))
    return answer | {"sdk_http_response": None}  # whose headers hold a date


def _gemini_tools(url: str, key: str) -> Any:
    from google.genai import types

    function = types.FunctionDeclaration(name="get_weather", description="It", parameters_json_schema=TOOL)
    config = types.GenerateContentConfig(
        system_instruction="Be brief.", tools=[types.Tool(function_declarations=[function])]
    )
    client = _gemini(url, key)
    answer = client.models.generate_content(model="gemini-x", contents=QUESTION, config=config)
    return [_plain(call) for call in answer.function_calls]


def _gemini_embed(url: str, key: str) -> Any:
    client = _gemini(url, key)
    answer = client.models.embed_content(model="gemini-embedding", contents="one text")
    return [each.values for each in answer.embeddings]


def _gemini_count(url: str, key: str) -> Any:
    client = _gemini(url, key)
    return client.models.count_tokens(model="gemini-x", contents=QUESTION).total_tokens


def _gemini_stream(url: str, key: str) -> Iterator[str]:
    client = _gemini(url, key)
    for chunk in client.models.generate_content_stream(model="gemini-x", contents=QUESTION):
        yield chunk.text


def _vertex(url: str, key: str) -> Any:
    from google import genai
    from google.oauth2.credentials import Credentials

    return genai.Client(
        vertexai=True,
        project="project-1",
        location="us-central1",
        credentials=Credentials(token=key),  # type: ignore[no-untyped-call]
        http_options=genai.types.HttpOptions(base_url=url),
    )


def _ask_vertex(url: str, key: str, text: str = QUESTION) -> Any:
    client = _vertex(url, key)
    answer = _plain(client.models.generate_content(model="gemini-x", contents=text))
    return answer | {"sdk_http_response": None}


def _vertex_stream(url: str, key: str) -> Iterator[str]:
    client = _vertex(url, key)
    for chunk in client.models.generate_content_stream(model="gemini-x", contents=QUESTION):
        yield chunk.text


def _gemini_refused(error: Exception) -> Refused:
    return Refused(type(error).__name__, getattr(error, "code", 0), str(error))


# -- AWS Bedrock -------------------------------------------------------------------------------------------


@contextmanager
def _bedrock(url: str, key: str) -> Iterator[Any]:
    import boto3
    from botocore.config import Config

    # The variable is the only way to hand a bearer token to the SDK.
    os.environ["AWS_BEARER_TOKEN_BEDROCK"] = key
    try:
        config = Config(retries={"total_max_attempts": 1}, read_timeout=30)
        client = boto3.client(
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=url,
            config=config,
            verify=os.environ["KALGUARD_TEST_CA"],
        )
        yield client
        client.close()
    finally:
        del os.environ["AWS_BEARER_TOKEN_BEDROCK"]


_BEDROCK_MODEL = "anthropic.claude-3-haiku-20240307-v1:0"


def _ask_bedrock(url: str, key: str, text: str = QUESTION) -> Any:
    with _bedrock(url, key) as client:
        answer = client.converse(
            modelId=_BEDROCK_MODEL,
            system=[{"text": "Be brief."}],
            messages=[{"role": "user", "content": [{"text": text}]}],
        )
    return answer["output"], answer["usage"]


def _bedrock_tools(url: str, key: str) -> Any:
    spec = {"name": "get_weather", "description": "It", "inputSchema": {"json": TOOL}}
    use = {"toolUseId": "t1", "name": "get_weather", "input": {"location": "Lisbon"}}
    result = {"toolUseId": "t1", "content": [{"json": {"sky": "clear"}}]}
    with _bedrock(url, key) as client:
        answer = client.converse(
            modelId=_BEDROCK_MODEL,
            messages=[
                {"role": "user", "content": [{"text": QUESTION}]},
                {"role": "assistant", "content": [{"toolUse": use}]},
                {"role": "user", "content": [{"toolResult": result}]},
            ],
            toolConfig={"tools": [{"toolSpec": spec}]},
        )
    return answer["output"]


def _invoke_body() -> bytes:
    import json

    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 64}
    return json.dumps({**body, "messages": [{"role": "user", "content": QUESTION}]}).encode()


def _bedrock_invoke(url: str, key: str) -> Any:
    with _bedrock(url, key) as client:
        return client.invoke_model(modelId=_BEDROCK_MODEL, body=_invoke_body())["body"].read()


def _bedrock_stream(url: str, key: str) -> Iterator[str]:
    with _bedrock(url, key) as client:
        answer = client.converse_stream(
            modelId=_BEDROCK_MODEL, messages=[{"role": "user", "content": [{"text": QUESTION}]}]
        )
        for event in answer["stream"]:
            if "messageStart" in event:
                yield ""
            if "contentBlockDelta" in event:
                yield event["contentBlockDelta"]["delta"]["text"]


def _bedrock_invoke_stream(url: str, key: str) -> Iterator[str]:
    import json

    with _bedrock(url, key) as client:
        answer = client.invoke_model_with_response_stream(modelId=_BEDROCK_MODEL, body=_invoke_body())
        for event in answer["body"]:
            chunk = json.loads(event["chunk"]["bytes"])
            if chunk["type"] == "message_start":
                yield ""
            if chunk["type"] == "content_block_delta":
                yield chunk["delta"]["text"]


def _bedrock_refused(error: Exception) -> Refused:
    response = getattr(error, "response", {})
    return Refused(response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], str(error))


# -- Ollama ------------------------------------------------------------------------------------------------


def _ollama(url: str, key: str) -> Any:
    import ollama

    return ollama.Client(host=url, headers={"authorization": f"Bearer {key}"})


def _ask_ollama(url: str, key: str, text: str = QUESTION) -> Any:
    return _plain(_ollama(url, key).chat(model="llama3", messages=[{"role": "user", "content": text}]))


def _ollama_generate(url: str, key: str) -> Any:
    return _plain(_ollama(url, key).generate(model="llama3", prompt=QUESTION, system="Be brief."))


def _ollama_embed(url: str, key: str) -> Any:
    return _plain(_ollama(url, key).embed(model="nomic", input=["one text", "another"]))


def _ollama_tools(url: str, key: str) -> Any:
    messages: list[Any] = [{"role": "user", "content": "How is the weather in Lisbon?"}]
    first = _ollama(url, key).chat(model="llama3", messages=messages, tools=[_CHAT_TOOL])
    messages += [first.message, {"role": "tool", "tool_name": "get_weather", "content": "clear sky"}]
    second = _ollama(url, key).chat(model="llama3", messages=messages, tools=[_CHAT_TOOL])
    return _plain(first), _plain(second)


def _ollama_stream(url: str, key: str) -> Iterator[str]:
    client = _ollama(url, key)
    for part in client.chat(model="llama3", messages=[{"role": "user", "content": QUESTION}], stream=True):
        yield part.message.content


def _ollama_refused(error: Exception) -> Refused:
    return Refused(type(error).__name__, getattr(error, "status_code", 0), str(error))


# -- Cohere ------------------------------------------------------------------------------------------------


def _cohere(url: str, key: str) -> Any:
    import cohere

    return cohere.ClientV2(api_key=key, base_url=url, max_retries=0)


def _ask_cohere(url: str, key: str, text: str = QUESTION) -> Any:
    import cohere

    return _plain(
        _cohere(url, key).chat(model="command-r", messages=[cohere.UserChatMessageV2(role="user", content=text)])
    )


def _cohere_tools(url: str, key: str) -> Any:
    messages: list[Any] = [{"role": "user", "content": "How is the weather in Lisbon?"}]
    first = _cohere(url, key).chat(model="command-r", messages=messages, tools=[_CHAT_TOOL])
    messages += [
        {"role": "assistant", "tool_plan": "ask", "tool_calls": first.message.tool_calls},
        {"role": "tool", "tool_call_id": "c1", "content": "clear sky"},
    ]
    second = _cohere(url, key).chat(model="command-r", messages=messages, tools=[_CHAT_TOOL])
    return _plain(first), _plain(second)


def _cohere_embed(url: str, key: str) -> Any:
    answer = _cohere(url, key).embed(
        model="embed-v4.0", texts=["one text"], input_type="search_query", embedding_types=["float"]
    )
    return _plain(answer)


def _cohere_stream(url: str, key: str) -> Iterator[str]:
    client = _cohere(url, key)
    for event in client.chat_stream(model="command-r", messages=[{"role": "user", "content": QUESTION}]):
        if event.type == "message-start":
            yield ""
        if event.type == "content-delta":
            yield event.delta.message.content.text


# -- Mistral -----------------------------------------------------------------------------------------------


@contextmanager
def _mistral(url: str, key: str) -> Iterator[Any]:
    from mistralai.client import Mistral

    with Mistral(api_key=key, server_url=url) as client:
        yield client


def _ask_mistral(url: str, key: str, text: str = QUESTION) -> Any:
    with _mistral(url, key) as client:
        return _plain(client.chat.complete(model="mistral-small", messages=[{"role": "user", "content": text}]))


def _mistral_tools(url: str, key: str) -> Any:
    messages: list[Any] = [{"role": "user", "content": "How is the weather in Lisbon?"}]
    with _mistral(url, key) as client:
        first = client.chat.complete(model="mistral-small", messages=messages, tools=[_CHAT_TOOL])
        messages += [
            first.choices[0].message,
            {"role": "tool", "tool_call_id": "call_1", "name": "get_weather", "content": "clear sky"},
        ]
        second = client.chat.complete(model="mistral-small", messages=messages, tools=[_CHAT_TOOL])
    return _plain(first), _plain(second)


def _mistral_embed(url: str, key: str) -> Any:
    with _mistral(url, key) as client:
        return _plain(client.embeddings.create(model="mistral-embed", inputs=["one text", "another"]))


def _mistral_stream(url: str, key: str) -> Iterator[str]:
    with _mistral(url, key) as client:
        messages = [{"role": "user", "content": QUESTION}]
        for event in client.chat.stream(model="mistral-small", messages=messages):
            content = event.data.choices[0].delta.content
            if content:
                yield content


SDKS = (
    Sdk(
        "openai",
        "/openai/v1",
        {
            "chat": _ask_openai(_openai, QUESTION),
            "tools": _openai_tools(_openai),
            "responses": _openai_responses,
            "embeddings": _openai_embeddings,
            "models": _openai_models,
            "async": _openai_async,
        },
        _openai_stream(_openai),
        lambda url, key, text: _ask_openai(_openai, text)(url, key),
        _openai_refused,
        "PermissionDeniedError",
        "RateLimitError",
        more={"responses": _openai_responses_stream},
    ),
    Sdk(
        "azure",
        "/azure",
        {"chat": _ask_openai(_azure, QUESTION), "tools": _openai_tools(_azure)},
        _openai_stream(_azure),
        lambda url, key, text: _ask_openai(_azure, text)(url, key),
        _openai_refused,
        "PermissionDeniedError",
        "RateLimitError",
    ),
    Sdk(
        "compatible",
        "/compatible/v1",
        {"chat": _ask_openai(_openai, QUESTION)},
        _openai_stream(_openai),
        lambda url, key, text: _ask_openai(_openai, text)(url, key),
        _openai_refused,
        "PermissionDeniedError",
        "RateLimitError",
    ),
    Sdk(
        "anthropic",
        "/anthropic",
        {"messages": _ask_anthropic, "tools": _anthropic_tools, "count": _anthropic_count},
        _anthropic_stream,
        _ask_anthropic,
        _openai_refused,
        "PermissionDeniedError",
        "RateLimitError",
    ),
    Sdk(
        "gemini",
        "/gemini",
        {"generate": _ask_gemini, "tools": _gemini_tools, "embed": _gemini_embed, "count": _gemini_count},
        _gemini_stream,
        _ask_gemini,
        _gemini_refused,
        "ClientError",
        "ClientError",
    ),
    Sdk(
        "vertex",
        "/vertex",
        {"generate": _ask_vertex},
        _vertex_stream,
        _ask_vertex,
        _gemini_refused,
        "ClientError",
        "ClientError",
    ),
    Sdk(
        "bedrock",
        "/bedrock",
        {"converse": _ask_bedrock, "tools": _bedrock_tools, "invoke": _bedrock_invoke},
        _bedrock_stream,
        _ask_bedrock,
        _bedrock_refused,
        "AccessDeniedException",
        "ThrottlingException",
        tls=True,
        more={"invoke": _bedrock_invoke_stream},
    ),
    Sdk(
        "ollama",
        "/ollama",
        {"chat": _ask_ollama, "generate": _ollama_generate, "embed": _ollama_embed, "tools": _ollama_tools},
        _ollama_stream,
        _ask_ollama,
        _ollama_refused,
        "ResponseError",
        "ResponseError",
    ),
    Sdk(
        "cohere",
        "/cohere",
        {"chat": _ask_cohere, "tools": _cohere_tools, "embed": _cohere_embed},
        _cohere_stream,
        _ask_cohere,
        _openai_refused,
        "ForbiddenError",
        "TooManyRequestsError",
    ),
    Sdk(
        "mistral",
        "/mistral",
        {"chat": _ask_mistral, "tools": _mistral_tools, "embed": _mistral_embed},
        _mistral_stream,
        _ask_mistral,
        _openai_refused,
        "SDKError",
        "SDKError",
    ),
)
