"""What a model request holds, gathered by a protocol's reader and turned into actions.

Rules of this file: what can be read is text with a role; what acts or lies outside our sight is an action of its
own that only a rule which names it can allow (`Action.explicit`); what is neither is refused by the reader.

    gathered by     becomes
    say, rest       messages of the prompt (`rest`: every string below a value, whatever its name)
    offer           attribute `toolNames`: functions that the agent itself runs
    host            `tool:execute` of `hosted:<tool>`: a tool that the vendor runs (web search, remote MCP, …)
    refer           `content:reference`: content that the vendor keeps (a file id, a conversation, a cache, …)
    attach          text with the role "file" where it is text, else `content:media` (images, sound, PDF, …)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from ..action import HOSTED, Action, Attribute, Message
from ..codes import CONTENT_MEDIA, CONTENT_REFERENCE, PROMPT_CHECK, TOOL_EXECUTE, Capability, ErrorCode
from ..request import Refusal
from .base import LLM_CALL, PROMPT, Reading
from .json import JsonError, parse_json
from .media import MediaError, data_url, media_type_of, read_attachment, without_markup_escapes
from .text import INNER, Place, TooMuchText, collect, collect_names, collect_repeated, place_name, shown

# Every value may become a message, so this is lower than what the JSON reader could take.
MAX_NODES: Final = 50_000
MAX_MODEL: Final = 256
# Actions of one request: each is asked of the policy and is one audit event.
MAX_ACTIONS: Final = 64
_MAX_IDENTIFIER: Final = 256
# Members with the texts at which a model is to stop, and what stands there by itself: marks of templates, which open
# no turn, since no model reads them.
_STOPS: Final = frozenset({"stop", "stop_sequences", "stopSequences"})
_STOP_MARKS: Final = frozenset(
    {f"<|{name}|>" for name in ("im_start", "im_end", "endoftext", "system", "user", "assistant", "end_of_text")}
    | {f"<|{name}|>" for name in ("start_header_id", "end_header_id", "eot_id", "eom_id", "eot")}
    | {"[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<start_of_turn>", "<end_of_turn>"}
)
# Types in use that are longer than this ("application/vnd.openxmlformats-…") cost only that they are read.
_LONG_TYPE: Final = 32
# JSON inside of JSON inside of JSON: deeper than any client writes it.
_MAX_INNER: Final = 4

# Names of files, objects and resources without spaces are made of these; no sentence is.
_IDENTIFIER: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/@=+")
# Most backslashes in code and paths begin no escape of JSON's.
_ESCAPE: Final = re.compile(r"""\\[nrtbfu"/\\]""")
# What JSON escapes with one letter, and a backslash that begins no other escape.
_ESCAPES: Final = (
    ("\\n", "\n"),
    ("\\r", "\r"),
    ("\\t", "\t"),
    ("\\b", "\b"),
    ("\\f", "\f"),
    ('\\"', '"'),
    ("\\/", "/"),
)
_NO_ESCAPE: Final = re.compile(r"\\(?!u[0-9a-fA-F]{4})")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_HALF: Final = re.compile("[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]")
_PERCENT: Final = re.compile(r"%[0-9a-fA-F]{2}")
_PERCENTS: Final = re.compile(rb"%+")
_PERCENT_BYTES: Final = re.compile(rb"%(?=[0-9a-fA-F]{2})")
# The codec takes its time for what is no escape; above this many, they are told apart first.
_FEW_PERCENTS: Final = 10_000
_JSON_BEGIN: Final = ("{", "[", '"')
_SCHEME: Final = 16  # so far into a text the name of a URL's scheme ends
_PORTS: Final = {"http": 80, "https": 443}
_NUMBER: Final = frozenset("0123456789")
_HOST: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")

_TOOL: Final = (Capability.TOOL_EXECUTE.value,)


