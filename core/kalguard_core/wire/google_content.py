"""What a request to Google's models says: contents, parts, tools, instances. Gemini and Vertex AI share it.

Rules of this file: both spellings of each name are read (`google_json`); a member that no reader knows is scored,
and what names a file, a cache or a bucket is a reference. In a tool everything but function declarations runs at
Google's, also what this file has never heard of. Sources: https://ai.google.dev/api/generate-content,
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
"""

from __future__ import annotations

import re
from typing import Any, Final

from ..action import Action, Message
from ..codes import ErrorCode
from ..decision import Decision, Reply
from .answers import vendor_headers, vendor_message
from .batch import Batch
from .google_json import Fields, Members, folded
from .json import encode_json
from .prompt import BodyError, Prompt, model_name
from .text import NAME, Place, collect, shown

# Roles of contents; an empty one is the user's. "function" is what older clients call the answer of a tool.
_ROLES: Final = {
    "": "user",
    "user": "user",
    "model": "assistant",
    "function": "tool",
    "tool": "tool",
    "system": "system",
}

_REQUEST: Final = Fields(
    "model",
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "generationConfig",
    "cachedContent",
    "continuationToken",
    "safetySettings",
    "labels",
    "name",
    "displayName",
    # countTokens
    "generateContentRequest",
    "instances",
    # embedContent, batchEmbedContents
    "content",
    "requests",
    "taskType",
    "title",
)
_CONTENT: Final = Fields("role", "parts")
# What a part says about itself beside its content.
_ABOUT: Final = (
    "thought",
    "thoughtSignature",
    "videoMetadata",
    "mediaResolution",
    "mediaProcessing",
    "partMetadata",
    "audioTranscription",
    "audioMetadata",
    "speechMetadata",
    "documentMetadata",
    "spreadsheetMetadata",
)
_DATA: Final = (
    "text",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
)
_PART: Final = Fields("inlineData", "fileData", *_DATA, *_ABOUT)
_BLOB: Final = Fields("mimeType", "data", "displayName")
_FILE: Final = Fields("mimeType", "fileUri", "displayName")
_RESPONSE: Final = Fields("id", "name", "response", "parts")
_TOOL: Final = Fields("functionDeclarations", "retrieval", "mcpServers")
_FUNCTION: Final = Fields("name")
_RETRIEVAL: Final = Fields("externalApi")
_EXTERNAL: Final = Fields("endpoint")
_MCP: Final = Fields("streamableHttpTransport")
_TRANSPORT: Final = Fields("url")
_GENERATION: Final = Fields("maxOutputTokens", "continuationToken")
_PREDICT: Final = Fields("instances", "parameters", "labels", "model")
_PARAMETERS: Final = Fields()
_OPERATION: Final = Fields("operationName")
_BATCH: Final = Fields("batch")
_BATCH_JOB: Final = Fields("inputConfig", "model", "displayName", "name")
_BATCH_INPUT: Final = Fields("requests", "fileName")
_BATCH_REQUESTS: Final = Fields("requests")
_BATCH_REQUEST: Final = Fields("request", "metadata")

# The names that all vendors' tools share, by Google's (folded).
_HOSTED: Final = {
    "googlesearch": "web_search",
    "googlesearchretrieval": "web_search",
    "enterprisewebsearch": "web_search",
    "parallelaisearch": "web_search",
    "exaaisearch": "web_search",
    "googlemaps": "maps",
    "urlcontext": "url_context",
    "codeexecution": "code_interpreter",
    "computeruse": "computer_use",
    "filesearch": "file_search",
}

# Members (folded) of instances and configurations that hold bytes in base64.
_BYTES: Final = frozenset({"bytesbase64encoded", "voicesampleaudio", "consentaudio", "imagebytes", "videobytes"})
_SAID: Final = frozenset({"prompt", "content", "text"})
# What a deployed model would fetch, or take for the bytes of an image.
_FETCHED: Final = re.compile(r"(?:https?://|data:)\S+\Z", re.IGNORECASE)

_OWN_FILES: Final = (
    "https://generativelanguage.googleapis.com/v1beta/files/",
    "https://generativelanguage.googleapis.com/v1/files/",
)
_BUCKETS: Final = ("gs://", "s3://")
_URL_SCHEMES: Final = ("http", "https", "data")

# `error.status`: the names of gRPC codes, as Google's APIs map them to HTTP.
_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def google_reply(decision: Decision) -> Reply:
    """An error as Google's APIs send it: https://google.aip.dev/193."""
    status = decision.status
    headers = vendor_headers(decision)
    details: list[dict[str, Any]] = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "UNKNOWN" if decision.code is None else decision.code.value,
            "domain": "kalguard",
            "metadata": {"requestId": decision.request_id},
        }
    ]
    if "retry-after" in headers:
        details.append(
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{headers['retry-after']}s"}
        )
    error = {
        "code": status,
        "message": vendor_message(decision),
        "status": _STATUS.get(status, "PERMISSION_DENIED"),
        "details": details,
    }
    return Reply(status, encode_json({"error": error}), headers)


