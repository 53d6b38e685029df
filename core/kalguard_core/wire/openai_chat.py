"""The body of a chat completion, as OpenAI's SDKs and the servers that imitate it speak it.

Rules of this file: whatever the body holds besides numbers reaches the firewall; what this reader does not know
is scored as text of the agent. Members that lead elsewhere are refused.
Source: `CompletionCreateParams` of the official SDK, https://platform.openai.com/docs/api-reference/chat/create.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..action import Action
from .base import Route
from .chat import read_messages
from .openai_parts import read_content, refuse_media
from .openai_tools import host_tool, read_functions, read_model, read_references, read_tools
from .prompt import BodyError, Prompt, model_name
from .text import Place

# Extensions of gateways and servers (OpenRouter, LiteLLM, Open WebUI, vLLM, SGLang, LoRAX) that send the prompt to
# another model, adapter or server than the one that policy was asked about, replace the template that separates
# roles, load code, bring tools or files that the server keeps, or hold a prompt that nobody can read.
REDIRECTS: Final = frozenset(
    {
        "adapter",
        "adapter_id",
        "adapter_source",
        "adapters",
        "api_base",
        "api_key",
        "api_token",
        "azure",
        "base_url",
        "bootstrap_host",
        "bos_token",
        "callback_url",
        "character",
        "chat_template",
        "chat_template_str",
        "compound_custom",
        "content_policy_fallbacks",
        "context_window_fallback_dict",
        "context_window_fallbacks",
        "custom_llm_provider",
        "custom_logit_processor",
        "custom_prompt_dict",
        "datasources",
        "default_fallbacks",
        "deployment_id",
        "deployments",
        "ec_transfer_params",
        "enhancements",
        "eos_token",
        "extra_body",
        "extra_headers",
        "fallbacks",
        "fastest_response",
        "features",
        "files",
        "filter_ids",
        "final_prompt_value",
        "google",
        "headers",
        "hf_model_name",
        "initial_prompt_value",
        "input_embeds",
        "input_ids",
        "instruction_template",
        "instruction_template_str",
        "kv_transfer_params",
        "litellm_credential_name",
        "litellm_params",
        "logits_processors",
        "lora",
        "lora_name",
        "lora_path",
        "lora_request",
        "mcp_servers",
        "merged_adapters",
        "model_file_id_mapping",
        "model_info",
        "model_list",
        "models",
        "organization",
        "plugins",
        "preset",
        "prompt_embeds",
        "prompt_id",
        "prompt_label",
        "prompt_template",
        "prompt_token_ids",
        "prompt_variables",
        "prompt_version",
        "provider",
        "provider_specific_header",
        "role_mapping",
        "roles",
        "session_params",
        "specific_deployment",
        "ssl_verify",
        "tool_ids",
        "tool_servers",
        "transforms",
        "user_config",
        "venice_parameters",
        "webhook_url",
    }
)
# How LiteLLM calls such settings of one provider, and servers that log prompts ("langfuse_host").
_REDIRECTING: Final = ("_api_base", "_api_key", "_base_url", "_credentials", "_endpoint", "_host")
_PROVIDERS_OWN: Final = ("aws_", "azure_ad_", "gcs_", "langfuse_", "langsmith_", "vertex_")
# vLLM hands these on to the template renderer, whose own arguments they would replace (CVE-2025-62426).
_TEMPLATE_ARGUMENTS: Final = frozenset({"chat_template", "conversation", "documents", "messages", "tokenize", "tools"})
# llama.cpp takes `n_predict` before the others.
_LIMITS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens", "max_new_tokens", "n_predict")


def read_chat(provider: str, document: dict[str, Any], route: Route) -> tuple[Action, ...]:
    """The actions of a chat completion. The model is the deployment in the path, if there is one."""
    model = route.parameters.get("deployment")
    if model is None:
        model = one_model(document.get("model"))
    prompt = Prompt(provider, model)
    read_model(prompt)
    read_messages(prompt, document.get("messages"))
    if len(document) == 2 and "model" in document:
        return prompt.actions()
    stream = stream_of(document)
    read_members(prompt, document, _MEMBERS, _KNOWN)
    if document.get("store") is True:
        return prompt.actions(stream=stream, max_tokens=limit_of(document), store=True)
    return prompt.actions(stream=stream, max_tokens=limit_of(document))


def model_of(document: dict[str, Any], route: Route, *, required: bool = True) -> str | None:
    """The model that is asked: the deployment in the path, or the member. Raises `BodyError`."""
    deployment = route.parameters.get("deployment")
    if deployment is not None:
        return deployment
    if document.get("model") is None and not required:
        return None
    return one_model(document.get("model"))


def one_model(value: Any, place: Place = ("model",)) -> str:
    """The name of a model; LiteLLM takes a comma for a list of several. Raises `BodyError`."""
    model = model_name(value, place)
    if "," in model:
        raise BodyError(place, "must be the name of one model")
    return model


def stream_of(document: dict[str, Any]) -> bool:
    """Whether the answer is to be streamed. Raises `BodyError`."""
    stream = document.get("stream")
    if stream is not None and type(stream) is not bool:
        raise BodyError(("stream",), "must be true or false")
    return stream is True


def limit_of(document: dict[str, Any]) -> int | None:
    """The most tokens that are asked for, under the names that there are for it.

    None if one of them is no such limit: servers read "500" and 5e2 as numbers, and -1 as no limit at all.
    """
    found = [value for name in _LIMITS if (value := document.get(name)) is not None]
    return max(found) if found and all(type(value) is int and value > 0 for value in found) else None


def read_members(
    prompt: Prompt,
    document: dict[str, Any],
    members: Mapping[str, Callable[[Prompt, Any, Place], None] | None],
    known: frozenset[str],
) -> None:
    """Every member of a body: by its reader, or as text. `known`: the names in `members`; None: read already.

    Raises `BodyError`.
    """
    for key, value in document.items():
        if key in known:
            reader = members[key]
            if reader is not None and value is not None:
                reader(prompt, value, (key,))
        elif value is not None and value != [] and redirects(key):
            raise BodyError((key,), "is not supported: it changes where the prompt goes or how it is read")
    refuse_media(document, known, ())
    prompt.others(document, known, ())


def redirects(name: str) -> bool:
    """Whether a member of that name changes where the prompt goes or how it is read."""
    name = name.casefold()
    return name in REDIRECTS or name.endswith(_REDIRECTING) or name.startswith(_PROVIDERS_OWN)


def _read_web_search(prompt: Prompt, value: Any, place: Place) -> None:
    if type(value) is not dict:
        raise BodyError(place, "must be an object")
    prompt.host("web_search", value, place)


def _read_search_switch(prompt: Prompt, value: Any, place: Place) -> None:
    if value is not False:
        prompt.host("web_search", {"enabled": value}, place)


def _read_code_switch(prompt: Prompt, value: Any, place: Place) -> None:
    if value is not False:
        prompt.host("code_interpreter", {"enabled": value}, place)


def _read_stores(prompt: Prompt, value: Any, place: Place) -> None:
    """LiteLLM searches them for whatever the user asks."""
    if type(value) is not list:
        raise BodyError(place, "must be a list")
    for index, identifier in enumerate(value):
        prompt.refer("vector_store", identifier, (*place, index))
    if value:
        prompt.host("file_search", {"vector_store_ids": value}, place)


def _read_cache(prompt: Prompt, value: Any, place: Place) -> None:
    prompt.refer("cache", value, place)


def _read_audio(prompt: Prompt, value: Any, place: Place) -> None:
    voice = value.get("voice") if type(value) is dict else None
    if type(voice) is dict:
        prompt.refer("voice", voice.get("id"), (*place, "voice", "id"))
    prompt.rest("unread", value, place)


def _read_prediction(prompt: Prompt, value: Any, place: Place) -> None:
    if type(value) is dict and type(value.get("content")) is list:
        read_content(prompt, value["content"], "assistant", (*place, "content"))
        prompt.others(value, frozenset({"content"}), place)
        return
    prompt.rest("unread", value, place)


def _read_documents(prompt: Prompt, value: Any, place: Place) -> None:
    prompt.rest("document", value, place)


def _read_data_sources(prompt: Prompt, value: Any, place: Place) -> None:
    if type(value) is not list:
        raise BodyError(place, "must be a list")
    for index, source in enumerate(value):
        here = (*place, index)
        settings = source.get("parameters") if type(source) is dict else None
        if type(settings) is not dict:
            raise BodyError(here, "must be an object with parameters")
        prompt.host("file_search", source, here, url=settings.get("endpoint"))
        embedding = settings.get("embedding_dependency")
        if type(embedding) is dict and embedding.get("endpoint") is not None:  # gets the question, too
            there = (*here, "parameters", "embedding_dependency")
            prompt.host("file_search", embedding, there, url=embedding["endpoint"])
        read_references(prompt, settings, (*here, "parameters"))


def _read_template_arguments(prompt: Prompt, value: Any, place: Place) -> None:
    if type(value) is not dict:
        raise BodyError(place, "must be an object")
    for name in value:
        if name.casefold() in _TEMPLATE_ARGUMENTS:
            raise BodyError((*place, name), "is not supported: it changes how the prompt is read")
    prompt.rest("unread", value, place)


def _read_agents(prompt: Prompt, value: Any, place: Place) -> None:
    prompt.refer("agent", value, place)


def _read_search_parameters(prompt: Prompt, value: Any, place: Place) -> None:
    if type(value) is not dict:
        raise BodyError(place, "must be an object")
    host_tool(prompt, "web_search", value, place)


MEMBERS: Final[dict[str, Callable[[Prompt, Any, Place], None] | None]] = {
    "model": None,
    "stream": None,
    "tools": read_tools,
    "functions": read_functions,
    "web_search_options": _read_web_search,
    "search_parameters": _read_search_parameters,
    # As DashScope, Hunyuan, Qianfan, NanoGPT and others call it.
    "enable_search": _read_search_switch,
    "enable_web_search": _read_search_switch,
    "web_search": _read_search_switch,
    "webSearch": _read_search_switch,
    "linkup": _read_search_switch,
    "enable_enhancement": _read_search_switch,
    "enable_code_interpreter": _read_code_switch,
    "vector_store_ids": _read_stores,
    "cached_content": _read_cache,
    "data_sources": _read_data_sources,
    "audio": _read_audio,
    "prediction": _read_prediction,
    "documents": _read_documents,
    "chat_template_kwargs": _read_template_arguments,
    "template_vars": _read_template_arguments,
    "agent_id": _read_agents,
}
_MEMBERS: Final[dict[str, Callable[[Prompt, Any, Place], None] | None]] = {**MEMBERS, "messages": None}
_KNOWN: Final = frozenset(_MEMBERS)