class BodyError(Exception):
    """A body that is refused: where, and what is wrong. `code` is BAD_REQUEST unless said otherwise."""

    def __init__(self, place: Place, problem: str, code: ErrorCode = ErrorCode.BAD_REQUEST) -> None:
        super().__init__(f"{place_name(place)} {problem}".strip())
        self.code = code


def read_json(body: bytes, read: Callable[[dict[str, Any]], tuple[Action, ...]]) -> Reading:
    """The reading of a body that is one JSON object. Raises `Refusal` with the place of what is wrong."""
    try:
        document = parse_json(body, max_nodes=MAX_NODES)
    except JsonError as error:
        raise Refusal(ErrorCode.BAD_REQUEST, f"the body is not valid JSON: {error}") from None
    if type(document) is not dict:
        raise Refusal(ErrorCode.BAD_REQUEST, "the body must be a JSON object")
    return Reading(guarded(read, document), document)


def guarded(read: Callable[[dict[str, Any]], tuple[Action, ...]], document: dict[str, Any]) -> tuple[Action, ...]:
    """`read(document)`, with what is wrong as a `Refusal`."""
    try:
        return read(document)
    except BodyError as error:
        raise Refusal(error.code, str(error)) from None
    except TooMuchText:
        raise Refusal(ErrorCode.BAD_REQUEST, "the body holds too many texts") from None


def model_name(value: Any, place: Place = ("model",)) -> str:
    """The name of a model, as policy may see it. Raises `BodyError`."""
    if type(value) is not str or not 0 < len(value) <= MAX_MODEL or not value.isprintable() or " " in value:
        raise BodyError(place, "must be the name of a model")
    return value