def read_generate(document: Any, prompt: Prompt, place: Place = ()) -> Members:
    """Gather a GenerateContentRequest. `prompt.model` is that of the path; None takes the body's.

    Raises `BodyError`.
    """
    members = _request(document, prompt, place)
    if prompt.message_count == 0:
        raise BodyError((*place, "contents"), "must be a list with at least one content")
    return members


def max_tokens(members: Members) -> int | None:
    """The limit of output tokens that a request names. Raises `BodyError`."""
    config = members.get("generationConfig")
    if config is None:
        return None
    return _GENERATION.read(config, members.place("generationConfig")).number("maxOutputTokens")


def read_count(document: dict[str, Any], prompt: Prompt) -> None:
    """Gather a CountTokensRequest, which may hold a whole GenerateContentRequest. Raises `BodyError`."""
    members = _request(document, prompt, (), "generateContentRequest")
    whole = members.get("generateContentRequest")
    if whole is not None:
        _request(whole, prompt, members.place("generateContentRequest"))


def read_embed(document: dict[str, Any], prompt: Prompt) -> None:
    """Gather an EmbedContentRequest, or a batch of them. Raises `BodyError`."""
    members = _request(document, prompt, (), "requests")
    for item, place in members.each("requests"):
        _request(item, prompt, place)
    if prompt.message_count == 0:
        raise BodyError(("content",), "is missing")


def read_cache(document: dict[str, Any], prompt: Prompt) -> None:
    """Gather a CachedContent that is to be kept or changed. Raises `BodyError`."""
    _request(document, prompt, ())


def read_predict(document: dict[str, Any], prompt: Prompt) -> None:
    """Gather a PredictRequest: instances and parameters as the model defines them. Raises `BodyError`."""
    members = _PREDICT.read(document, ())
    _same_model(members, prompt)
    instances = members.get("instances")
    if type(instances) is not list or not instances:
        raise BodyError(members.place("instances"), "must be a list with at least one instance")
    prompt.message_count = len(instances)
    read_values(instances, prompt, "user", members.place("instances"))
    parameters = members.get("parameters")
    if parameters is not None:
        _PARAMETERS.read(parameters, members.place("parameters"))
        read_values(parameters, prompt, "unread", members.place("parameters"))
    members.rest(prompt, "unread", "labels")
    members.leave(prompt)


def read_batch(document: dict[str, Any], provider: str, model: str | None) -> tuple[Action, ...]:
    """The actions of a BatchGenerateContentRequest: its own, and those of each request in it. Raises `BodyError`."""
    whole = Prompt(provider, model)
    batch = Batch()
    outer = _BATCH.read(document, ())
    job = _BATCH_JOB.read(outer.get("batch"), outer.place("batch"))
    _same_model(job, whole)
    given = _BATCH_INPUT.read(job.get("inputConfig"), job.place("inputConfig"))
    file_name = given.get("fileName")
    if file_name is not None:
        _refer(whole, "file", file_name, given.place("fileName"))
    if given.get("requests") is not None:
        requests = _BATCH_REQUESTS.read(given.get("requests"), given.place("requests"))
        for item, place in requests.each("requests"):
            element = _BATCH_REQUEST.read(item, place)
            prompt = Prompt(provider, model)
            members = read_generate(element.get("request"), prompt, element.place("request"))
            element.rest(prompt, "unread", "metadata")
            element.leave(prompt)
            batch.add(prompt.actions(max_tokens=max_tokens(members)), place, inside=False)
            whole.message_count += 1
        requests.leave(whole)
    if not whole.message_count and file_name is None:
        raise BodyError(job.place("inputConfig"), "holds no requests")
    given.leave(whole)
    job.rest(whole, "unread", "displayName", "name")
    job.leave(whole)
    outer.leave(whole)
    return (*whole.actions("llm:batch"), *batch.actions())


def read_operation(document: dict[str, Any], prompt: Prompt) -> None:
    """Gather a FetchPredictOperationRequest. Raises `BodyError`."""
    members = _OPERATION.read(document, ())
    _refer(prompt, "operation", members.get("operationName"), members.place("operationName"))
    members.leave(prompt)


def stored(provider: str, kind: str, identifier: str) -> tuple[Action, ...]:
    """The actions of a call about something that the vendor keeps; "*" for all of its kind."""
    prompt = Prompt(provider, None)
    prompt.refer(kind, identifier, (kind,))
    return prompt.actions(f"llm:{kind}")


