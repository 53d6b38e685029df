"""AWS Bedrock: Converse and Invoke of `bedrock-runtime`, plain and streamed, and the counting of tokens.

Rules of this file: the model is the one in the path. Ids are percent-encoded as botocore does it (`%3A`); an ARN
has a slash, which Envoy refuses in an escaped form, so models are named by id or by inference profile ("us.…").
Converse has one body for all models; Invoke has the model's own (`bedrock_models`).
Sources: the service model of `bedrock-runtime` in botocore,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..action import Action
from ..codes import ErrorCode
from ..decision import Decision, Reply
from ..request import AgentRequest, Refusal
from .answers import vendor_headers, vendor_message
from .base import LLM_CALL, Endpoint, Reading, Route
from .bedrock_converse import read_converse_body
from .bedrock_models import family_of
from .endpoints import Endpoints
from .headers import require_json
from .json import JsonError, encode_json, parse_json
from .media import MediaError, decode_base64
from .prompt import MAX_NODES, BodyError, Prompt, model_name, read_json
from .text import INNER, Place

_PROVIDER: Final = "bedrock"
_INPUT: Final = frozenset({"input"})
_ONE_OF: Final = frozenset({"converse", "invokeModel"})
_BODY: Final = frozenset({"body"})

_CONVERSE: Final = (
    "system, all turns with every kind of block, tools (those that AWS runs as `hosted:…`), the fields for one "
    "model alone; documents that are text are read, others and images are `content:media`, S3 locations and stored "
    "prompts `content:reference`"
)
_INVOKE: Final = (
    "the body of the model that the path names: Anthropic Claude, Amazon Nova, Titan text and embeddings, Meta "
    "Llama, Mistral, Cohere Command, Embed and Rerank"
)

# The error types of the service model, by status; boto3 raises `ClientError` with that code.
_ERROR_TYPE: Final[Mapping[int, str]] = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    405: "ValidationException",
    408: "ModelTimeoutException",
    413: "ValidationException",
    415: "ValidationException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}


class Bedrock:
    """The runtime of AWS Bedrock."""

    kind = "bedrock"
    title = "AWS Bedrock"
    endpoints: tuple[Endpoint, ...] = (
        Endpoint("POST", "/model/{model}/converse", "bedrock.converse", "`prompt:check`", _CONVERSE),
        Endpoint("POST", "/model/{model}/converse-stream", "bedrock.converse_stream", "`prompt:check`", "the same"),
        Endpoint(
            "POST",
            "/model/{model}/invoke",
            "bedrock.invoke",
            "`prompt:check`, `llm:embed` or `llm:rerank`, as the model is",
            _INVOKE,
        ),
        Endpoint(
            "POST",
            "/model/{model}/invoke-with-response-stream",
            "bedrock.invoke_stream",
            "`prompt:check`, `llm:embed` or `llm:rerank`, as the model is",
            "the same",
        ),
        Endpoint(
            "POST",
            "/model/{model}/count-tokens",
            "bedrock.count_tokens",
            "`llm:count`",
            "the body of Converse or Invoke in it",
            LLM_CALL,
        ),
    )
    refused: tuple[tuple[str, str], ...] = (
        ("models named by an ARN", "Envoy refuses an escaped slash in a path, which not every server reads alike"),
        ("Invoke of models of other makers", "which of their members are text, images or tools is not known"),
        ("blocks of an unknown kind, or with two members", "which of them another reader takes is not known"),
        ("bidirectional streams", "there is no body that could be read before it is sent on"),
        ("asynchronous calls", "they write what a model says to S3"),
        ("guardrails on their own (`apply`, checks)", "they are no call of a model"),
    )
    answers_itself = False

    def __init__(self) -> None:
        self._table: Final = Endpoints("model", self.endpoints)

    def route(self, request: AgentRequest) -> Route:
        """The endpoint. Raises `Refusal` for every other path, method or query, and for AWS's other protocols."""
        if "x-amz-target" in request.headers:
            raise Refusal(ErrorCode.BAD_REQUEST, "the header x-amz-target names another operation")
        return self._table.route(request)

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        """What the body asks for. Raises `Refusal`."""
        # Without one, Invoke takes the body for JSON; botocore sends none unless it is told to.
        if "content-type" in request.headers or "invoke" not in route.name:
            require_json(request.headers)
        model = route.parameters["model"]
        return read_json(body, lambda document: _read(route.name, model, document))

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        """An error as AWS sends it: the type in a header, the message in the body."""
        headers = {
            **vendor_headers(decision),
            "x-amzn-errortype": _ERROR_TYPE.get(decision.status, "InternalServerException"),
            "x-amzn-requestid": decision.request_id,
        }
        return Reply(decision.status, encode_json({"message": vendor_message(decision)}), headers)


def read_bedrock(document: dict[str, Any]) -> tuple[Action, ...]:
    """The actions of Converse, with the model as the member `model`. Raises `BodyError`."""
    prompt = Prompt(_PROVIDER, model_name(document.get("model")))
    body = {name: value for name, value in document.items() if name != "model"}
    return prompt.actions(max_tokens=read_converse_body(prompt, body, ()))


def _read(route: str, model: str, document: dict[str, Any]) -> tuple[Action, ...]:
    prompt = Prompt(_PROVIDER, model)
    stream = route.endswith("_stream")
    if route == "bedrock.count_tokens":
        _read_count(prompt, model, document)
        return prompt.actions("llm:count")
    if route.startswith("bedrock.converse"):
        return prompt.actions(stream=stream, max_tokens=read_converse_body(prompt, document, ()))
    family = family_of(model)
    limit = family.read(prompt, document, ())
    return prompt.actions(family.action, stream=stream, max_tokens=limit)


def _read_count(prompt: Prompt, model: str, document: dict[str, Any]) -> None:
    content = document.get("input")
    if type(content) is not dict or len(content) != 1:
        raise BodyError(("input",), "must be an object with one member, which says what it is")
    prompt.others(document, _INPUT, ())
    name, call = next(iter(content.items()))
    place: Place = ("input", name)
    if name not in _ONE_OF or type(call) is not dict:
        raise BodyError(place, "is no known kind of call")
    if name == "converse":
        read_converse_body(prompt, call, place)
        return
    prompt.others(call, _BODY, place)
    family_of(model).read(prompt, _inner(call.get("body"), (*place, "body")), (*place, "body", INNER))


def _inner(data: Any, place: Place) -> dict[str, Any]:
    """The body of Invoke, which is base64 inside of the body that counts its tokens."""
    if type(data) is not str:
        raise BodyError(place, "must be a string")
    try:
        body = parse_json(decode_base64(data), max_nodes=MAX_NODES)
    except (MediaError, JsonError) as error:
        raise BodyError(place, f"is not valid: {error}") from None
    if type(body) is not dict:
        raise BodyError(place, "must be a JSON object")
    return body