class Prompt:
    """Gathers what one model request holds. `provider` and `model` go into every action."""

    __slots__ = ("_attached", "_beside", "_media", "_offered", "_others", "_said", "message_count", "model", "provider")

    def __init__(self, provider: str, model: str | None) -> None:
        self.provider = provider
        self.model = model
        self.message_count = 0
        self._said: list[Message] = []
        self._attached: list[Message] = []
        self._beside: list[Message] = []
        self._offered: list[str] = []
        self._media = 0
        self._others: dict[Any, Action] = {}

    def say(self, role: str, text: str, place: Place) -> None:
        """Text that the model reads as the turn of `role`."""
        self._said.append(Message(role, text, place))

    def rest(self, role: str, value: Any, place: Place) -> None:
        """Every string in `value`: said beside the turns, or in members that no reader knows ("unread").

        It comes after all that is said: the firewall reads neighbours of one role together, and a name between
        two halves of an attack must not part them.
        """
        collect(self._beside, role, value, place)

    def tools(self, value: Any, place: Place) -> None:
        """`rest` for the definitions of tools, which are the same in each request of an agent."""
        collect_repeated(self._beside, "tool", value, place)

    def others(self, value: Mapping[str, Any], known: frozenset[str], place: Place, role: str = "unread") -> None:
        """`rest` of the members of an object that are not `known`, and their names.

        Raises `BodyError` for a name that differs from a known one only by case: some readers (Go's) would take
        it for that one.
        """
        folded: dict[str, str] | None = None
        for key, member in value.items():
            if key in known:
                continue
            if folded is None:  # made only where there is something that is not known
                folded = {name.casefold(): name for name in known}
            if key.casefold() in folded:
                raise BodyError((*place, key), f"is not a known member (did you mean {folded[key.casefold()]!r}?)")
            collect(self._beside, role, member, (*place, key))
        collect_names(self._beside, role, value, place)

    def offer(self, name: Any) -> None:
        """A function that the agent offers to the model and runs by itself."""
        self._offered.append(shown(name, 128) if type(name) is str else "")

    def host(self, tool: str, arguments: Mapping[str, Any], place: Place, *, url: Any = None) -> None:
        """A tool that the vendor runs. `tool`: "web_search", "mcp", …; `url`: where it connects, if it says so.

        Its text is read with that of the prompt, so this needs no `rest` beside it.
        """
        name = f"{HOSTED}{shown(tool)}"
        attributes: dict[str, Attribute] = self._attributes(toolName=name, hosted=True)
        if url is not None:
            attributes["host"] = url_host(url, place)
        self._add(
            (name, place, attributes.get("host")),
            Action(TOOL_EXECUTE, _TOOL, name, name, self.model, arguments, (), attributes, explicit=True),
        )
        collect(self._beside, "tool", arguments, place)

    def hosts(self, tools: frozenset[str]) -> bool:
        """Whether the vendor is to run one of these tools, as far as the request was read."""
        return any(each.tool is not None and each.tool.removeprefix(HOSTED) in tools for each in self._others.values())

    def refer(self, kind: str, identifier: Any, place: Place) -> None:
        """Content that the vendor keeps. `kind`: "file", "response", "conversation", "cache", ….

        Raises `BodyError` if `identifier` is not one.
        """
        if type(identifier) is not str or not 0 < len(identifier) <= _MAX_IDENTIFIER or not identifier.isprintable():
            raise BodyError(place, "must be an identifier")
        if not _IDENTIFIER.issuperset(identifier):  # it could say something
            self.rest("unread", identifier, place)
        resource = f"{kind}:{identifier}"
        self._add(
            resource,
            Action(
                CONTENT_REFERENCE,
                LLM_CALL,
                resource,
                model=self.model,
                attributes=self._attributes(referenceType=kind),
                explicit=True,
            ),
        )

    def attach(self, media_type: Any, data: Any, place: Place, *, encoded: bool = True, name: Any = None) -> None:
        """An attachment whose bytes are in the request: base64 if `encoded`, else text.

        `media_type`: as declared; "" or None if nothing is. `name`: its file name, which a model may be shown.
        """
        if type(data) is not str:
            raise BodyError(place, "must be a string")
        if name is not None:
            self.rest("file", name, (*place, INNER))
        if type(media_type) is str and (";" in media_type or len(media_type) > _LONG_TYPE):
            self.rest("file", media_type, (*place, INNER))  # it, or its parameters, can say anything
        declared = media_type_of(media_type)
        if declared is None:
            raise BodyError(place, "has no valid media type")
        if encoded and "://" in data[:_SCHEME]:  # DashScope fetches it, and others may
            self.attach_url(data, place, kind=declared)
            return
        inner = (*place, INNER) if encoded else place
        try:
            text, is_all = read_attachment(declared, data, encoded=encoded)
        except MediaError as error:
            raise BodyError(place, str(error)) from None
        if text is not None:
            self._attached.append(Message("file", text, inner))
        if not is_all:
            self._see(declared, "inline", "", len(data) * 3 // 4 if encoded else len(data))

    def attach_url(self, url: Any, place: Place, *, kind: str = "*/*") -> None:
        """An attachment that is somewhere: a data URL, which is read, or one that the vendor fetches.

        `kind`: what it is if the URL does not say so, like "image/*".
        """
        if type(url) is not str:
            raise BodyError(place, "must be a URL")
        try:
            inline = data_url(url)
        except MediaError as error:
            raise BodyError(place, str(error)) from None
        if inline is not None:
            where = place if inline.encoded else (*place, INNER)
            self.attach(inline.media_type, inline.data, where, encoded=inline.encoded)
            return
        self.rest("file", url, place)
        self._see(kind, "url", url_host(url, place), 0)

    def actions(
        self, name: str = PROMPT_CHECK, *, stream: bool = False, max_tokens: Any = None, **attributes: Attribute
    ) -> tuple[Action, ...]:
        """The actions of the request; the first one holds all text.

        `name`: `prompt:check`, or `llm:<what>` for a call that is no conversation.
        """
        # The firewall reads neighbours of one role together: a file between two halves of an attack must not part them.
        texts = self._said
        texts += self._attached
        texts += [each for each in self._beside if each.text not in _STOP_MARKS or not _is_stop(each)]
        if len(self._others) > MAX_ACTIONS:
            raise BodyError((), f"more than {MAX_ACTIONS} references, hosted tools and attachments in one request")
        whole = "".join([message.text for message in texts])
        if "%" in whole or "\\" in whole or "&" in whole:
            unwrap(texts)
        found: dict[str, Attribute] = {
            "messageCount": self.message_count,
            "stream": stream,
            "toolCount": len(self._offered),
            "provider": self.provider,
            "tokenEstimate": (len(whole) + 3) // 4,
        }
        if self.model is not None:
            found["model"] = self.model
        if self._offered:
            found["toolNames"] = tuple(self._offered)
        if type(max_tokens) is int and max_tokens > 0:  # -1 is no limit to many servers
            found["maxTokens"] = max_tokens
        if self._others:
            self._summarise(found)
        if attributes:
            found.update(attributes)
        first = Action(
            name,
            PROMPT if name == PROMPT_CHECK else LLM_CALL,
            self.model,
            None,
            self.model,
            None,
            tuple(texts),
            found,
        )
        return (first, *self._others.values()) if self._others else (first,)

    def _attributes(self, **attributes: Attribute) -> dict[str, Attribute]:
        attributes["provider"] = self.provider
        if self.model is not None:
            attributes["model"] = self.model
        return attributes

    def _add(self, key: Any, action: Action) -> None:
        if len(self._others) <= MAX_ACTIONS:  # one more than allowed is refused at the end, whatever else there is
            self._others.setdefault(key, action)

    def _see(self, media_type: str, source: str, host: str, size: int) -> None:
        self._media += 1
        attributes = self._attributes(mediaType=media_type, source=source, bytes=size)
        if host:
            attributes["host"] = host
        self._add(
            (media_type, source, host, size),
            Action(CONTENT_MEDIA, LLM_CALL, media_type, model=self.model, attributes=attributes, explicit=True),
        )

    def _summarise(self, found: dict[str, Attribute]) -> None:
        others = self._others.values()
        media = [action for action in others if action.name == CONTENT_MEDIA]
        if media:
            found["mediaCount"] = self._media  # those that no rule could tell apart are one action
            found["mediaTypes"] = tuple(dict.fromkeys(str(action.resource) for action in media))
        hosts = [str(action.attributes["host"]) for action in others if "host" in action.attributes]
        if hosts:
            found["urlHosts"] = tuple(dict.fromkeys(hosts))
        hosted = [str(action.tool) for action in others if action.tool is not None]
        if hosted:
            found["hostedTools"] = tuple(dict.fromkeys(hosted))


def _is_stop(message: Message) -> bool:
    return message.role == "unread" and not _STOPS.isdisjoint(message.where[-2:])


def unwrap(texts: list[Message]) -> None:
    """Add what a text says without its escapes: behind them, a word does not look like one. Raises `BodyError`.

    JSON is read; what looks like it but can't be read strictly (cut, several documents, a name twice, words around
    it) may be readable for somebody else, so its escapes are undone as they stand there. What a URI says is read
    without its percent escapes as well, and markup without its character references.
    """
    _add_plain(
        texts, [message for message in texts if "%" in message.text and _may_be_uri(message.text)], _without_percent
    )
    _unwrap_json(texts)
    _add_plain(texts, [message for message in texts if "&" in message.text], without_markup_escapes)


def _add_plain(texts: list[Message], escaped: list[Message], undo: Callable[[str], str]) -> None:
    for message in escaped:
        plain = undo(message.text)
        if plain != message.text:
            texts.append(Message(message.role, plain, (*message.where, INNER)))


def _unwrap_json(texts: list[Message]) -> None:
    wrapped = [message for message in texts if "\\" in message.text and _ESCAPE.search(message.text)]
    for _ in range(_MAX_INNER):
        inner: list[Message] = []
        for message in wrapped:
            here = (*message.where, INNER)
            try:
                if not message.text.lstrip().startswith(_JSON_BEGIN):
                    raise JsonError("no JSON", 0)
                document = parse_json(message.text.encode("utf-8", "surrogatepass"), max_nodes=MAX_NODES)
            except JsonError:
                plain = _without_escapes(message.text)
                if plain != message.text:
                    inner.append(Message(message.role, plain, here))
                continue
            collect(inner, message.role, document, here)
        texts += inner
        wrapped = [each for each in inner if "\\" in each.text and _ESCAPE.search(each.text)]
        if not wrapped:
            return
    for message in wrapped:  # what is left of a text that is full of them, as code is, says nothing more
        if _may_be_json(message.text):
            raise BodyError(message.where, f"is JSON inside of JSON, more than {_MAX_INNER} levels deep")


def _may_be_uri(text: str) -> bool:
    """Whether a receiver may undo percent escapes in it: there are some, and prose has no letters behind a "%"."""
    return _PERCENT.search(text) is not None


def _without_percent(text: str) -> str:
    """`text` with its percent escapes and "+" undone; what can't be is "?"."""
    # The codec of \x escapes does it at C speed.
    data = text.replace("+", " ").encode("utf-8", "replace")
    if b"%%" in data:
        data = _PERCENTS.sub(b"%", data)
    data = data.replace(b"\\", b"\\\\")
    percents = data.count(b"%")
    if percents > _FEW_PERCENTS and len(_PERCENT_BYTES.findall(data)) < percents // 2:
        data = _PERCENT_BYTES.sub(rb"\\x", data).replace(b"%", b"?")
    plain = data.replace(b"%", b"\\x").decode("unicode_escape", "replace")
    return plain.encode("latin-1", "replace").decode("utf-8", "replace")


def _may_be_json(text: str) -> bool:
    return "\\u" in text or text.lstrip().startswith(_JSON_BEGIN)


def _without_escapes(text: str) -> str:
    """`text` with JSON's escapes undone, at C speed: there may be a million."""
    plain = text.replace("\\\\", "\0")  # so that a backslash that is left begins an escape
    for escape, char in _ESCAPES:
        plain = plain.replace(escape, char)
    plain = _NO_ESCAPE.sub("\0", plain).encode("raw_unicode_escape").decode("raw_unicode_escape").replace("\0", "\\")
    if _SURROGATE.search(plain) is None:
        return plain
    # Two escapes may be one character; a half of one is none.
    return _HALF.sub("\ufffd", plain).encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def url_host(url: Any, place: Place) -> str:
    """The host (and port, unless it is the scheme's) that a vendor would fetch from.

    Raises `BodyError` unless all readers agree about it: no user name, no escapes, no address written as a number.
    """
    problem = "must be a plain http or https URL"
    if type(url) is not str or len(url) > 8192 or not (url.isascii() and url.isprintable()):
        raise BodyError(place, problem)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise BodyError(place, problem) from None
    if (
        " " in url
        or "\\" in url
        or "@" in parts.netloc
        or "%" in parts.netloc
        or parts.scheme not in _PORTS
        or not _is_host(host)
    ):
        raise BodyError(place, problem)
    if ":" in host:
        host = f"[{host}]"
    return host if port is None or port == _PORTS[parts.scheme] else f"{host}:{port}"


def _is_host(host: str) -> bool:
    """Whether `host` is a name, or an address in its usual form."""
    if not host or len(host) > 253:
        return False
    last = host.rpartition(".")[2]
    if ":" in host or not last or last[0] in _NUMBER:
        try:
            return str(ip_address(host)) == host
        except ValueError:
            return False
    return _HOST.issuperset(host) and ".." not in host and host[0] != "."