def _request(document: Any, prompt: Prompt, place: Place, inner: str = "") -> Members:
    """Gather one request. `inner`: the member with further requests, which the caller reads."""
    members = _REQUEST.read(document, place)
    _same_model(members, prompt)
    instruction = members.get("systemInstruction")
    if instruction is not None:
        _content(instruction, prompt, members.place("systemInstruction"), "system")
    for item, where in members.each("contents"):
        _content(item, prompt, where, None)
        prompt.message_count += 1
    content = members.get("content")
    if content is not None:
        _content(content, prompt, members.place("content"), None)
        prompt.message_count += 1
    for item, where in members.each("tools"):
        _tool(item, prompt, where)
    cached = members.get("cachedContent")
    if cached not in (None, ""):
        _refer(prompt, "cache", cached, members.place("cachedContent"))
    _continuation(members, prompt)
    config = members.get("generationConfig")
    if config is not None:
        where = members.place("generationConfig")
        _continuation(_GENERATION.read(config, where), prompt)
        read_values(config, prompt, "unread", where)
    read_values(members.get("instances"), prompt, "user", members.place("instances"))
    for name in ("generateContentRequest", "requests"):
        if name != inner:
            members.rest(prompt, "unread", name)
    members.rest(prompt, "tool", "toolConfig")
    members.rest(prompt, "unread", "safetySettings", "labels", "name", "displayName", "taskType", "title")
    members.leave(prompt)
    return members


def _same_model(members: Members, prompt: Prompt) -> None:
    """A model in the body is that of the path, or the request means two of them."""
    value = members.text("model")
    if not value:
        return
    place = members.place("model")
    model = _short_name(model_name(value, place))
    if prompt.model is None:
        prompt.model = model
    elif model != prompt.model:
        raise BodyError(place, f"must be the model of the path, '{shown(prompt.model)}'")


def _short_name(model: str) -> str:
    """The name that a path would have: "gemini-pro" for models/gemini-pro, with or without project and publisher."""
    collection, _, name = model.rpartition("/")
    if collection == "models" or collection.endswith("publishers/google/models"):
        return name
    return f"endpoints/{name}" if collection.endswith("/endpoints") else model


def _content(value: Any, prompt: Prompt, place: Place, role: str | None) -> None:
    members = _CONTENT.read(value, place)
    named = members.text("role")
    if (named or "") not in _ROLES:
        raise BodyError(members.place("role"), f"'{shown(named or '')}' is not a known role")
    role = role or _ROLES[named or ""]
    for part, where in members.each("parts"):
        if type(part) is dict and len(part) == 1 and type(part.get("text")) is str:
            prompt.say(role, part["text"], (*where, "text"))  # as most are
        else:
            _part(part, prompt, role, where)
    members.leave(prompt)


def _part(value: Any, prompt: Prompt, role: str, place: Place) -> None:
    members = _PART.read(value, place)
    text = members.text("text")
    if text is not None:
        prompt.say(role, text, members.place("text"))
    _media(members, prompt)
    response = members.get("functionResponse")
    if response is not None:
        _function_response(response, prompt, members.place("functionResponse"))
    for name in ("executableCode", "codeExecutionResult", "toolResponse"):
        _say_all(prompt, "tool", members.get(name), members.place(name))
    members.rest(prompt, "tool", "functionCall", "toolCall")
    _about(members, prompt)


def _about(members: Members, prompt: Prompt) -> None:
    """What a part says beside its content. A kind of content that nobody here knows is refused."""
    members.rest(prompt, "unread", *_ABOUT)
    for value, where in members.unknown():
        if type(value) is dict or type(value) is list:
            raise BodyError(where, "is a kind of part that is not supported", ErrorCode.UNSUPPORTED_MEDIA_TYPE)
    members.leave(prompt)


def _media(members: Members, prompt: Prompt) -> None:
    """`inlineData` and `fileData` of a part."""
    blob = members.get("inlineData")
    if blob is not None:
        inline = _BLOB.read(blob, members.place("inlineData"))
        kind = inline.text("mimeType")
        prompt.attach(kind, inline.get("data"), inline.place("data"), name=inline.text("displayName"))
        inline.leave(prompt)
    file = members.get("fileData")
    if file is not None:
        stored_file = _FILE.read(file, members.place("fileData"))
        _file(prompt, stored_file.text("fileUri"), stored_file.place("fileUri"))
        stored_file.rest(prompt, "file", "mimeType", "displayName")
        stored_file.leave(prompt)


def _file(prompt: Prompt, uri: str | None, place: Place) -> None:
    if uri is None:
        raise BodyError(place, "is missing")
    for prefix in _OWN_FILES:
        name = uri.removeprefix(prefix)
        if name != uri and name.replace("-", "").isalnum():
            _refer(prompt, "file", name, place)
            return
    if uri.partition(":")[0].strip().lower() in _URL_SCHEMES:
        prompt.attach_url(uri, place)
        return
    _refer(prompt, "file", uri.removeprefix("files/"), place)


