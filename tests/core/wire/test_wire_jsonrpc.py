"""JSON-RPC 2.0: exact messages, and an answer for each id that a refused body names."""

from __future__ import annotations

from typing import Any

import pytest

from kalguard_core.action import Action
from kalguard_core.codes import ErrorCode
from kalguard_core.request import Refusal
from kalguard_core.wire import jsonrpc
from kalguard_core.wire.jsonrpc import Answer, Call, Invalid
from wire_support import denied

CODES = dict.fromkeys(ErrorCode, -32005)


def call(**changes: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "m", "params": {"a": "b"}, **changes}


def test_a_request_waits_and_a_notification_does_not() -> None:
    assert jsonrpc.read_message(call()) == Call("m", {"a": "b"}, 1, True)
    assert jsonrpc.read_message({"jsonrpc": "2.0", "method": "m"}) == Call("m", {}, None, False)


@pytest.mark.parametrize("member", ["result", "error"])
def test_an_answer_has_a_result_or_an_error(member: str) -> None:
    assert jsonrpc.read_message({"jsonrpc": "2.0", "id": "x", member: {"a": 1}}) == Answer("x", member, {"a": 1})


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        call(jsonrpc="1.0"),
        call(jsonrpc=2.0),
        call(id=None),
        call(id=True),
        call(id=1.5),
        call(id=[1]),
        call(id="x" * 257),
        call(method=""),
        call(method=1),
        call(method="x" * 129),
        call(params=[1]),
        call(Params={}),
        call(result={}),
        {"jsonrpc": "2.0", "result": {}},
        {"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}},
        {"jsonrpc": "2.0", "id": 1, "result": []},
        {"jsonrpc": "2.0", "id": 1, "result": {}, "Method": "m"},
    ],
)
def test_anything_else_is_invalid(document: Any) -> None:
    with pytest.raises(Invalid):
        jsonrpc.read_message(document)


@pytest.mark.parametrize("batch", [[], [call(), call()], [call(id=index) for index in range(65)], [[call()]]])
def test_a_batch_is_not_empty_not_long_and_has_each_id_once(batch: list[Any]) -> None:
    with pytest.raises(Invalid):
        jsonrpc.read_batch(batch)


def test_ids_of_two_types_are_two_ids() -> None:
    assert [each.call_id for each in jsonrpc.read_batch([call(id=1), call(id="1")])] == [1, "1"]


def test_the_ids_of_an_invalid_body_are_those_that_can_be_told() -> None:
    bodies = [call(params=1), call(), {"id": 3}, call(id=None), 7, call(id="x")]
    assert jsonrpc.known_ids(bodies) == (1, "x")
    assert jsonrpc.known_ids(call(params=1)) == (1,)
    assert jsonrpc.known_ids("text") == ()


def test_bytes_that_are_no_json_are_known_by_their_reason() -> None:
    with pytest.raises(Refusal) as caught:
        jsonrpc.read_document(b"{")
    assert jsonrpc.unreadable(caught.value.reason)
    decision = denied(code=ErrorCode.BAD_REQUEST, reason=caught.value.reason)
    found = jsonrpc.errors(decision, CODES, lambda _: False)
    assert isinstance(found, dict)
    assert (found["id"], found["error"]["code"]) == (None, -32700)


def test_each_waiting_call_gets_an_error_and_an_unknown_method_says_so() -> None:
    actions = [
        Action("m", (), call_id=index, expects_reply=index != 2, attributes={"batch": True}) for index in (1, 2, 3)
    ]
    found = jsonrpc.errors(denied(*actions), CODES, lambda action: action.call_id == 3)
    assert isinstance(found, list)
    assert [(each["id"], each["error"]["code"]) for each in found] == [(1, -32005), (3, -32601)]
    assert jsonrpc.errors(denied(actions[1]), CODES, lambda _: False) is None
