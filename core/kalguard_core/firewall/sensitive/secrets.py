"""Detectors of keys, tokens and passwords.

Rules of this file: a vendor's prefix and length first; a checksum where the vendor defines one; a word in front where
the key itself looks like any other hexadecimal number. What is written in documents in place of a key (EXAMPLE,
xxxx, your-key) is none.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

import orjson

from .base import Candidate, Check, Checked, Confidence, Detector, Mode
from .checksums import base62_crc32, bech32

_L: Final = r"(?:\A|[^A-Za-z0-9])"
_R: Final = r"(?:\z|[^A-Za-z0-9])"
_RUN: Final = re.compile(rb"[A-Za-z0-9_-]*")
_BASE64_LINES: Final = re.compile(rb"[A-Za-z0-9+/=\\ \t\r\n>#*|\"',-]*")
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64: Final = bytes(sorted(set(range(256)) - set(_BASE64)))
_LONGEST_PEM: Final = 16_384
_LONGEST_PART: Final = 4_096
# How people write "put yours here". Keys are random: of the shortest, one in 10^7 has any of these by chance.
_DUMMIES: Final = tuple(b"example xxxx your **** .... placeholder redacted changeme insert dummy".split())
_WEAK: Final = frozenset(
    b"password passwd pass pw pwd secret hunter2 changeme changeit admin root user username test guest postgres mysql "
    b"redis mongo mongodb rabbitmq rabbit example foo bar foobar mypassword mysecret password123 secretpassword token "
    b"localhost none null true false undefined string str required optional".split()
)  # fmt: skip


def lively(candidate: Candidate) -> bool:
    """Whether it could be random: enough different characters, and none of the words that stand for a key."""
    return _lively(candidate.value)


def _lively(value: bytes) -> bool:
    lower = value.lower()
    return len(set(value)) >= min(9, len(value) // 2) and not any(dummy in lower for dummy in _DUMMIES)


def _vendor(
    kind: str,
    title: str,
    body: str,
    checked: str = "prefix and length",
    *,
    detector: str = "",
    check: Check = lively,
    confidence: Confidence = "high",
) -> Detector:
    """A key that its own shape gives away."""
    return Detector(
        detector or kind,
        kind,
        "secret",
        title,
        _L + "(" + body + ")" + _R,
        checked,
        confidence,
        check,
        strict=Mode.BLOCK,
    )


def _named(kind: str, title: str, words: str, body: str, checked: str, *, detector: str = "") -> Detector:
    """A key that is one only behind its name and a sign: `CO_API_KEY=...`, `"datadog_key": "..."`."""
    return Detector(
        detector or kind,
        kind,
        "secret",
        title,
        r"[:=>\"'` \t,(](" + body + ")" + r"(?:\z|[^A-Za-z0-9_/+=-])",
        checked,
        "medium",
        _behind_a_sign,
        context=r"(?i:" + words + ")",
        strict=Mode.BLOCK,
    )


def _behind_a_sign(candidate: Candidate) -> bool:
    return _lively(candidate.value) and _mixed(candidate.value) and any(sign in candidate.before(70) for sign in b":=")


def _mixed(value: bytes) -> bool:
    """Letters and digits; a word or a number alone is no key."""
    return any(0x30 <= char <= 0x39 for char in value) and any(char > 0x39 and char != 0x5F for char in value)


def _crc(candidate: Candidate) -> bool:
    body = candidate.value.partition(b"_")[2]
    return _lively(body) and base62_crc32(body[:-6], body[-6:])


def _pem(candidate: Candidate) -> Checked:
    """From BEGIN to END, or as far as there is base64. A marker without a key is talk about keys."""
    start = candidate.end
    label = candidate.value[len(b"-----BEGIN ") :]
    close = candidate.data.find(b"-----END " + label, start, start + _LONGEST_PEM)
    run = _BASE64_LINES.match(candidate.data, start, start + _LONGEST_PEM)
    end = close if close >= 0 else (run.end() if run else start)
    body = candidate.data[start:end]
    if len(body.translate(None, _NOT_BASE64)) < 40 or not _lively(body):
        return False
    if close >= 0:
        return candidate.start, close + len(b"-----END ") + len(label)
    return candidate.start, start + len(body.rstrip(b" \t\r\n\\\"',>#*|-"))


def _putty(candidate: Candidate) -> Checked:
    """Lines of base64, without the name of the member behind them."""
    if not lively(candidate):
        return False
    line = candidate.value.rfind(b"\n")
    return (candidate.start, candidate.start + line) if candidate.after(1) in (b"-", b":") and line >= 40 else True


def _jwt(candidate: Candidate) -> Checked:
    """Three parts, of which the first is JSON that names an algorithm."""
    data, start = candidate.data, candidate.start
    parts: list[bytes] = []
    position = start
    for _ in range(3):
        run = _RUN.match(data, position, position + _LONGEST_PART)
        assert run is not None
        parts.append(run.group())
        position = run.end()
        if len(parts) < 3:
            if data[position : position + 1] != b".":
                return False
            position += 1
    header = _decoded(parts[0])
    if b'"alg"' not in header or len(parts[1]) < 4:
        return False
    try:
        return (start, position) if isinstance(orjson.loads(header), dict) else False
    except orjson.JSONDecodeError:
        return False


def _decoded(part: bytes) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        return b""


def _discord(candidate: Candidate) -> bool:
    return _decoded(candidate.value.partition(b".")[0]).isdigit()


def _sas(candidate: Candidate) -> bool:
    around = candidate.before(400) + candidate.after(400)
    return b"sv=20" in around and b"se=20" in around and _lively(candidate.value)


def _telegram(candidate: Candidate) -> bool:
    return candidate.before(1) not in (b":", b"/") and _lively(candidate.value)


def _age(candidate: Candidate) -> bool:
    return bech32(candidate.value)


def _url_password(candidate: Candidate) -> bool:
    """A password in a URL that is not just there to show where one goes."""
    return not _stands_for_one(candidate.value)


def _stands_for_one(value: bytes) -> bool:
    lower = value.lower().strip(b"'\"")
    return (
        lower in _WEAK
        or len(set(lower)) < 3
        or lower[:1] in (b"$", b"<", b"{", b"%", b"[", b"*")
        or b"${" in lower
        or b"{{" in lower
        or lower.startswith((b"your", b"my_", b"my-", b"example"))
        or lower.endswith((b"password", b"passwd", b"_pass", b"secret", b"_key"))
        or any(dummy in lower for dummy in _DUMMIES)
    )


def _credentials(candidate: Candidate) -> bool:
    """Basic credentials decode to `name:password`; a bearer token is long and mixed."""
    if candidate.before(8).lower().rstrip(b" \t").endswith(b"basic"):
        _, colon, password = _decoded(candidate.value.rstrip(b"=")).partition(b":")
        return bool(colon) and bool(password) and not _stands_for_one(password)
    return len(candidate.value) >= 20 and _lively(candidate.value) and _mixed(candidate.value)


_CODE: Final = tuple(b"( os. env process. self. this. config settings -> :: get await new".split())


def _password(candidate: Candidate) -> bool:
    """What somebody might have chosen as a password: no word of a language or program, and of several kinds."""
    value = candidate.value
    if _stands_for_one(value) or value.lower().startswith(_CODE) or any(char in value for char in b"()[]{}<>;"):
        return False
    if b"=" in value.rstrip(b"="):
        return False  # the next assignment
    kinds = (
        any(0x61 <= char <= 0x7A for char in value)
        + any(0x41 <= char <= 0x5A for char in value)
        + any(0x30 <= char <= 0x39 for char in value)
        + any(not chr(char).isalnum() and char not in b"_-./" for char in value)
    )
    digits = any(0x30 <= char <= 0x39 for char in value)
    return len(set(value)) >= 6 and (kinds >= 3 or (kinds == 2 and digits and len(value) >= 10))


def _api_key(candidate: Candidate) -> bool:
    value = candidate.value
    if _stands_for_one(value) or value.lower().startswith(_CODE):
        return False
    digits = sum(0x30 <= char <= 0x39 for char in value)
    return (
        len(set(value)) >= 10 and digits >= 3 and digits < len(value) and b"--" not in value and b"/" not in value[:1]
    )


_ASSIGNED: Final = r"[\"'`]?[ \t]{0,4}(?::=|=>|[:=])[ \t]{0,4}[\"'`]?"

_USERINFO: Final = r"://[^ \t\r\n\x00\"'<>/?#:@]{0,128}:([^ \t\r\n\x00\"'<>/?#]{3,200})@[A-Za-z0-9\[_]"

SECRETS: Final[tuple[Detector, ...]] = (
    # clouds
    _vendor(
        "aws-access-key", "AWS access key id", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}", "prefix, base32, not an example"
    ),
    Detector(
        "aws-secret-key",
        "aws-secret-key",
        "secret",
        "AWS secret access key",
        r"[:=>\"'` \t]([A-Za-z0-9/+]{40})(?:\z|[^A-Za-z0-9/+=])",
        "40 characters of base64 behind its name",
        "high",
        _behind_a_sign,
        context=r"(?i:secret_?-?access_?-?key|aws_?-?secret)",
        strict=Mode.BLOCK,
    ),
    Detector(
        "aws-session-token",
        "aws-session-token",
        "secret",
        "AWS session token",
        r"[:=>\"'` \t]([A-Za-z0-9/+=%]{100,})",
        "100 characters or more of base64 behind its name",
        "high",
        lively,
        context=r"(?i:session_?-?token|security_?-?token)",
        strict=Mode.BLOCK,
    ),
    _vendor("gcp-api-key", "Google API key", r"AIza[0-9A-Za-z_-]{35}"),
    Detector(
        "gcp-service-account",
        "gcp-service-account",
        "secret",
        "Google service account key id",
        r"private_key_id\\?\"[ \t]{0,4}:[ \t]{0,4}\\?\"([0-9a-f]{40})\\?\"",
        "member of the key file, 40 hexadecimal digits",
        "high",
        lively,
        strict=Mode.BLOCK,
    ),
    _vendor("google-oauth-token", "Google OAuth access token", r"ya29\.[A-Za-z0-9_-]{30,}"),
    _vendor(
        "google-oauth-token", "Google OAuth refresh token", r"1//0[A-Za-z0-9_-]{40,}", detector="google-refresh-token"
    ),
    _vendor("google-oauth-secret", "Google OAuth client secret", r"GOCSPX-[A-Za-z0-9_-]{28}"),
    Detector(
        "azure-storage-key",
        "azure-key",
        "secret",
        "Azure storage account key",
        r"(?i:accountkey)=([A-Za-z0-9+/]{86}==)",
        "its name in a connection string, 64 bytes of base64",
        "high",
        lively,
        strict=Mode.BLOCK,
    ),
    Detector(
        "azure-shared-access-key",
        "azure-key",
        "secret",
        "Azure shared access key (Service Bus, Event Hubs, IoT)",
        r"(?i:sharedaccesskey)=([A-Za-z0-9+/]{43}=)",
        "its name in a connection string, 32 bytes of base64",
        "high",
        lively,
        strict=Mode.BLOCK,
    ),
    Detector(
        "azure-sas",
        "azure-sas",
        "secret",
        "Azure SAS signature",
        r"[?&;]sig=([A-Za-z0-9%+/]{43,100}={0,2})",
        "sv= and se= beside it",
        "high",
        _sas,
        strict=Mode.BLOCK,
    ),
    _vendor(
        "azure-client-secret",
        "Azure AD client secret",
        r"[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}",
        "Q~ in its place, length",
    ),
    _vendor("alibaba-access-key", "Alibaba Cloud access key id", r"LTAI[A-Za-z0-9]{17,21}"),
    _vendor("digitalocean-token", "DigitalOcean token", r"do[opr]_v1_[0-9a-f]{64}"),
    _named(
        "cloudflare-key",
        "Cloudflare token or global key",
        r"cloudflare|cf_api|x-auth-key",
        r"[A-Za-z0-9_-]{40}|[0-9a-f]{37}",
        "40 characters or 37 hexadecimal digits behind its name",
    ),
    _named("fastly-key", "Fastly token", r"fastly", r"[A-Za-z0-9_-]{32}", "32 characters behind its name"),
    _named(
        "heroku-key",
        "Heroku API key",
        r"heroku",
        r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
        "a UUID behind its name",
    ),
    _vendor("heroku-key", "Heroku API key", r"HRKU-[A-Za-z0-9_-]{36,60}", detector="heroku-token"),
    # code and packages
    _vendor(
        "github-token",
        "GitHub token (personal, OAuth, app, refresh)",
        r"gh[pousr]_[A-Za-z0-9]{36}",
        "prefix, length, CRC-32",
        check=_crc,
    ),
    _vendor(
        "github-token",
        "GitHub fine-grained token",
        r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}",
        detector="github-fine-grained-token",
    ),
    _vendor(
        "gitlab-token", "GitLab token", r"gl(?:pat|dt|rt|ptt|soat|cbt|ft|imt|agent|oas|ffct)-[0-9A-Za-z_.-]{20,80}"
    ),
    _vendor("npm-token", "npm token", r"npm_[A-Za-z0-9]{36}", "prefix, length, CRC-32", check=_crc),
    _vendor(
        "pypi-token",
        "PyPI token",
        r"pypi-Ag(?:EIcHlwaS5vcmc|ENdGVzdC5weXBpLm9yZw)[A-Za-z0-9_-]{50,}",
        "prefix, the host inside it",
    ),
    _vendor("rubygems-key", "RubyGems key", r"rubygems_[0-9a-f]{48}"),
    _vendor("dockerhub-token", "Docker Hub token", r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{27,40}"),
    _vendor("postman-key", "Postman key", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    _vendor("sentry-token", "Sentry token", r"sntry[us]_[A-Za-z0-9_=+/-]{60,}"),
    _vendor("doppler-token", "Doppler token", r"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9._-]{40,60}"),
    # models
    _vendor("openai-key", "OpenAI key", r"sk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{40,}"),
    _vendor("openai-key", "OpenAI key (older)", r"sk-[A-Za-z0-9]{48}", detector="openai-user-key"),
    _vendor("anthropic-key", "Anthropic key", r"sk-ant-[a-z0-9]{3,10}-[A-Za-z0-9_-]{60,}"),
    _vendor("openrouter-key", "OpenRouter key", r"sk-or-v1-[0-9a-f]{64}"),
    _vendor("huggingface-token", "Hugging Face token", r"(?:hf_|api_org_)[A-Za-z0-9]{34,40}"),
    _vendor("groq-key", "Groq key", r"gsk_[A-Za-z0-9]{52}"),
    _vendor("xai-key", "xAI key", r"xai-[A-Za-z0-9]{80}"),
    _vendor("perplexity-key", "Perplexity key", r"pplx-[A-Za-z0-9]{48}"),
    _vendor("replicate-token", "Replicate token", r"r8_[A-Za-z0-9]{37}"),
    _named("cohere-key", "Cohere key", r"cohere|co_api_key", r"[A-Za-z0-9]{40}", "40 characters behind its name"),
    _named("mistral-key", "Mistral key", r"mistral", r"[A-Za-z0-9]{32}", "32 characters behind its name"),
    # messages
    _vendor("slack-token", "Slack token", r"(?:xox[abeoprs]-[A-Za-z0-9-]{20,}|xapp-[0-9]-[A-Za-z0-9-]{20,})"),
    Detector(
        "slack-webhook",
        "slack-webhook",
        "secret",
        "Slack webhook",
        r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9/_]{30,})",
        "host and path",
        "high",
        lively,
        strict=Mode.BLOCK,
    ),
    _vendor(
        "discord-token",
        "Discord bot token",
        r"[MNO][A-Za-z0-9_-]{22,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}",
        "the first part is a number in base64",
        check=_discord,
    ),
    Detector(
        "discord-webhook",
        "discord-webhook",
        "secret",
        "Discord webhook",
        r"discord(?:app)?\.com/api/webhooks/([0-9]{17,20}/[A-Za-z0-9_-]{60,72})",
        "host and path",
        "high",
        lively,
        strict=Mode.BLOCK,
    ),
    _vendor(
        "telegram-token",
        "Telegram bot token",
        r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}",
        "number, AA, length",
        check=_telegram,
    ),
    _vendor("twilio-key", "Twilio API key", r"SK[0-9a-f]{32}"),
    _named(
        "twilio-key",
        "Twilio auth token",
        r"twilio",
        r"[0-9a-f]{32}",
        "32 hexadecimal digits behind its name",
        detector="twilio-auth-token",
    ),
    _vendor("sendgrid-key", "SendGrid key", r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    _vendor("mailgun-key", "Mailgun key", r"key-[0-9a-f]{32}|[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8}"),
    _vendor("mailchimp-key", "Mailchimp key", r"[0-9a-f]{32}-us[0-9]{1,2}", "suffix and length"),
    # money
    _vendor("stripe-key", "Stripe key", r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    _vendor("stripe-webhook-secret", "Stripe webhook secret", r"whsec_[A-Za-z0-9+/]{32,}={0,2}"),
    _vendor("shopify-token", "Shopify token", r"shp(?:at|ca|pa|ss|tka)_[0-9a-fA-F]{32}"),
    _vendor("square-token", "Square token", r"sq0(?:atp|csp)-[A-Za-z0-9_-]{22,43}|EAAA[A-Za-z0-9_-]{60}"),
    _vendor(
        "braintree-token",
        "Braintree (PayPal) access token",
        r"access_token\$(?:production|sandbox)\$[0-9a-z]{16}\$[0-9a-f]{32}",
    ),
    # operations
    _vendor("databricks-token", "Databricks token", r"dapi[0-9a-f]{32}(?:-[0-9])?"),
    _named(
        "datadog-key",
        "Datadog key",
        r"datadog|dd_api|dd_app|dd-api-key",
        r"[0-9a-f]{32}|[0-9a-f]{40}",
        "32 or 40 hexadecimal digits behind its name",
    ),
    _vendor("newrelic-key", "New Relic key", r"NR(?:AK|AL|II|JS|SP)-[A-Za-z0-9_-]{19,32}"),
    _vendor("grafana-token", "Grafana token", r"glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}|glc_[A-Za-z0-9+/]{32,}={0,2}"),
    _vendor("dynatrace-token", "Dynatrace token", r"dt0[a-z][0-9]{2}\.[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    _vendor("vault-token", "HashiCorp Vault token", r"hv[sbr]\.[A-Za-z0-9_-]{24,}"),
    _vendor(
        "terraform-token",
        "Terraform Cloud token",
        r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,}",
        "atlasv1 in its place, length",
    ),
    _vendor("pulumi-token", "Pulumi token", r"pul-[0-9a-f]{40}"),
    _vendor("tailscale-key", "Tailscale key", r"tskey-[a-z]{3,10}-[A-Za-z0-9]{8,20}-[A-Za-z0-9]{16,40}"),
    _vendor("planetscale-token", "PlanetScale token", r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{32,64}"),
    _vendor("supabase-key", "Supabase key", r"sbp_[0-9a-f]{40}|sb_secret_[A-Za-z0-9_-]{31,}"),
    # work
    _vendor("linear-key", "Linear key", r"lin_(?:api|oauth)_[A-Za-z0-9]{40,64}"),
    _vendor("notion-token", "Notion token", r"ntn_[0-9]{11}[A-Za-z0-9]{35}|secret_[A-Za-z0-9]{43}"),
    _vendor("figma-token", "Figma token", r"fig[dour]{1,2}_[A-Za-z0-9_-]{40,}"),
    _vendor("airtable-token", "Airtable token", r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
    _vendor("atlassian-token", "Atlassian token", r"AT(?:ATT|CTT|BB)3?[A-Za-z0-9_=-]{60,}"),
    _vendor("dropbox-token", "Dropbox token", r"sl\.(?:u\.)?[A-Za-z0-9_-]{60,}"),
    # keys and tokens of standards
    Detector(
        "private-key",
        "private-key",
        "secret",
        "Private key (PEM: RSA, EC, PKCS#8, OpenSSH; PGP)",
        r"(-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----)",
        "marker and at least 40 characters of base64, also on one line",
        "high",
        _pem,
        strict=Mode.BLOCK,
    ),
    Detector(
        "putty-key",
        "private-key",
        "secret",
        "Private key (PuTTY)",
        r"(?i:private-lines: ?[0-9]{1,3}(?:\r?\n|\\n))([A-Za-z0-9+/=\r\n\\]{40,900})",
        "marker and base64",
        "high",
        _putty,
        strict=Mode.BLOCK,
    ),
    _vendor(
        "age-key",
        "age secret key",
        r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}",
        "bech32 checksum",
        check=_age,
    ),
    Detector(
        "jwt",
        "jwt",
        "secret",
        "JSON web token",
        _L + r"(eyJ[A-Za-z0-9_-]{10})",
        "the header is JSON with an algorithm",
        "high",
        _jwt,
        strict=Mode.BLOCK,
    ),
    Detector(
        "database-url",
        "database-url",
        "secret",
        "Password in the URL of a database or queue",
        r"(?i:(?:postgres|postgresql|mysql|mariadb|mongodb|rediss?|amqps?|mssql|sqlserver|clickhouse|oracle|cockroachdb"
        r"|snowflake|nats)(?:\+[a-z0-9_]{1,20})?)" + _USERINFO,
        "scheme; no word that stands for a password",
        "high",
        _url_password,
        strict=Mode.BLOCK,
    ),
    Detector(
        "url-password",
        "url-password",
        "secret",
        "Password in another URL",
        r"(?i:https?|ftps?|sftp|ssh|wss?|smtps?|imaps?|ldaps?|git|svn|socks5h?)" + _USERINFO,
        "scheme; no word that stands for a password",
        "high",
        _url_password,
        strict=Mode.BLOCK,
    ),
    Detector(
        "authorization-header",
        "authorization-header",
        "secret",
        "Value of an Authorization header",
        r"(?i:bearer|basic|token)[ \t]{1,4}([A-Za-z0-9._~+/-]{8,}={0,2})",
        "Basic decodes to name:password; Bearer is long, with letters and digits",
        "medium",
        _credentials,
        context=r"(?i:authorization)",
        strict=Mode.BLOCK,
    ),
    Detector(
        "password",
        "password",
        "secret",
        "Password behind its name",
        r"(?i:passwo?r?d|passwd|passphrase|pwd|passwort|kennwort|mot de passe|contrasena|senha|wachtwoord|haslo)"
        + _ASSIGNED
        + r"([^ \t\r\n\x00-\x08\"'`,]{8,64})",
        "several kinds of characters, no code, no placeholder",
        "low",
        _password,
        strict=Mode.TAG,
    ),
    Detector(
        "api-key",
        "api-key",
        "secret",
        "Other key, token or secret behind its name",
        r"(?i:api[_-]?key|(?:access|secret)[_-]?key|client[_-]?secret|(?:auth|access|api|private)[_-]?token)"
        + _ASSIGNED
        + r"([A-Za-z0-9_./+~-]{16,200}={0,2})",
        "16 characters or more, 10 different ones, letters and digits",
        "low",
        _api_key,
        strict=Mode.TAG,
    ),
)
