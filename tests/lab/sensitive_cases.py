"""What each detector of secrets and personal data must find, and what it must leave alone.

Nothing here is anybody's: keys are put together from pieces when the tests run, at random from a fixed seed, and
numbers are made to add up. In a text that has one, the value stands between « and ».
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import string
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from kalguard_core.firewall.sensitive import checksums

_RANDOM: Final = random.Random(8)
_BASE62: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


@dataclass(frozen=True, slots=True)
class Cases:
    """Texts with a value, and texts without."""

    found: tuple[str, ...]
    left: tuple[str, ...]


def _of(alphabet: str, size: int) -> str:
    return "".join(_RANDOM.choices(alphabet, k=size))


def _mixed(size: int, alphabet: str = _BASE62) -> str:
    """With a letter and a digit at least."""
    return _of(alphabet, size - 2) + "7" + ("q" if "q" in alphabet else "f" if "f" in alphabet else "Q")


def _hex(size: int) -> str:
    return _mixed(size, "0123456789abcdef")


def _url64(size: int) -> str:
    return _mixed(size, _BASE62 + "-_")


def _b64(size: int) -> str:
    return _mixed(size, _BASE62 + "+/")


def _digits(size: int) -> str:
    return _of(string.digits, size)


def _crc(prefix: str) -> str:
    body = _mixed(30)
    rest, check = zlib.crc32(body.encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        check = _BASE62[digit] + check
    return prefix + body + check


def _other(char: str) -> str:
    """Another character of the same kind."""
    if char.isdigit():
        return str((int(char) + 1) % 10)
    return ("B" if char == "A" else "A") if char.isupper() else ("b" if char == "a" else "a")


def _broken(value: str, at: int = -1) -> str:
    at %= len(value)
    return value[:at] + _other(value[at]) + value[at + 1 :]


def _key(make: Callable[[], str], *, prefix: int = 4) -> Cases:
    """A key that its shape gives away."""
    first, second = make(), make()
    mask = first[:prefix] + "".join("x" if char.isalnum() else char for char in first[prefix:])
    return Cases(
        (f"use «{first}», please", f'{{"key":"«{second}»"}}', f"https://h.example/?k=«{first}»"),
        (f"use {first[: len(first) * 6 // 10]} please", f"use {mask} please", f"glued{first}"),
    )


def _named(name: str, make: Callable[[], str], other: str = "checksum") -> Cases:
    """A key that only its name gives away."""
    value = make()
    return Cases(
        (f"export {name}=«{value}»", f'"{name}": "«{make()}»",', f"{name} = '«{value}»'"),
        (f"{other}: {value}", f"{name}=" + "x" * len(value), f"{name}={value[:-6]}", f"{name}: see {other} below"),
    )


def _digit_that(valid: Callable[[str], bool], head: str, tail: str = "", digits: str = string.digits) -> str:
    """`head`, a character for which it is valid, `tail`; or nothing if there is none."""
    return next((head + digit + tail for digit in digits if valid(head + digit + tail)), "")


def _pem(kind: str, separator: str = "\n", end: bool = True) -> str:
    lines = separator.join(_b64(64) for _ in range(4))
    dashes = "-" * 5
    text = f"{dashes}BEGIN {kind}{dashes}{separator}{lines}"
    return text + (f"{separator}{dashes}END {kind}{dashes}" if end else "")


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def _jwt(header: Mapping[str, str]) -> str:
    return ".".join((_part(header), _part({"sub": _digits(8)}), _url64(43)))


def _basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _iban(country: str, account: str) -> str:
    number = int("".join(str(int(char, 36)) for char in account + country + "00"))
    return f"{country}{98 - number % 97:02}{account}"


def _fours(text: str, separator: str = " ") -> str:
    return separator.join(text[at : at + 4] for at in range(0, len(text), 4))


def _card(head: str, size: int) -> str:
    return _digit_that(lambda text: checksums.luhn(text.encode()), head + _digits(size - 1 - len(head)))


def _base58_address(version: int) -> str:
    raw = bytes([version]) + hashlib.sha256(_digits(8).encode()).digest()[:20]
    raw += hashlib.sha256(hashlib.sha256(raw).digest()).digest()[:4]
    number, text = int.from_bytes(raw, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + text


def _bech32(prefix: str, size: int) -> str:
    body = [_RANDOM.randrange(32) for _ in range(size)]
    values = [ord(char) >> 5 for char in prefix] + [0] + [ord(char) & 31 for char in prefix] + body + [0] * 6
    state = 1
    for value in values:
        top = state >> 25
        state = (state & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            state ^= generator if top >> bit & 1 else 0
    state ^= 1
    check = [state >> 5 * (5 - index) & 31 for index in range(6)]
    return prefix + "1" + "".join(_BECH32[value] for value in body + check)


def _eip55(address: str) -> str:
    digest = checksums.keccak256(address.encode()).hex()
    return "".join(char.upper() if check >= "8" else char for char, check in zip(address, digest, strict=False))


_AGE: Final = _bech32("age-secret-key-", 52).upper()
_ETHEREUM: Final = _eip55(_hex(40))
_BITCOIN: Final = (_base58_address(0), _base58_address(5))
_SEGWIT: Final = _bech32("bc", 33)
_VISA, _AMEX, _MASTER = _card("4", 16), _card("37", 15), _card("53", 16)
_JWT: Final = _jwt({"alg": "HS256", "typ": "JWT"})
_SECRET: Final = "Gr8!pond-" + _BASE62[40:44]
_TOKEN: Final = _mixed(32)

KEYS: Final[Mapping[str, Cases]] = {
    "aws-access-key": _key(lambda: "AKIA" + _mixed(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[:32])),
    "aws-secret-key": _named("aws_secret_access_key", lambda: _b64(40), "sha1"),
    "aws-session-token": _named("AWS_SESSION_TOKEN", lambda: _b64(102), "body"),
    "gcp-api-key": _key(lambda: "AIza" + _url64(35)),
    "gcp-service-account": Cases(
        (f'"private_key_id": "«{_hex(40)}»"', f'\\"private_key_id\\": \\"«{_hex(40)}»\\"'),
        ('"private_key_id": "' + "0" * 40 + '"', f'"commit": "{_hex(40)}"', '"private_key_id": "abc"'),
    ),
    "google-oauth-token": _key(lambda: "ya29." + _url64(36), prefix=5),
    "google-refresh-token": _key(lambda: "1//0" + _url64(60)),
    "google-oauth-secret": _key(lambda: "GOCSPX-" + _url64(28), prefix=7),
    "azure-storage-key": Cases(
        (f"AccountName=a;AccountKey=«{_b64(86)}==»;EndpointSuffix=x", f"accountkey=«{_b64(86)}==»"),
        ("AccountKey=" + "x" * 86 + "==", f"AccountKey={_b64(40)}", f"sum={_b64(86)}=="),
    ),
    "azure-shared-access-key": Cases(
        (f"SharedAccessKeyName=n;SharedAccessKey=«{_b64(43)}=»", f"sharedaccesskey=«{_b64(43)}=»;"),
        ("SharedAccessKey=" + "x" * 43 + "=", f"SharedAccessKey={_b64(20)}", f"hash={_b64(43)}="),
    ),
    "azure-sas": Cases(
        (f"?sv=2022-11-02&se=2030-01-01&sig=«{_b64(43)}%3D»", f"?sig=«{_b64(43)}=»&se=2030-01-01T00Z&sv=2021-06-08"),
        (f"?v=1&sig={_b64(43)}", f"?sv=2022-11-02&sig={_b64(43)}", "?sv=2022-11-02&se=2030-01-01&sig=abc"),
    ),
    "azure-client-secret": _key(lambda: _mixed(3) + "8Q~" + _url64(34), prefix=6),
    "alibaba-access-key": _key(lambda: "LTAI" + _mixed(20)),
    "digitalocean-token": _key(lambda: "dop_v1_" + _hex(64), prefix=7),
    "cloudflare-key": _named("CLOUDFLARE_API_TOKEN", lambda: _mixed(40)),
    "fastly-key": _named("FASTLY_KEY", lambda: _mixed(32)),
    "heroku-key": _named("HEROKU_KEY", lambda: "-".join(_hex(size) for size in (8, 4, 4, 4, 12)), "request"),
    "heroku-token": _key(lambda: "HRKU-AA" + _mixed(50), prefix=5),
    "github-token": Cases(
        (f"git clone with «{_crc('ghp_')}»", f'"«{_crc("gho_")}»"', f"https://«{_crc('ghs_')}»@github.com/a/b"),
        (_broken(_crc("ghp_"), 9), "ghp_" + "x" * 36, "ghp_" + _mixed(12), "ghp_yourTokenGoesHere0000000000000000000"),
    ),
    "github-fine-grained-token": _key(lambda: "github_pat_" + _mixed(22) + "_" + _mixed(59), prefix=11),
    "gitlab-token": _key(lambda: "glpat-" + _url64(24), prefix=6),
    "npm-token": Cases(
        (f"//registry/:_authToken=«{_crc('npm_')}»", f"'«{_crc('npm_')}»'"),
        (_broken(_crc("npm_"), 9), "npm_" + "x" * 36, "npm_config_registry_and_other_variables_x"),
    ),
    "pypi-token": _key(lambda: "pypi-AgEIcHlwaS5vcmc" + _url64(52), prefix=19),
    "rubygems-key": _key(lambda: "rubygems_" + _hex(48), prefix=9),
    "dockerhub-token": _key(lambda: "dckr_pat_" + _url64(27), prefix=9),
    "postman-key": _key(lambda: "PMAK-" + _hex(24) + "-" + _hex(34), prefix=5),
    "sentry-token": _key(lambda: "sntrys_" + _mixed(90), prefix=7),
    "doppler-token": _key(lambda: "dp.pt." + _mixed(43), prefix=6),
    "openai-key": _key(lambda: "sk-proj-" + _url64(44), prefix=8),
    "openai-user-key": _key(lambda: "sk-" + _mixed(48), prefix=3),
    "anthropic-key": _key(lambda: "sk-ant-api03-" + _url64(93), prefix=13),
    "openrouter-key": _key(lambda: "sk-or-v1-" + _hex(64), prefix=9),
    "huggingface-token": _key(lambda: "hf_" + _mixed(34), prefix=3),
    "groq-key": _key(lambda: "gsk_" + _mixed(52)),
    "xai-key": _key(lambda: "xai-" + _mixed(80)),
    "perplexity-key": _key(lambda: "pplx-" + _mixed(48), prefix=5),
    "replicate-token": _key(lambda: "r8_" + _mixed(37), prefix=3),
    "cohere-key": _named("COHERE_KEY", lambda: _mixed(40)),
    "mistral-key": _named("MISTRAL_KEY", lambda: _mixed(32)),
    "slack-token": _key(lambda: "xoxb-" + _mixed(24), prefix=5),
    "slack-webhook": Cases(
        tuple(f"https://hooks.slack.com/services/«T{_digits(8)}/B{_digits(8)}/{_mixed(24)}»" for _ in range(2)),
        (
            "https://hooks.slack.com/services/",
            "https://hooks.slack.com/services/T0/B0/x",
            "https://slack.com/" + _mixed(40),
        ),
    ),
    "discord-token": Cases(
        tuple(
            f"bot «{base64.b64encode(('3' + _digits(17)).encode()).decode()}.{_url64(6)}.{_url64(27)}»"
            for _ in range(2)
        ),
        (f"M{_mixed(23)}.{_url64(6)}.{_url64(27)}", "My.package.name", f"MTIz.{_url64(6)}.{_url64(27)}"),
    ),
    "discord-webhook": Cases(
        tuple(f"https://discord.com/api/webhooks/«{_digits(18)}/{_url64(68)}»" for _ in range(2)),
        (
            "https://discord.com/api/webhooks/1/x",
            "https://discord.com/channels/" + _digits(18),
            "discord.com/api/webhooks/",
        ),
    ),
    "telegram-token": _key(lambda: "7" + _digits(9) + ":AA" + _url64(33), prefix=13),
    "twilio-key": _key(lambda: "SK" + _hex(32), prefix=2),
    "twilio-auth-token": _named("TWILIO_AUTH", lambda: _hex(32)),
    "sendgrid-key": _key(lambda: "SG." + _url64(22) + "." + _url64(43), prefix=3),
    "mailgun-key": _key(lambda: "key-" + _hex(32)),
    "mailchimp-key": Cases(
        (f"k=«{_hex(32)}-us12»", f'"«{_hex(32)}-us7»"'),
        (_hex(32), "0" * 32 + "-us1", _hex(31) + "-us1", "en-us1"),
    ),
    "stripe-key": _key(lambda: "sk_live_" + _mixed(24), prefix=8),
    "stripe-webhook-secret": _key(lambda: "whsec_" + _mixed(32), prefix=6),
    "shopify-token": _key(lambda: "shpat_" + _hex(32), prefix=6),
    "square-token": _key(lambda: "sq0atp-" + _url64(22), prefix=7),
    "braintree-token": _key(lambda: "access_token$production$" + _hex(16) + "$" + _hex(32), prefix=24),
    "databricks-token": _key(lambda: "dapi" + _hex(32)),
    "datadog-key": _named("DATADOG_KEY", lambda: _hex(32)),
    "newrelic-key": _key(lambda: "NRAK-" + _mixed(27, string.ascii_uppercase + string.digits), prefix=5),
    "grafana-token": _key(lambda: "glsa_" + _mixed(32) + "_" + _hex(8), prefix=5),
    "dynatrace-token": _key(
        lambda: (
            f"dt0c01.{_mixed(24, string.ascii_uppercase + '234567')}.{_mixed(64, string.ascii_uppercase + '234567')}"
        ),
        prefix=7,
    ),
    "vault-token": _key(lambda: "hvs." + _url64(28)),
    "terraform-token": Cases(
        tuple(f'token = "«{_mixed(14)}.atlasv1.{_url64(67)}»"' for _ in range(2)),
        ("xxxxxxxxxxxxxx.atlasv1." + "x" * 67, f"{_mixed(14)}.atlasv2.{_url64(67)}", f"{_mixed(14)}.atlasv1.abc"),
    ),
    "pulumi-token": _key(lambda: "pul-" + _hex(40)),
    "tailscale-key": _key(lambda: "tskey-auth-" + _mixed(12) + "-" + _mixed(32), prefix=11),
    "planetscale-token": _key(lambda: "pscale_tkn_" + _url64(43), prefix=11),
    "supabase-key": _key(lambda: "sbp_" + _hex(40)),
    "linear-key": _key(lambda: "lin_api_" + _mixed(40), prefix=8),
    "notion-token": _key(lambda: "ntn_" + _digits(11) + _mixed(35)),
    "figma-token": _key(lambda: "figd_" + _url64(40), prefix=5),
    "airtable-token": _key(lambda: "pat" + _mixed(14) + "." + _hex(64), prefix=3),
    "atlassian-token": _key(lambda: "ATATT3" + _url64(64), prefix=6),
    "dropbox-token": _key(lambda: "sl." + _url64(64), prefix=3),
    "private-key": Cases(
        (
            f"cat key\n«{_pem('RSA PRIVATE KEY')}»\n",
            f'{{"private_key": "«{_pem("PRIVATE KEY", chr(92) + "n")}»"}}',
            f"«{_pem('OPENSSH PRIVATE KEY')}»",
            f"«{_pem('PGP PRIVATE KEY BLOCK')}»",
            f"cut: «{_pem('EC PRIVATE KEY', end=False)}»",
        ),
        (
            _pem("CERTIFICATE"),
            _pem("PUBLIC KEY"),
            "the file begins with " + "-" * 5 + "BEGIN PRIVATE KEY" + "-" * 5 + " and then has base64",
            "-" * 5 + "BEGIN RSA PRIVATE KEY" + "-" * 5 + "\n...\n" + "-" * 5 + "END RSA PRIVATE KEY" + "-" * 5,
        ),
    ),
    "putty-key": Cases(
        tuple(f"Private-Lines: 2\n«{_b64(64)}\n{_b64(40)}»" for _ in range(2)),
        (f"Public-Lines: 2\n{_b64(64)}", "Private-Lines: 2\n", "Private-Lines: 4\n" + "x" * 64),
    ),
    "age-key": Cases(
        (f"# public key\n«{_AGE}»\n", f"'«{_AGE}»'"),
        (_broken(_AGE, 30), "AGE-SECRET-KEY-1" + "Q" * 58, "age1" + _of(_BECH32, 58)),
    ),
    "jwt": Cases(
        (f"x-token: «{_JWT}»", f'"«{_JWT}»"', f"https://h.example/#id_token=«{_JWT}»&state=1"),
        (
            _part({"name": "no header"}) + "." + _part({"sub": 1}) + "." + _url64(43),
            _part({"alg": "none"}) + " alone",
            "eyJ" + "x" * 40 + "." + "y" * 40 + "." + "z" * 40,
        ),
    ),
    "database-url": Cases(
        (
            f"DATABASE_URL=postgres://app:«{_SECRET}»@db:5432/x",
            f"mongodb+srv://u:«{_TOKEN}»@c.mongodb.net",
            f"'redis://:«{_TOKEN}»@cache:6379/0'",
            f"amqp://u:«{_TOKEN}»@mq and mssql+pyodbc://sa:" + "${PASSWORD}@db",
            f"mysql://u:«a@{_TOKEN}»@h/db",
        ),
        (
            "postgres://user:password@localhost/db",
            "postgres://db:5432/x",
            "redis://:${REDIS_PASSWORD}@cache",
            "mysql://u:<pw>@h",
        ),
    ),
    "url-password": Cases(
        (f"curl https://ann:«{_SECRET}»@host.example/x", f"sftp://ann:«{_TOKEN}»@10.1.2.3/"),
        (
            "https://user:pass@host.example/",
            "https://host.example:8443/@ann",
            "https://ann@host.example/",
            "https://u:****@h/",
        ),
    ),
    "authorization-header": Cases(
        (
            f"Authorization: Bearer «{_TOKEN}»",
            f'"authorization": "Bearer «{_TOKEN}»"',
            f"Authorization: Basic «{_basic('ann:' + _SECRET)}»",
        ),
        (
            "Authorization: Bearer <token>",
            "Authorization: Bearer $TOKEN",
            f"Authorization: Basic {_basic('user:password')}",
            "Authorization: Bearer xxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ),
    ),
    "password": Cases(
        (f"password: «{_SECRET}»", f'passwd = "«{_SECRET}»"', f"Passwort: «{_SECRET}»", f'{{"pwd":"«{_SECRET}»"}}'),
        (
            "password = getpass.getpass()",
            "password: str = Field(...)",
            'password="your-password-here"',
            "password: ${DB_PASSWORD}",
            "The password: something that you know",
            "password=os.environ['PASSWORD']",
        ),
    ),
    "api-key": Cases(
        (f"api_key = '«{_TOKEN}»'", f'"client_secret": "«{_TOKEN}»"', f"?access_token=«{_TOKEN}»"),
        (
            "api_key = YOUR_API_KEY_GOES_HERE",
            "api_key=os.environ['API_KEY']",
            "access_token: the token of the session",
            "api_key=" + "a" * 32,
        ),
    ),
}

_FISCAL: Final = "RSSMRA85T10A562S"
_CHINESE: Final = _digit_that(lambda text: checksums.mod11_2(text.encode()), "11010519900307002", digits="0123456789X")
_AADHAAR: Final = _digit_that(lambda text: checksums.verhoeff(text.encode()), "49823471065")
_RRN: Final = _digit_that(
    lambda text: (
        (
            11
            - checksums.weighted(
                checksums.numbers(text.replace("-", "").encode()), (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
            )
            % 11
        )
        % 10
        == int(text[-1])
    ),
    "820701-240918",
)
_PESEL: Final = "44051401359"
_VIN: Final = "1M8GDM9AXKP042788"
_ZA: Final = "8001015009087"
_MRZ: Final = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10"

PERSONAL: Final[Mapping[str, Cases]] = {
    "email": Cases(
        (
            "write to «ann.lee+x@corp.com».",
            "<«Ann@mail.example.org»>",
            "[mail](mailto:«ann@corp.co.uk»)",
            "?to=«ann%40corp.de»&x=1",
            '{"e":"«ann@corp.io»"}',
            "«ann@sub.example.com»,bob",
        ),
        (
            "git@github.com:a/b.git",
            "logo@2x.png",
            "lodash@4.17.21",
            "@decorator.name",
            "a@b",
            "https://u:p4Zq9@host.com/",
            "x@y.localdomainname",
        ),
    ),
    "phone-international": Cases(
        ("call «+49 30 901820-55»", "(«+1 415 655 2671»)", "tel:«+442079460958»", "«0049 89 1234 5678»"),
        ("+1 2 3", "a+491234567890b", "c = a+1234567", "0012345678901", "+00:00", "+1 555 555 0123", "12+491"),
    ),
    "phone-north-america": Cases(
        ("ring «(415) 655-2671» now", "«415-655-2671»", "«1-415-655-2671»", "«415.655.2671»"),
        (
            "415-555-0123",
            "1-800-655-2671",
            "115-655-2671",
            "version 415.655.2671.9",
            "2024-415-655-2671",
            "000-000-0000",
        ),
    ),
    "phone-europe": Cases(
        ("«07700 912345»", "«01 42 68 53 00»", "«020 7946 0123» London"),
        ("17700 912345", "01 42 68 53", "01.42.68.53.00.17", "00 00 00 00 00"),
    ),
    "phone-named": Cases(
        ("Phone: «5551234567»", '"mobile": "«030 / 901820»"', "Tel.: «089-2180-2466»", "fax: «4021 7788»"),
        ("Phone: 2024-01-31", "Phone: n/a", "telescope: 1234567890", "Phone: 11111111", "hotel: 1234567"),
    ),
    "ipv4": Cases(
        ("from «93.184.216.34»:443", "http://«93.184.216.34»/x", '"ip":"«185.199.108.153»"', "server «13.107.6.152»"),
        (
            "Chrome/120.0.6099.71",
            "version 93.184.216.34",
            "93.184.216.34.5",
            "1.2.3.4",
            "192.0.2.17",
            "10.0.0.7",
            "127.0.0.1",
            "300.1.1.1",
            "8.8.8.8",
            "==13.107.6.152",
        ),
    ),
    "ipv4-private": Cases(
        ("from «192.168.1.20»", "«10.20.30.40»/24", "«172.16.5.4»"),
        ("93.184.216.34", "127.0.0.1", "version 10.20.30.40", "0.0.0.0"),
    ),
    "ipv6": Cases(
        ("ping «2606:4700:4700::1111»", "[«2a00:1450:4001:82a::200e»]:443", "«2A03:2880:F12F:83:FACE:B00C:0:25DE»"),
        ("2001:db8::1", "std::vector::iterator", "12:30:45", "::1", "fe80::1", "de:ad:be:ef:00:11"),
    ),
    "ipv6-private": Cases(
        ("addr «fd12:3456:789a::1»", "«fe80::1ff:fe23:4567:890a»"),
        ("2606:4700:4700::1111", "fe:80", "feed::face"),
    ),
    "mac-address": Cases(
        ("ether «3c:22:fb:4a:91:0e»", "«3C-22-FB-4A-91-0E»"),
        (
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
            "16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48",
            "3c:22:fb:4a:91",
            "12:30:45",
        ),
    ),
    "credit-card": Cases(
        (
            f"pay with «{_VISA}»",
            f"«{_fours(_VISA)}» 12/27",
            f"card «{_fours(_MASTER, '-')}», please",
            f"«{_AMEX[:4]} {_AMEX[4:10]} {_AMEX[10:]}»",
            f"9 «{_fours(_VISA)}»",
            f"1234 «{_fours(_MASTER)}» 5",
            f'{{"number":"«{_VISA}»"}}',
            f"«{' '.join(_VISA)}»",
            f"«{_fours(_VISA, '.')}»",
        ),
        (
            _broken(_VISA),
            _fours(_broken(_VISA)),
            "order 1234567890123456",
            "1700000000000000",
            "0000 0000 0000 0000",
            f"id{_VISA}x",
            " ".join(map(str, range(10, 99))),
            "2024-01-31 12:00:00.123456789",
            f"{_VISA}{_VISA}",
        ),
    ),
    "iban": Cases(
        (
            f"to «{_iban('DE', '370400440532013000')}»",
            f"IBAN «{_fours(_iban('GB', 'WEST12345698765432'))}» AND MORE",
            f"«{_iban('FR', '20041010050500013M02606')}».",
            f"«{_iban('NL', 'ABNA0417164300').lower()}»",
        ),
        (
            _broken(_iban("DE", "370400440532013000"), 9),
            "DE00 0000 0000 0000 0000 00",
            _iban("DE", "3704004405320130"),
            "SE12 of the series",
            "AT10 1234567890",
        ),
    ),
    "bic": Cases(
        ("BIC: «DEUTDEFF»", "SWIFT code: «BNPAFRPPXXX»", '"bic":"«INGBNL2A»"'),
        ("DEUTDEFF", "BIC: ABCDEFGH", "basic: ABSOLUTE", "SWIFT: UNKNOWN1"),
    ),
    "bitcoin-address": Cases(
        (f"send to «{_BITCOIN[0]}»", f"bitcoin:«{_BITCOIN[1]}»?amount=1"),
        (_broken(_BITCOIN[0], 9), "1" * 30, "1" + _of(_BASE58, 30)),
    ),
    "bitcoin-segwit-address": Cases(
        (f"send to «{_SEGWIT}»", f"«{_SEGWIT.upper()}»"),
        (_SEGWIT[:-1] + ("q" if _SEGWIT[-1] != "q" else "p"), "bc1" + "q" * 39, "bc1qqqqq"),
    ),
    "ethereum-address": Cases(
        (f"to «0x{_ETHEREUM}»", f"«0x{_ETHEREUM.lower()}»"),
        (f"0x{_ETHEREUM.swapcase()}", "0x" + "0" * 40, f"0x{_hex(64)}", _hex(40)),
    ),
    "date-of-birth": Cases(
        ("DOB: «1984-03-17»", "date of birth: «17/03/1984»", "geboren am «17.03.1984»", "born on «March 17, 1984»"),
        ("date: 1984-03-17", "DOB: unknown", "DOB: 2084-03-17", "born on the 4th of July", "birthday: 99/99/1984"),
    ),
    "coordinates": Cases(
        ("location: «52.5200, 13.4050»", "gps «-33.8688,151.2093»"),
        ("52.5200, 13.4050", "location: 1.5, 2.5", "location: 99.5200, 213.4050"),
    ),
    "vin": Cases(
        (f"VIN: «{_VIN}»", f"the vehicle «{_VIN}» is"),
        (_VIN, f"VIN: {_broken(_VIN, 9)}", "VIN: 11111111111111111"),
    ),
    "us-ssn": Cases(
        ("it is «536-22-1847».", '"«219-09-1234»"'),
        (
            "000-22-1847",
            "666-22-1847",
            "936-22-1847",
            "536-00-1847",
            "078-05-1120",
            "123-45-6789",
            "1-536-22-1847-2",
            "2024-12-0001",
        ),
    ),
    "us-ssn-named": Cases(
        ("SSN: «536221847»", "social security number «536 22 1847»", "(«536.22.1847», SSN)", "SSN 1 «536221847»"),
        ("order 536221847", "SSN: 000221847", "session: 536221847", "SSN: 123456789"),
    ),
    "us-itin": Cases(
        ("ITIN «912-70-1234»", "«900 88 4321»"),
        ("912-69-1234", "812-70-1234", "5-912-70-1234", "912701234"),
    ),
    "uk-nino": Cases(
        ("NI «AB 12 34 56 C»", "«JG103759A»"),
        ("BG 12 34 56 C", "AB123456E", "AB12345C", "DA123456C", "QQ123456C"),
    ),
    "uk-nhs": Cases(
        ("NHS number: «943 476 5919»", "NHS «9434765919»"),
        ("943 476 5919", "NHS number: 943 476 5918", "NHS England 2024"),
    ),
    "de-steuer-id": Cases(
        ("Steuer-ID: «86 095 742 719»", "IdNr «47036892816»"),
        ("86095742719", "Steuer-ID: 86095742718", "Steuer-ID: 12345678901"),
    ),
    "fr-nir": Cases(
        ("«1 85 05 78 006 084 91»", "«185057800608491»"),
        ("185057800608492", "185137800608491", "985057800608491"),
    ),
    "es-dni": Cases(
        ("DNI «12345678Z»", "«X1234567L»", "«12345678-Z»"),
        ("12345678A", "X1234567A", "12345678z9", "00000000T"),
    ),
    "it-codice-fiscale": Cases(
        (f"CF «{_FISCAL}»", f"«{_FISCAL.lower()}»"),
        (_FISCAL[:-1] + "A", "RSSMRA85X10A562S", "ABCDEF12G34H567"),
    ),
    "nl-bsn": Cases(
        ("BSN: «111222333»", "burgerservicenummer «123456782»"),
        ("111222333", "BSN: 111222334", "BSN: 111111110"),
    ),
    "pl-pesel": Cases(
        (f"PESEL: «{_PESEL}»", f"numer PESEL «{_PESEL}»"),
        (_PESEL, f"PESEL: {_broken(_PESEL)}", "PESEL: 44991401359"),
    ),
    "be-national-number": Cases(
        ("«85.07.30-033.28»", "nr «85.07.30-033.28»,"),
        ("85.07.30-033.29", "85.17.30-033.28", "85.07.30.033.28"),
    ),
    "be-national-number-named": Cases(
        ("rijksregisternummer: «85073003328»", "NISS «850730 033 28»"),
        ("85073003328", "NISS 85073003329", "NISS 85993003328"),
    ),
    "se-personnummer": Cases(
        ("«811228-9874»", "«19811228-9874»"),
        ("811228-9873", "811328-9874", "1-811228-9874-1", "8112289874"),
    ),
    "fi-hetu": Cases(
        ("«131052-308T»", "hetu «131052-308T»."),
        ("131052-308A", "991052-308T", "131052+30T"),
    ),
    "dk-cpr": Cases(
        ("CPR: «070761-4285»", "cpr-nummer «0707614285»"),
        ("070761-4285", "CPR: 990761-4285", "cpr is a training, call 1234"),
    ),
    "pt-nif": Cases(
        ("NIF: «123456789»", "contribuinte «123 456 789»"),
        ("123456789", "NIF: 123456780", "NIF: 111111111"),
    ),
    "ch-ahv": Cases(
        ("AHV «756.9217.0769.85»", "«7569217076985»"),
        ("756.9217.0769.86", "757.9217.0769.85", "756.92.17"),
    ),
    "br-cpf": Cases(
        ("CPF «529.982.247-25»", "«111.444.777-35»"),
        ("529.982.247-26", "111.111.111-11", "529.982.247"),
    ),
    "br-cpf-named": Cases(
        ("CPF: «52998224725»", "cpf «11144477735»"),
        ("52998224725", "CPF: 52998224726", "CPF: 11111111111"),
    ),
    "br-cnpj": Cases(
        ("«11.222.333/0001-81»", "CNPJ «11.444.777/0001-61»"),
        ("11.222.333/0001-82", "11.222.333/0001", "00.000.000/0000-00"),
    ),
    "br-cnpj-named": Cases(
        ("CNPJ: «11222333000181»", "cnpj «11444777000161»"),
        ("11222333000181", "CNPJ: 11222333000182", "CNPJ: 20240131120000"),
    ),
    "mx-curp": Cases(
        ("«HEGG560427MVZRRL04»", "CURP: «BOXW310820HNERXN09»"),
        ("HEGG560427MVZRRL05", "HEGG561327MVZRRL04", "ABCD560427MVZRRL04"),
    ),
    "ca-sin": Cases(
        ("SIN: «130 692 544»", "social insurance number «130692544»"),
        ("130 692 544", "SIN: 130 692 545", "sin(130692543)", "the sin of 1999"),
    ),
    "au-tfn": Cases(
        ("TFN: «123 456 782»", "tax file number «123456782»"),
        ("123456782", "TFN: 123456783", "TFN: 111111111"),
    ),
    "in-aadhaar": Cases(
        (f"«{_fours(_AADHAAR)}»", f"no «{_fours(_AADHAAR, '-')}»,"),
        (_fours(_broken(_AADHAAR)), f"1234 {_fours(_AADHAAR)} 5678", "2222 2222 2222"),
    ),
    "in-aadhaar-named": Cases(
        (f"Aadhaar: «{_AADHAAR}»", f"UIDAI no «{_AADHAAR}»"),
        (_AADHAAR, f"Aadhaar: {_broken(_AADHAAR)}", "Aadhaar: 222222222222"),
    ),
    "in-pan": Cases(
        ("PAN: «ABCPK1234L»", "permanent account number «AAACT2727Q»"),
        ("ABCPK1234L", "PAN: ABCDK1234L", "pan and tilt"),
    ),
    "cn-resident-id": Cases(
        (f"«{_CHINESE}»", f"身份证号«{_CHINESE}»。"),
        (_broken(_CHINESE, 8), _broken(_CHINESE, 16), "110105199013070020", "123456789012345678"),
    ),
    "jp-my-number": Cases(
        ("My Number: «1234 5678 9018»", "mynumber «123456789018»"),
        ("123456789018", "My Number: 123456789010", "my number one hit"),
    ),
    "kr-rrn": Cases(
        (f"«{_RRN}»", "«210315-3123456» child"),
        (_broken(_RRN), "821301-2409184", "820701-9409184", "8207012409184"),
    ),
    "za-id": Cases(
        (f"ID number: «{_ZA}»", "South African ID «800101 5009 087»"),
        (_ZA, "ID: 8013015009087", f"ID: {_broken(_ZA)}", "id: 1712010000000"),
    ),
    "passport-mrz": Cases(
        (f"«{_MRZ}»", "«" + _MRZ.replace("\n", "\\n") + "»"),
        (_MRZ.replace("7408122", "7408123"), _MRZ[:44], "P<" + "<" * 42 + "\n" + "<" * 44),
    ),
}

CASES: Final[Mapping[str, Cases]] = {**KEYS, **PERSONAL}

HONEST: Final = (
    "123e4567-e89b-12d3-a456-426614174000",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "Python 3.11.4 (main, Jun 7 2023, 10:13:09) [GCC 12.2.0] on linux",
    "1700000000 1700000000000 2024-01-31T12:00:00.123456Z 20240131120000",
    "order no. 4500012345, invoice 2024-000123, part 12-3456-789",
    'M12.5 3.1-.83.129-.825.129-1.391 0-3.53-1.804-6.003-5.23-6.003-2.962 0-5.822" fill="#aabbcc"',
    "0x7ffee4b2c8d0 in std::vector<int>::push_back at a.cc:12:30",
    "AKIAIOSFODNN7EXAMPLE and wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "The quick brown fox jumps over 12 lazy dogs, 34 cats and 5,678,901 mice (56.7 %).",
    "total 2948 drwxr-xr-x 730 root root 28672 Nov 22 06:48 .",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
    "password reset, API keys and access tokens are explained in chapter 4",
    "| 4021 | 5033 | 4532 |\n| 1200 | 8831 | 9920 |",
    "3.14159265358979323846264338327950288",
)
