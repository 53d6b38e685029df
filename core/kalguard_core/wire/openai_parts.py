"""The parts of a message's content, as OpenAI's APIs and those modelled on them write them.

Rules of this file: a part is what its `type` says; a type that is not in the table is refused, and so is a part
that also carries a member of another type, since a lax server might read that one.
Sources: the `*ContentPart*Param`, `ResponseInput*Param` and `*Chunk` types of the official SDKs of OpenAI and
Mistral; vLLM's `chat_utils.py` for `video_url` and `audio_url`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..codes import ErrorCode
from .prompt import BodyError, Prompt
from .text import Place, shown

# The member that has the text of a part, by the part's type.
TEXT_PARTS: Final = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "summary_text": "text",
    "reasoning_text": "text",
    "refusal": "refusal",
}

_MEDIA_MEMBERS: Final = frozenset(
    {
        "audio",
        "audio_url",
        "document",
        "document_url",
        "file",
        "file_data",
        "file_id",
        "file_url",
        "image",
        "image_data",
        "image_embeds",
        "image_file",
        "image_url",
        "images",
        "input_audio",
        "multi_modal_data",
        "multimodal_data",
        "pdf",
        "video",
        "video_url",
    }
)
_TEXT_KEYS: Final = {name: frozenset({"type", name}) for name in ("text", "refusal")}
_IMAGE_KEYS: Final = frozenset({"type", "image_url", "file_id"})
_URL_KEYS: Final = frozenset({"url"})
_AUDIO_KEYS: Final = frozenset({"data", "format"})
_FILE_KEYS: Final = frozenset({"file_data", "file_id", "file_url", "filename"})
_FORMAT: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def read_parts(prompt: Prompt, parts: list[Any], role: str, place: Place) -> None:
    """All parts of a content list. Raises `BodyError`."""
    if not parts:
        raise BodyError(place, "must not be empty")
    for index, part in enumerate(parts):
        read_part(prompt, part, role, (*place, index))


def read_part(prompt: Prompt, part: Any, role: str, place: Place) -> None:
    """One part. Raises `BodyError`; 415 where its type is not known."""
    if type(part) is not dict:
        raise BodyError(place, "must be an object")
    kind = part.get("type")
    if type(kind) is not str:
        raise BodyError((*place, "type"), "must be a string")
    name = TEXT_PARTS.get(kind)
    if name is not None:
        text = part.get(name)
        if type(text) is not str:
            raise BodyError((*place, name), "must be a string")
        prompt.say(role, text, (*place, name))
        if len(part) == 2:
            return
        known = _TEXT_KEYS[name]
    else:
        reader = _READERS.get(kind)
        if reader is None:
            raise unsupported(kind, place)
        known = reader(prompt, part, place)
    refuse_media(part, known, place)
    prompt.others(part, known, place)


def unsupported(kind: str, place: Place) -> BodyError:
    """The error for a `type` that no reader knows."""
    return BodyError(place, f"has the type '{shown(kind)}', which is not supported", ErrorCode.UNSUPPORTED_MEDIA_TYPE)


def refuse_media(value: dict[str, Any], known: frozenset[str], place: Place) -> None:
    """Raise `BodyError` for an attachment that stands where no reader of ours looks for one."""
    if _MEDIA_MEMBERS.isdisjoint(value):
        return
    for name in value:
        if name in _MEDIA_MEMBERS and name not in known and value[name] is not None and value[name] != []:
            raise BodyError((*place, name), "is not supported here", ErrorCode.UNSUPPORTED_MEDIA_TYPE)


def read_content(prompt: Prompt, content: Any, role: str, place: Place) -> None:
    """A content that is a text or a list of parts. Raises `BodyError`."""
    if type(content) is str:
        prompt.say(role, content, place)
    elif type(content) is list:
        read_parts(prompt, content, role, place)
    else:
        raise BodyError(place, "must be a string or a list of parts")


def read_file(prompt: Prompt, file: dict[str, Any], place: Place) -> None:
    """A file by its data, its URL or its id: one of them at least."""
    found = False
    data = file.get("file_data")
    if data is not None:
        found = True
        if type(data) is str and data[:5].lower() == "data:":
            prompt.attach_url(data, (*place, "file_data"))
        else:
            prompt.attach(None, data, (*place, "file_data"))
    if file.get("file_url") is not None:
        found = True
        prompt.attach_url(file["file_url"], (*place, "file_url"))
    if file.get("file_id") is not None:
        found = True
        prompt.refer("file", file["file_id"], (*place, "file_id"))
    if not found:
        raise BodyError(place, "has no file")
    prompt.rest("file", file.get("filename"), (*place, "filename"))


def read_image(prompt: Prompt, image: dict[str, Any], place: Place) -> None:
    """An image by its URL (a text, or an object with it) or its file id."""
    url, file_id = image.get("image_url"), image.get("file_id")
    if url is None and file_id is None:
        raise BodyError(place, "has no image")
    if url is not None:
        _url(prompt, url, (*place, "image_url"), "image/*")
    if file_id is not None:
        prompt.refer("file", file_id, (*place, "file_id"))


def read_audio(prompt: Prompt, audio: Any, place: Place) -> None:
    """Sound: `{data, format}`, or base64 alone, or a URL."""
    if type(audio) is str:
        if "://" in audio[:16] or audio[:5].lower() == "data:":
            prompt.attach_url(audio, place, kind="audio/*")
        else:
            prompt.attach(None, audio, place)
        return
    if type(audio) is not dict:
        raise BodyError(place, "must be an object")
    name = audio.get("format")
    if name is not None and (type(name) is not str or not 0 < len(name) <= 16 or not _FORMAT.issuperset(name)):
        raise BodyError((*place, "format"), "must be the name of a format")
    prompt.attach(None if name is None else f"audio/{name}", audio.get("data"), (*place, "data"))
    prompt.others(audio, _AUDIO_KEYS, place)


def _url(prompt: Prompt, value: Any, place: Place, kind: str) -> None:
    if type(value) is dict:
        prompt.attach_url(value.get("url"), (*place, "url"), kind=kind)
        refuse_media(value, _URL_KEYS, place)
        prompt.others(value, _URL_KEYS, place)
    else:
        prompt.attach_url(value, place, kind=kind)


def _image_part(prompt: Prompt, part: dict[str, Any], place: Place) -> frozenset[str]:
    read_image(prompt, part, place)
    return _IMAGE_KEYS


def _image_file_part(prompt: Prompt, part: dict[str, Any], place: Place) -> frozenset[str]:
    image = part.get("image_file")
    here = (*place, "image_file")
    if type(image) is not dict:
        raise BodyError(here, "must be an object")
    prompt.refer("file", image.get("file_id"), (*here, "file_id"))
    refuse_media(image, frozenset({"file_id"}), here)
    prompt.others(image, frozenset({"file_id"}), here)
    return frozenset({"type", "image_file"})


def _audio_part(prompt: Prompt, part: dict[str, Any], place: Place) -> frozenset[str]:
    read_audio(prompt, part.get("input_audio"), (*place, "input_audio"))
    return frozenset({"type", "input_audio"})


def _file_part(prompt: Prompt, part: dict[str, Any], place: Place) -> frozenset[str]:
    file = part.get("file")
    if file is None:  # Mistral's has its id beside the type
        read_file(prompt, part, place)
        return _FILE_KEYS | {"type"}
    if type(file) is not dict:
        raise BodyError((*place, "file"), "must be an object")
    read_file(prompt, file, (*place, "file"))
    refuse_media(file, _FILE_KEYS, (*place, "file"))
    prompt.others(file, _FILE_KEYS, (*place, "file"))
    return frozenset({"type", "file"})


def _input_file_part(prompt: Prompt, part: dict[str, Any], place: Place) -> frozenset[str]:
    read_file(prompt, part, place)
    return _FILE_KEYS | {"type"}


def _video_part(prompt: Prompt, part: dict[str, Any], place: Place) -> frozenset[str]:
    _url(prompt, part.get("video_url"), (*place, "video_url"), "video/*")
    return frozenset({"type", "video_url"})


def _audio_url_part(prompt: Prompt, part: dict[str, Any], place: Place) -> frozenset[str]:
    _url(prompt, part.get("audio_url"), (*place, "audio_url"), "audio/*")
    return frozenset({"type", "audio_url"})


def _document_part(prompt: Prompt, part: dict[str, Any], place: Place) -> frozenset[str]:
    _url(prompt, part.get("document_url"), (*place, "document_url"), "*/*")
    prompt.rest("file", part.get("document_name"), (*place, "document_name"))
    return frozenset({"type", "document_url", "document_name"})


def _thinking_part(prompt: Prompt, part: dict[str, Any], place: Place) -> frozenset[str]:
    prompt.rest("assistant", part.get("thinking"), (*place, "thinking"))
    return frozenset({"type", "thinking"})


def _reference_part(prompt: Prompt, part: dict[str, Any], place: Place) -> frozenset[str]:
    prompt.rest("assistant", part.get("reference_ids"), (*place, "reference_ids"))
    return frozenset({"type", "reference_ids"})


def _tool_file_part(prompt: Prompt, part: dict[str, Any], place: Place) -> frozenset[str]:
    prompt.refer("file", part.get("file_id"), (*place, "file_id"))
    return frozenset({"type", "file_id"})


_READERS: Final[dict[str, Callable[[Prompt, dict[str, Any], Place], frozenset[str]]]] = {
    "image_url": _image_part,
    "input_image": _image_part,
    "computer_screenshot": _image_part,
    "image_file": _image_file_part,
    "input_audio": _audio_part,
    "file": _file_part,
    "input_file": _input_file_part,
    "video_url": _video_part,
    "audio_url": _audio_url_part,
    "document_url": _document_part,
    "thinking": _thinking_part,
    "reference": _reference_part,
    "tool_file": _tool_file_part,
}