def _refer(prompt: Prompt, kind: str, identifier: Any, place: Place) -> None:
    prompt.refer(kind, identifier, place)
    prompt.rest("file", identifier, place)


def _continuation(members: Members, prompt: Prompt) -> None:
    """A token that goes on with a generation which the vendor keeps; it says nothing itself."""
    token = members.text("continuationToken")
    if token:
        prompt.refer("continuation", token[:64], members.place("continuationToken"))
        members.rest(prompt, "unread", "continuationToken")


def _function_response(value: Any, prompt: Prompt, place: Place) -> None:
    members = _RESPONSE.read(value, place)
    _say_all(prompt, "tool", members.get("response"), members.place("response"))
    for part, where in members.each("parts"):
        inner = _PART.read(part, where)
        _media(inner, prompt)
        inner.rest(prompt, "tool", *_DATA)
        _about(inner, prompt)
    members.rest(prompt, "tool", "id", "name")
    members.leave(prompt, "tool")


def _say_all(prompt: Prompt, role: str, value: Any, place: Place) -> None:
    """Every string in `value`, in its order, as a turn of `role`."""
    found: list[Message] = []
    collect(found, role, value, place)
    for message in found:
        prompt.say(role, message.text, message.where)


def _tool(value: Any, prompt: Prompt, place: Place) -> None:
    members = _TOOL.read(value, place)
    for declaration, where in members.each("functionDeclarations"):
        function = _FUNCTION.read(declaration, where)
        prompt.offer(function.text("name"))
        prompt.rest("tool", declaration, where)
    for server, where in members.each("mcpServers"):
        prompt.host("mcp", _arguments(server, where), where, url=_mcp_url(server, where))
    for key, member in value.items():
        if member is None or key in ("functionDeclarations", "function_declarations", "mcpServers", "mcp_servers"):
            continue
        # Whatever else a tool holds runs at Google's, known to us or not.
        where = (*place, key)
        url = _endpoint(member, where) if key == "retrieval" else None
        tool = _HOSTED.get(folded(key))
        prompt.host(tool or key, _arguments(member, where), where, url=url)
        if tool is None:
            prompt.rest("tool", key, (*where, NAME))


def _arguments(value: Any, place: Place) -> dict[str, Any]:
    if type(value) is not dict:
        raise BodyError(place, "must be an object")
    return value


def _mcp_url(server: Any, place: Place) -> Any:
    members = _MCP.read(server, place)
    for value, where in members.unknown():
        if type(value) is dict:
            raise BodyError(where, "is a transport that is not supported: where it leads is not known")
    transport = members.get("streamableHttpTransport")
    if transport is None:
        return None
    return _TRANSPORT.read(transport, members.place("streamableHttpTransport")).get("url")


def _endpoint(retrieval: Any, place: Place) -> Any:
    members = _RETRIEVAL.read(retrieval, place)
    external = members.get("externalApi")
    if external is None:
        return None
    return _EXTERNAL.read(external, members.place("externalApi")).get("endpoint")


def read_values(value: Any, prompt: Prompt, role: str, place: Place) -> None:
    """Gather a value without a schema of ours: prompts as turns, bytes as attachments, buckets as references.

    Raises `BodyError`.
    """
    if type(value) is str:
        _value(value, "", None, prompt, role, place)
        return
    waiting: list[tuple[Any, Place]] = [(value, place)]
    while waiting:
        container, where = waiting.pop()
        kind: Any = None
        members: Any = ()
        if type(container) is dict:
            prompt.others(dict.fromkeys(container), frozenset(container), where, role)
            members = container.items()
            kind = next((member for key, member in members if folded(key) == "mimetype"), None)
        elif type(container) is list:
            members = enumerate(container)
        inner: list[tuple[Any, Place]] = []
        for key, member in members:
            if type(member) is str:
                _value(member, key, kind, prompt, role, (*where, key))
            elif type(member) is dict or type(member) is list:
                inner.append((member, (*where, key)))
        waiting += reversed(inner)


def _value(text: str, key: Any, kind: Any, prompt: Prompt, role: str, place: Place) -> None:
    name = folded(key) if type(key) is str else ""
    if name in _BYTES or (name == "data" and kind is not None):
        prompt.attach(kind, text, place)
        return
    if text.lstrip()[:5].lower() in _BUCKETS:
        prompt.refer("file", text, place)
    if name in _SAID and role == "user":
        prompt.say(role, text, place)
    elif role == "user" and _FETCHED.match(text):
        prompt.attach_url(text, place)
    else:
        prompt.rest(role, text, place)
