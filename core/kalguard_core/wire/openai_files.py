"""Forms of OpenAI's APIs: uploads (also batches of requests), images to edit, sound to write down.

Rules of this file: a file of text is read, a batch of requests element by element with the reader that the live
request would have; any other file is media. A field that comes twice is refused, except those that are lists.
Sources: `FileCreateParams`, `ImageEditParams`, `TranscriptionCreateParams` of the official SDK;
https://platform.openai.com/docs/guides/batch.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from ..action import Action, Message
from ..codes import ErrorCode
from .base import Route
from .batch import Batch
from .json import JsonError, parse_json
from .media import is_text
from .multipart import Part, once
from .openai_chat import one_model, redirects
from .openai_parts import refuse_media
from .prompt import MAX_NODES, BodyError, Prompt
from .text import INNER, MAX_TEXTS, Place, shown

JsonReader = Callable[[str, dict[str, Any], Route], tuple[Action, ...]]
"""Provider, body and route in, actions out. Raises `prompt.BodyError`."""

# What a vendor takes for text by the name alone, where no type is declared.
_TEXT_NAMES: Final = (
    ".c",
    ".cc",
    ".cpp",
    ".cs",
    ".css",
    ".csv",
    ".go",
    ".h",
    ".htm",
    ".html",
    ".java",
    ".js",
    ".json",
    ".jsonl",
    ".log",
    ".md",
    ".php",
    ".py",
    ".rb",
    ".rs",
    ".rst",
    ".sh",
    ".sql",
    ".svg",
    ".tex",
    ".toml",
    ".ts",
    ".tsv",
    ".txt",
    ".xml",
    ".yaml",
    ".yml",
)
_NO_TYPE: Final = frozenset({"", "application/octet-stream"})
# What can be uploaded to be a file of a conversation; other purposes (training data, …) are refused.
_PURPOSES: Final = frozenset({"assistants", "batch", "evals", "user_data", "vision", "ocr", "audio"})
_LISTS: Final = frozenset(
    {
        "image[]",
        "include[]",
        "keywords[]",
        "known_speaker_names[]",
        "known_speaker_references[]",
        "languages[]",
        "timestamp_granularities[]",
        "image",
        "timestamp_granularities",
        "context_bias",
    }
)


class Form(Struct, frozen=True):
    """One kind of form: its action, and which fields may be files. `prompt` is what the user says, if it is there."""

    action: str
    files: frozenset[str]

    def __call__(self, provider: str, parts: tuple[Part, ...], route: Route) -> tuple[Action, ...]:
        """The actions of the form. Raises `BodyError` or `Refusal`."""
        fields = once(parts, _LISTS)
        model = route.parameters.get("deployment")
        if model is None and "model" in fields:
            model = one_model(fields["model"].text())
        prompt = Prompt(provider, model)
        for number, part in enumerate(parts):
            place: Place = (part.name, number, INNER)
            if part.filename is not None:
                if part.name not in self.files:
                    raise BodyError((part.name,), "must not be a file")
                _attach(prompt, part, place)
                continue
            if part.name in self.files:
                raise BodyError((part.name,), "must be a file")
            _read_field(prompt, part, place)
        stream = "stream" in fields and fields["stream"].text().lower() in ("true", "1")
        return prompt.actions(self.action, stream=stream)


class Upload(Struct, frozen=True):
    """A file for the vendor to keep. `batches`: readers by the `url` of a batch's element; none: no batches."""

    batches: Mapping[str, JsonReader]

    def __call__(self, provider: str, parts: tuple[Part, ...], route: Route) -> tuple[Action, ...]:
        """The actions of the upload, and those in it. Raises `BodyError` or `Refusal`."""
        fields = once(parts, _LISTS)
        purpose = fields["purpose"].text() if "purpose" in fields else ""
        if purpose not in _PURPOSES or (purpose == "batch" and not self.batches):
            raise BodyError(("purpose",), f"'{shown(purpose)}' is not supported", ErrorCode.POLICY_DENY)
        file = fields.get("file")
        if file is None or file.filename is None:
            raise BodyError(("file",), "is missing")
        prompt = Prompt(provider, None)
        found: tuple[Action, ...] = ()
        for number, part in enumerate(parts):
            place: Place = (part.name, number, INNER)
            if part is file:
                if purpose == "batch":
                    found = read_lines(provider, file.data, self.batches)
                    prompt.rest("file", file.filename, (*place, "filename"))
                else:
                    _attach(prompt, part, place)
            elif part.filename is not None:
                raise BodyError((part.name,), "must not be a file")
            elif part.name != "purpose":
                _read_field(prompt, part, place)
        first, *more = prompt.actions("llm:file", purpose=purpose)
        return (first, *more, *found)


