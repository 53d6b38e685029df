"""The public hosts of model providers: where a tunnel, or a request whose body nobody reads, may not go.

Rules of this file: one table. A pattern is a host in lower case; `*` stands for any characters, dots included, but not
in the last two labels, by which the patterns are found. A name that is missing here is a name that a tunnel may reach
if a rule says so: add what a vendor documents.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# Where AWS's services answer, by partition, and over IPv6.
_AWS: Final = (
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "api.aws",
    "api.amazonwebservices.com.cn",
    "api.amazonwebservices.eu",
    "c2s.ic.gov",
    "api.aws.ic.gov",
    "sc2s.sgov.gov",
    "api.aws.scloud",
    "cloud.adc-e.uk",
    "api.cloud-aws.adc-e.uk",
)


def _aws(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}.{suffix}" for name in names for suffix in _AWS)


# One line a provider: its name in the actions' attributes where we read its protocol, and the hosts of its API.
PROVIDER_HOSTS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("openai", ("api.openai.com", "*.api.openai.com", "chatgpt.com", "*.chatgpt.com")),
    (
        "azure",
        (
            "*.openai.azure.com",
            "*.openai.azure.us",
            "*.openai.azure.cn",
            "*.cognitiveservices.azure.com",
            "*.cognitiveservices.azure.us",
            "*.cognitiveservices.azure.cn",
            "*.api.cognitive.microsoft.com",
            "*.api.cognitive.microsoft.us",
            "*.api.cognitive.azure.cn",
            "*.services.ai.azure.com",
            "*.services.ai.azure.us",
            "*.services.ai.azure.cn",
            "*.models.ai.azure.com",
            "*.inference.ml.azure.com",
            "models.inference.ai.azure.com",
        ),
    ),
    (
        "anthropic",
        (
            "api.anthropic.com",
            "*.api.anthropic.com",
            "mcp-proxy.anthropic.com",
            "claude.ai",
            "*.claude.ai",
            "*.claude.com",
            *_aws("aws-external-anthropic*"),
        ),
    ),
    # The names with a star also stand for mTLS and Private Service Connect ("aiplatform-x.p.googleapis.com").
    ("gemini", ("generativelanguage.googleapis.com", "*generativelanguage*.googleapis.com")),
    (
        "vertex",
        (
            "aiplatform.googleapis.com",
            "*aiplatform*.googleapis.com",
            "*.vertexai.goog",
            "*vertexai*.googleapis.com",
            "*discoveryengine*.googleapis.com",
            "*cloudcode-pa*.googleapis.com",
        ),
    ),
    # These answer for every API of Google's, whichever the request names inside of the tunnel.
    ("google", ("private.googleapis.com", "restricted.googleapis.com")),
    ("bedrock", _aws("bedrock.*", "bedrock-*", "*.bedrock-runtime*", "*.bedrock-agent*", "*.bedrock*.vpce")),
    ("sagemaker", _aws("runtime.sagemaker*", "runtime-fips.sagemaker*", "*.runtime.sagemaker*.vpce")),
    ("amazon-q", _aws("q.*", "qbusiness*", "codewhisperer*")),
    ("ollama", ("ollama.com", "api.ollama.com", "*.ollama.com")),
    ("cohere", ("api.cohere.com", "api.cohere.ai", "*.cohere.com", "*.cohere.ai")),
    ("mistral", ("api.mistral.ai", "codestral.mistral.ai", "*.api.mistral.ai")),
    ("groq", ("api.groq.com", "*.api.groq.com")),
    ("openrouter", ("openrouter.ai", "*.openrouter.ai")),
    ("xai", ("api.x.ai", "*.api.x.ai")),
    ("deepseek", ("api.deepseek.com",)),
    ("together", ("api.together.xyz", "api.together.ai")),
    ("fireworks", ("api.fireworks.ai",)),
    ("perplexity", ("api.perplexity.ai",)),
    ("huggingface", ("router.huggingface.co", "api-inference.huggingface.co", "*.endpoints.huggingface.cloud")),
    ("replicate", ("api.replicate.com",)),
    ("cerebras", ("api.cerebras.ai",)),
    ("sambanova", ("api.sambanova.ai",)),
    ("nvidia", ("integrate.api.nvidia.com", "ai.api.nvidia.com")),
    ("deepinfra", ("api.deepinfra.com",)),
    ("novita", ("api.novita.ai",)),
    ("ai21", ("api.ai21.com",)),
    ("voyage", ("api.voyageai.com",)),
    ("jina", ("api.jina.ai",)),
    ("moonshot", ("api.moonshot.ai", "api.moonshot.cn", "api.kimi.com")),
    ("alibaba", ("dashscope.aliyuncs.com", "dashscope-*.aliyuncs.com", "*.dashscope.aliyuncs.com")),
    ("zhipu", ("api.z.ai", "open.bigmodel.cn")),
    ("minimax", ("api.minimax.io", "api.minimaxi.com", "api.minimax.chat", "api.minimaxi.chat")),
    (
        "github",
        ("models.github.ai", "api.githubcopilot.com", "*.githubcopilot.com", "copilot-proxy.githubusercontent.com"),
    ),
    ("cloudflare", ("gateway.ai.cloudflare.com",)),
    ("vercel", ("ai-gateway.vercel.sh",)),
    ("watsonx", ("*.ml.cloud.ibm.com",)),
    ("oracle", ("inference.generativeai.*.oraclecloud.com", "generativeai.*.oraclecloud.com")),
    ("baseten", ("inference.baseten.co", "*.api.baseten.co")),
    ("nebius", ("api.studio.nebius.com", "api.studio.nebius.ai", "api.tokenfactory.nebius.com")),
    ("siliconflow", ("api.siliconflow.com", "api.siliconflow.cn")),
    ("volcengine", ("ark.*.volces.com", "ark.*.bytepluses.com")),
    ("tencent", ("api.hunyuan.cloud.tencent.com", "hunyuan.tencentcloudapi.com", "api.lkeap.cloud.tencent.com")),
    ("baidu", ("qianfan.baidubce.com", "aip.baidubce.com")),
    ("lambda", ("api.lambda.ai", "api.lambdalabs.com")),
    ("digitalocean", ("inference.do-ai.run",)),
    ("scaleway", ("api.scaleway.ai",)),
    ("chutes", ("llm.chutes.ai",)),
    ("hyperbolic", ("api.hyperbolic.xyz",)),
    ("venice", ("api.venice.ai",)),
    ("poe", ("api.poe.com",)),
    ("writer", ("api.writer.com",)),
    ("reka", ("api.reka.ai",)),
    ("upstage", ("api.upstage.ai",)),
    ("elevenlabs", ("api.elevenlabs.io",)),
    ("stability", ("api.stability.ai",)),
    ("meta", ("api.llama.com",)),
    ("inception", ("api.inceptionlabs.ai",)),
    ("friendli", ("api.friendli.ai",)),
    ("featherless", ("api.featherless.ai",)),
    ("parasail", ("api.parasail.io",)),
    ("inference-net", ("api.inference.net",)),
    ("nscale", ("inference.api.nscale.com",)),
    ("ionos", ("openai.inference.*.ionos.com",)),
    ("heroku", ("*.inference.heroku.com",)),
    ("pollinations", ("text.pollinations.ai", "gen.pollinations.ai")),
    ("fal", ("fal.run", "*.fal.run")),
    ("bfl", ("api.bfl.ai", "*.api.bfl.ai")),
    ("morph", ("api.morphllm.com",)),
    ("stepfun", ("api.stepfun.com", "api.stepfun.ai")),
    ("baichuan", ("api.baichuan-ai.com",)),
    ("01", ("api.lingyiwanwu.com",)),
    ("iflytek", ("spark-api-open.xf-yun.com",)),
    ("modelscope", ("api-inference.modelscope.cn",)),
    ("yandex", ("llm.api.cloud.yandex.net",)),
    ("gigachat", ("gigachat.devices.sberbank.ru",)),
    # Gateways to the models of others, and the backends of coding agents.
    ("portkey", ("api.portkey.ai",)),
    ("helicone", ("*.helicone.ai",)),
    ("requesty", ("router.requesty.ai", "router.*.requesty.ai")),
    ("aimlapi", ("api.aimlapi.com",)),
    ("cursor", ("*.cursor.sh",)),
    ("codeium", ("*.codeium.com",)),
)


def matches_host(pattern: str, host: str) -> bool:
    """Whether `host` (lower case, no port) is `pattern`, in which each `*` stands for any characters."""
    first, *rest = pattern.split("*")
    if not rest:
        return host == first
    last = rest.pop()
    if len(host) < len(first) + len(last) or not host.startswith(first) or not host.endswith(last):
        return False
    position, end = len(first), len(host) - len(last)
    for part in rest:
        position = host.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return True


_EXACT: Final = {host: provider for provider, hosts in PROVIDER_HOSTS for host in hosts if "*" not in host}
_PATTERNS: Final[dict[str, list[tuple[str, str]]]] = {}
for _provider, _hosts in PROVIDER_HOSTS:
    for _host in _hosts:
        if "*" in _host:
            _PATTERNS.setdefault(".".join(_host.rsplit(".", 2)[1:]), []).append((_host, _provider))


def provider_of(host: str) -> str | None:
    """The provider whose model API answers on `host` (lower case, no port); None if it is not known as one."""
    found = _EXACT.get(host)
    if found is not None:
        return found
    patterns = _PATTERNS.get(".".join(host.rsplit(".", 2)[1:]), ())
    return next((provider for pattern, provider in patterns if matches_host(pattern, host)), None)


def listed(hosts: Iterable[str], host: str) -> bool:
    """Whether `host` is one of `hosts`, which are patterns as in the table."""
    return any(matches_host(pattern, host) for pattern in hosts)
