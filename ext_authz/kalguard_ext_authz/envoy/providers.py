"""The public providers: what `--provider` means.

Rules of this file: one line a provider, with the address that its own documentation gives. What a provider is called
here is its route on our listener, and with its kind the name of its upstream (`openai_openai`).
"""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from typing import Final

from .targets import EnvoyConfigError, Upstream

_VALUE_LETTERS: Final = frozenset(string.ascii_lowercase + string.digits + "-")


@dataclass(frozen=True, slots=True)
class Provider:
    """`url`: base of its API, `{}` where the value of `NAME=VALUE` goes. `value`: what that value is, "" for none.

    `signed`: its requests carry an AWS signature for the region that is the value. `example`: a value for the
    bundled configuration. `source`: the page that says so.
    """

    name: str
    kind: str
    url: str
    source: str
    value: str = ""
    example: str = ""
    signed: bool = False

    @property
    def usage(self) -> str:
        """As it is written behind `--provider`."""
        return f"{self.name}={self.value}" if self.value else self.name


PROVIDERS: Final = (
    Provider("openai", "openai", "https://api.openai.com", "https://platform.openai.com/docs/api-reference"),
    Provider(
        "azure",
        "azure",
        "https://{}.openai.azure.com",
        "https://learn.microsoft.com/azure/ai-foundry/openai/reference",
        value="RESOURCE",
        example="my-resource",
    ),
    Provider("anthropic", "anthropic", "https://api.anthropic.com", "https://docs.claude.com/en/api/overview"),
    Provider("gemini", "gemini", "https://generativelanguage.googleapis.com", "https://ai.google.dev/api/all-methods"),
    Provider(
        "vertex",
        "vertex",
        "https://{}-aiplatform.googleapis.com",
        "https://cloud.google.com/vertex-ai/docs/reference/rest",
        value="REGION",
        example="us-central1",
    ),
    Provider(
        "bedrock",
        "bedrock",
        "https://bedrock-runtime.{}.amazonaws.com",
        "https://docs.aws.amazon.com/general/latest/gr/bedrock.html",
        value="REGION",
        example="us-east-1",
        signed=True,
    ),
    Provider("cohere", "cohere", "https://api.cohere.com", "https://docs.cohere.com/reference/about"),
    Provider("mistral", "mistral", "https://api.mistral.ai", "https://docs.mistral.ai/api/"),
    Provider("groq", "compatible", "https://api.groq.com/openai", "https://console.groq.com/docs/openai"),
)
_PROVIDERS: Final = {provider.name: provider for provider in PROVIDERS}


def provider(text: str) -> Upstream:
    """The upstream of `NAME` or `NAME=VALUE`. Raises `EnvoyConfigError`."""
    name, _, value = text.partition("=")
    meant = _PROVIDERS.get(name)
    if meant is None:
        known = ", ".join(provider.usage for provider in PROVIDERS)
        raise EnvoyConfigError(f"--provider {text!r}: expected one of {known}")
    if bool(meant.value) != bool(value) or not _VALUE_LETTERS.issuperset(value) or value.startswith("-"):
        raise EnvoyConfigError(f"--provider {text!r}: expected {meant.usage}")
    url = meant.url.format(value)
    if name == "vertex" and value == "global":
        url = "https://aiplatform.googleapis.com"
    if name == "bedrock" and value.startswith("cn-"):
        url += ".cn"
    upstream = Upstream.parse(meant.kind, f"{name}={url}")
    return replace(upstream, region=value) if meant.signed else upstream


def all_providers() -> tuple[Upstream, ...]:
    """Every provider once, with the example where one needs a value: the bundled `envoy/providers.yaml`."""
    return tuple(provider(f"{each.name}={each.example}" if each.value else each.name) for each in PROVIDERS)
