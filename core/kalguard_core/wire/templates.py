"""Prompts that a client has put into a model's own template: the turns of a conversation in one text.

Rules of this file: only a whole prompt in exactly the order that a client writes is taken apart (the system's words
first and once, then user and assistant in turns, and at the end the assistant's turn left open). Anything else is
one text, in which the marks of a template are what they look like: an attempt to forge a turn. In a template that
is taken apart, nobody can tell a turn of the client from one that stood in its data; Converse and Messages don't
have that problem. Sources: the model cards of Llama 2, 3 and 4, and of Mistral 7B Instruct.
"""

from __future__ import annotations

from typing import Final

from .prompt import Prompt
from .text import INNER, Place

_BEGIN: Final = "<|begin_of_text|>"
# Before a role, behind it, and behind what is said: Llama 3 and Llama 4.
_LLAMAS: Final = (
    ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ("<|header_start|>", "<|header_end|>", "<|eot|>"),
)
_INST: Final = "[INST]"
_INST_END: Final = "[/INST]"
_SYSTEM: Final = "<<SYS>>"
_SYSTEM_END: Final = "<</SYS>>"
_MARKS: Final = ("<|", "|>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>")
_MAX_TURNS: Final = 1024

_Turns = list[tuple[str, str]]


def say_template(prompt: Prompt, text: str, place: Place) -> None:
    """Gather a prompt turn by turn if it is a template of Llama's or Mistral's, else as one text of the user."""
    turns = next(filter(None, (_llama(text, *marks) for marks in _LLAMAS)), None) or _instructions(text)
    if turns is None or not _is_conversation(turns):
        prompt.say("user", text, place)
        prompt.message_count += 1
        return
    for role, said in turns:
        if said:
            prompt.say(role, said, (*place, INNER))
    prompt.message_count += len(turns)


def _llama(text: str, header: str, header_end: str, turn_end: str) -> _Turns | None:
    """`<|begin_of_text|>`, and a header for each turn."""
    head, *pieces = text.strip().split(header, _MAX_TURNS)
    if head.strip() not in ("", _BEGIN) or not pieces:
        return None
    turns: _Turns = []
    for piece in pieces:
        role, end, said = piece.partition(header_end)
        if not end:
            return None
        said = said.strip()
        if piece is not pieces[-1]:
            if not said.endswith(turn_end):
                return None
            said = said[: -len(turn_end)].rstrip()
        turns.append((role.strip(), said))
    return turns


def _instructions(text: str) -> _Turns | None:
    """Llama 2 and Mistral: `<s>[INST] <<SYS>> system <</SYS>> user [/INST] assistant </s>`."""
    head, *pieces = text.strip().split(_INST, _MAX_TURNS)
    if head.strip() not in ("", "<s>") or not pieces:
        return None
    turns: _Turns = []
    for index, piece in enumerate(pieces):
        asked, end, answered = piece.partition(_INST_END)
        asked, answered = asked.strip(), answered.strip()
        if not end:
            return None
        if index == 0 and asked.startswith(_SYSTEM):
            system, _, asked = asked[len(_SYSTEM) :].partition(_SYSTEM_END)
            turns.append(("system", system.strip()))
        turns.append(("user", asked.strip()))
        if index < len(pieces) - 1:
            answered = answered.removesuffix("<s>").rstrip()
            if not answered.endswith("</s>"):
                return None
            answered = answered.removesuffix("</s>").rstrip()
        turns.append(("assistant", answered))
    return turns


def _is_conversation(turns: _Turns) -> bool:
    roles = [role for role, _ in turns]
    if roles[0] == "system":
        roles = roles[1:]
    if not roles or len(roles) % 2 or set(roles[::2]) != {"user"} or set(roles[1::2]) != {"assistant"}:
        return False
    return not any(mark in said for _, said in turns for mark in _MARKS)
