"""Azure OpenAI: OpenAI's calls, below `/openai/v1`, and with the deployment (the model) in the path.

Rules of this file: where the path names a deployment, it is the model, whatever the body says. The readers are
OpenAI's; `data_sources` ("on your data") is a hosted search of the host that it names.
Sources: https://learn.microsoft.com/azure/ai-foundry/openai/reference and `openai.lib.azure`.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from ..action import Action
from .base import Route
from .openai import BASIC, BATCHED, CHAT, EVERYTHING, PICTURES, REFUSED, SPEAK, TRANSCRIBE, TRANSLATE, files
from .openai_chat import read_chat
from .openai_family import Calls, Family, with_query

# The elements of a batch name their endpoint without the version, too.
_FILES: Final = files({**BATCHED, **{url.removeprefix("/v1"): reader for url, reader in BATCHED.items()}})
_FILE_NAMES: Final = frozenset(call.name for call in _FILES)
_EVERYTHING: Final = with_query(
    (*(call for call in EVERYTHING if call.name not in _FILE_NAMES), *_FILES), "api-version"
)
_DEPLOYED: Final = tuple(
    replace(call, path=f"/deployments/{{deployment}}{call.path}")
    for call in with_query(
        (
            CHAT,
            *(call for call in BASIC if call.method == "POST"),
            *PICTURES,
            SPEAK,
            TRANSCRIBE,
            TRANSLATE,
        ),
        "api-version",
    )
)
_IN_DEPLOYMENTS: Final = frozenset(call.name for call in _DEPLOYED)
_OLDER: Final = tuple(
    call for call in _EVERYTHING if call.name not in _IN_DEPLOYMENTS and not call.name.startswith("chat.")
)


_CALLS: Final = Calls("azure", (("/openai/v1", _EVERYTHING), ("/openai", _DEPLOYED), ("/openai", _OLDER)), documented=2)
_ROUTE: Final = Route("azure.chat")


def read_chat_body(document: dict[str, Any]) -> tuple[Action, ...]:
    """The actions of a chat completion, whose `model` is the deployment. Raises `BodyError`."""
    return read_chat("azure", document, _ROUTE)


class Azure(Family):
    """Azure OpenAI. The calls below `/openai/v1` that need no deployment are known below `/openai`, too."""

    kind = "azure"
    title = "Azure OpenAI"
    provider = "azure"
    calls = _CALLS
    endpoints = _CALLS.documented
    refused = (
        *REFUSED,
        ("`dataSources` and `/extensions/chat/completions`", "a preview; `data_sources` in its place is read"),
        ("a `data_sources[].parameters.endpoint` that is no URL", "a rule could not tell where they lead"),
    )
