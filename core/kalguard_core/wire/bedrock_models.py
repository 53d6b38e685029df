"""The bodies that AWS Bedrock's Invoke hands on to a model as they are: each maker of models has its own.

Rules of this file: which reader a body gets says the model in the path, never the body; a model that is not known
here is refused, since nobody can say which of its members are text, images or tools.
Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from ..codes import PROMPT_CHECK, ErrorCode
from .anthropic_messages import read_complete_body, read_messages_body
from .bedrock_converse import read_converse_body
from .cohere_chat import read_chat, read_embed, read_functions, read_generate, read_old_chat, read_rerank, read_turns
from .members import limit, string
from .prompt import BodyError, Prompt
from .templates import say_template
from .text import Place, shown

Body = dict[str, Any]
_Reader = Callable[[Prompt, Body, Place], int | None]

# Makers whose models can be invoked; a model has the name of its maker before the first dot.
_MAKERS: Final = frozenset({"amazon", "anthropic", "cohere", "meta", "mistral"})
_REGION_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz-")

_LLAMA: Final = frozenset({"prompt", "images", "max_gen_len"})
_TITAN: Final = frozenset({"inputText", "textGenerationConfig"})
_TITAN_CONFIG: Final = frozenset({"maxTokenCount"})
_TITAN_EMBED: Final = frozenset({"inputText", "inputImage"})
_MISTRAL: Final = frozenset({"prompt", "messages", "tools", "max_tokens"})


class Family(Struct, frozen=True):
    """Models with one kind of body. `action`: what a call is; `read`: gathers the body, answers its limit."""

    action: str
    read: _Reader


def family_of(model: str) -> Family:
    """The family of a model id ("us.anthropic.claude-3-5-sonnet-20240620-v1:0"). Raises `BodyError`."""
    first, _, rest = model.partition(".")
    if first not in _MAKERS and 0 < len(first) <= 8 and _REGION_LETTERS.issuperset(first):
        first, _, rest = rest.partition(".")  # a region that is sent to: "us", "apac", "us-gov"
    name = f"{first}.{rest}"
    for prefix, family in _FAMILIES:
        if name.startswith(prefix):
            return family
    raise BodyError(
        (),
        f"the model {shown(model)} cannot be invoked: how its body is to be read is not known (use Converse)",
        ErrorCode.POLICY_DENY,
    )


def _refuse_model(body: Body, place: Place) -> None:
    for name in ("model", "stream"):
        if body.get(name) is not None:
            raise BodyError((*place, name), "is not accepted: the path says it")


def _anthropic(prompt: Prompt, body: Body, place: Place) -> int | None:
    _refuse_model(body, place)
    if "messages" in body:
        read_messages_body(prompt, body, place)
        return limit(body, "max_tokens", place)
    read_complete_body(prompt, body, place)
    return limit(body, "max_tokens_to_sample", place)


def _llama(prompt: Prompt, body: Body, place: Place) -> int | None:
    say_template(prompt, string(body, "prompt", place), (*place, "prompt"))
    images = body.get("images")
    if images is not None:
        if type(images) is not list:
            raise BodyError((*place, "images"), "must be a list")
        for index, image in enumerate(images):
            prompt.attach(None, image, (*place, "images", index))
    prompt.others(body, _LLAMA, place)
    return limit(body, "max_gen_len", place)


def _titan(prompt: Prompt, body: Body, place: Place) -> int | None:
    prompt.say("user", string(body, "inputText", place), (*place, "inputText"))
    prompt.message_count += 1
    prompt.others(body, _TITAN, place)
    config = body.get("textGenerationConfig")
    if config is None:
        return None
    here = (*place, "textGenerationConfig")
    if type(config) is not dict:
        raise BodyError(here, "must be an object")
    prompt.others(config, _TITAN_CONFIG, here)
    return limit(config, "maxTokenCount", here)


def _titan_embed(prompt: Prompt, body: Body, place: Place) -> int | None:
    if body.get("inputText") is not None:
        prompt.say("user", string(body, "inputText", place), (*place, "inputText"))
    if body.get("inputImage") is not None:
        prompt.attach(None, body["inputImage"], (*place, "inputImage"))
    prompt.others(body, _TITAN_EMBED, place)
    return None


def _mistral(prompt: Prompt, body: Body, place: Place) -> int | None:
    _refuse_model(body, place)
    if body.get("messages") is not None:
        read_turns(prompt, body["messages"], (*place, "messages"))
    if body.get("prompt") is not None:
        say_template(prompt, string(body, "prompt", place), (*place, "prompt"))
    if not prompt.message_count:
        raise BodyError((*place, "prompt"), "is missing")
    read_functions(prompt, body.get("tools"), (*place, "tools"))
    prompt.others(body, _MISTRAL, place)
    return limit(body, "max_tokens", place)


def _cohere(prompt: Prompt, body: Body, place: Place) -> int | None:
    _refuse_model(body, place)
    if "messages" in body:
        read_chat(prompt, body, place)
    elif "message" in body:
        read_old_chat(prompt, body, place)
    else:
        read_generate(prompt, body, place)
    return limit(body, "max_tokens", place)


def _cohere_embed(prompt: Prompt, body: Body, place: Place) -> int | None:
    _refuse_model(body, place)
    read_embed(prompt, body, place)
    return None


def _cohere_rerank(prompt: Prompt, body: Body, place: Place) -> int | None:
    _refuse_model(body, place)
    read_rerank(prompt, body, place)
    return None


_NOVA: Final = Family(PROMPT_CHECK, read_converse_body)
_FAMILIES: Final[tuple[tuple[str, Family], ...]] = (
    ("anthropic.claude-", Family(PROMPT_CHECK, _anthropic)),
    ("amazon.nova-micro-", _NOVA),
    ("amazon.nova-lite-", _NOVA),
    ("amazon.nova-pro-", _NOVA),
    ("amazon.nova-premier-", _NOVA),
    ("amazon.nova-2-lite-", _NOVA),
    ("amazon.nova-2-pro-", _NOVA),
    ("amazon.titan-text-", Family(PROMPT_CHECK, _titan)),
    ("amazon.titan-embed-", Family("llm:embed", _titan_embed)),
    ("cohere.command-", Family(PROMPT_CHECK, _cohere)),
    ("cohere.embed-", Family("llm:embed", _cohere_embed)),
    ("cohere.rerank-", Family("llm:rerank", _cohere_rerank)),
    ("meta.llama", Family(PROMPT_CHECK, _llama)),
    ("mistral.", Family(PROMPT_CHECK, _mistral)),
)
"""By the beginning of the model's name, without the region."""