def read_lines(provider: str, data: bytes, readers: Mapping[str, JsonReader]) -> tuple[Action, ...]:
    """The actions of a batch: one JSON object a line, each a request. Raises `BodyError`."""
    if data.count(b"\n") > MAX_TEXTS:
        raise BodyError(("file",), "has too many lines")
    batch = Batch()
    for number, line in enumerate(data.split(b"\n"), 1):
        place: Place = (f"line {number}",)
        if not line.strip(b" \t\r"):
            continue
        try:
            element = parse_json(line, max_nodes=MAX_NODES)
        except JsonError as error:
            raise BodyError(place, f"is not valid JSON: {error}") from None
        if type(element) is not dict:
            raise BodyError(place, "must be an object")
        url = element.get("url")
        reader = readers.get(url) if type(url) is str else None
        body = element.get("body")
        if reader is None or element.get("method") != "POST" or type(body) is not dict:
            raise BodyError(place, "must be a POST to an endpoint that batches have, with a body")
        beside = Prompt(provider, None)
        beside.others(element, frozenset({"url", "method", "body"}), place)
        read_element(batch, reader, provider, body, place, beside.actions("llm:batch")[0].messages)
    return batch.actions()


def read_element(
    batch: Batch,
    reader: JsonReader,
    provider: str,
    body: dict[str, Any],
    place: Place,
    beside: tuple[Message, ...] = (),
) -> None:
    """Add one request to a batch. Raises `BodyError`, with the request's place before that of the problem."""
    try:
        actions = reader(provider, body, _BATCH)
    except BodyError as error:
        raise BodyError(place, str(error), error.code) from None
    batch.add(actions, place, beside)


_BATCH: Final = Route("batch")


_FIELDS: Final = frozenset({"model", "prompt", "file", "file_id", "file_url", "stream", "purpose"})


def _read_field(prompt: Prompt, part: Part, place: Place) -> None:
    # LiteLLM reads "model[]" as "model"; others would read "model[0]" so.
    name = part.name.partition("[")[0].casefold()
    if redirects(name):
        raise BodyError((part.name,), "is not supported: it changes where the prompt goes or how it is read")
    if name != part.name and name in _FIELDS:
        raise BodyError((part.name,), f"is not a known field (did you mean {name!r}?)")
    text = part.text()
    if part.name == "prompt":
        prompt.message_count += 1
        prompt.say("user", text, place)
    elif part.name == "file_id":
        prompt.refer("file", text, (part.name,))
    elif part.name == "file_url":
        prompt.attach_url(text, place)
    elif part.name.startswith("known_speaker_references"):
        prompt.attach_url(text, place, kind="audio/*")
    elif part.name != "model":
        refuse_media({name: text}, frozenset(), place)
        prompt.others({part.name: text}, frozenset(), place)


def _attach(prompt: Prompt, part: Part, place: Place) -> None:
    name = (part.filename or "").lower()
    media_type = part.media_type
    plain = name.endswith(_TEXT_NAMES)
    if media_type in _NO_TYPE and plain:
        media_type = "text/plain"
    if is_text(media_type):
        prompt.attach(media_type, part.text(), place, encoded=False, name=part.filename)
    # The vendor may go by the name: what is called x.pdf is no text to it, whatever it is declared as.
    if not is_text(media_type) or ("." in name and not plain):
        kind = "" if is_text(media_type) else media_type
        prompt.attach(kind, b64encode(part.data).decode("ascii"), place, name=part.filename)


def _names(*names: str) -> frozenset[str]:
    return frozenset(names)


def read_batch(provider: str, document: dict[str, Any], route: Route) -> tuple[Action, ...]:
    """A batch that is started: the file with its requests is one that the vendor keeps."""
    prompt = Prompt(provider, None)
    for name in ("input_blob", "output_folder"):
        if document.get(name) is not None:
            raise BodyError((name,), "is not supported: it names a store of somebody's", ErrorCode.POLICY_DENY)
    prompt.refer("file", document.get("input_file_id"), ("input_file_id",))
    prompt.others(document, frozenset({"input_file_id"}), ())
    endpoint = document.get("endpoint")
    if type(endpoint) is not str:
        raise BodyError(("endpoint",), "must be a path")
    return prompt.actions("llm:batch", endpoint=shown(endpoint))


EDITS: Final = Form("llm:image", _names("image", "image[]", "mask", "markup"))
VARIATIONS: Final = Form("llm:image", _names("image"))
TRANSCRIPTIONS: Final = Form("llm:audio", _names("file"))
