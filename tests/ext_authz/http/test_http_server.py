"""The HTTP server against peers that are slow, greedy or ambiguous."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import stat
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from http_support import HOST, EchoAnswerer, api, connect, exchange, head, serving, status, told
from kalguard_core.codes import ErrorCode
from kalguard_ext_authz import http_server as http_server_module
from kalguard_ext_authz.http_server import HttpServer, Limits, Unread

MIB = 1024 * 1024
GET = b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n"


def post(headers: bytes, body: bytes = b"") -> bytes:
    return b"POST /v1/tool/check HTTP/1.1\r\n" + HOST + headers + b"\r\n" + body


# ---- one meaning, or no answer

AMBIGUOUS = {
    "content-length and chunked": post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "chunked and content-length": post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    "two lengths": post(b"Content-Length: 3\r\nContent-Length: 4\r\n", b"abcd"),
    "the same length twice": post(b"Content-Length: 3\r\nContent-Length: 3\r\n", b"abc"),
    "a list of lengths": post(b"Content-Length: 3, 3\r\n", b"abc"),
    "a signed length": post(b"Content-Length: +3\r\n", b"abc"),
    "a negative length": post(b"Content-Length: -3\r\n", b"abc"),
    "a hexadecimal length": post(b"Content-Length: 0x3\r\n", b"abc"),
    "a length that overflows": post(b"Content-Length: 18446744073709551617\r\n", b"abc"),
    "gzip, chunked": post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    "chunked, identity": post(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
    "identity": post(b"Transfer-Encoding: identity\r\n", b"abc"),
    "xchunked": post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "chunked twice": post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "a tab before chunked's end": post(b"Transfer-Encoding: chunked\x0b\r\n", b"0\r\n\r\n"),
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded header": post(b"X-A: b\r\n c\r\nContent-Length: 0\r\n"),
    "a folded first header": b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: x\n\n",
    "one bare line feed": b"GET / HTTP/1.1\r\nHost: x\nX-A: b\r\n\r\n",
    "a bare carriage return": b"GET / HTTP/1.1\r\nHost: x\rX-A: b\r\n\r\n",
    "a NUL in a header": post(b"X-A: a\0b\r\nContent-Length: 0\r\n"),
    "a NUL in a name": post(b"X\0A: b\r\nContent-Length: 0\r\n"),
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "a header without a name": b"GET / HTTP/1.1\r\nHost: x\r\n: v\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n",
    "an absolute target": b"GET http://evil/v1/tool/check HTTP/1.1\r\n" + HOST + b"\r\n",
    "an asterisk target": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "a target without a slash": b"GET v1/tool/check HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment": b"GET /v1/tool/check#/health HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment after a query": b"GET /v1/tool/check?a#b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space in the target": b"GET /health /v1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tab in the target": b"GET /health\t/v1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "raw bytes in the target": b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "a lower-case method": b"post /v1/tool/check HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n",
    "an unknown method": b"FROBNICATE / HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT evil:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "an upgrade with a body that would be skipped": post(
        b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n", b"abc"
    ),
    "a WebSocket": b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    "HTTP/2 with prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "ICE": b"POST / ICE/1.0\r\n" + HOST + b"\r\n",
    "a TLS hello": bytes.fromhex("16030100c8010000c40303") + b"\x00" * 40,
    "a huge header": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 40_000 + b"\r\n\r\n",
    "a huge target": b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a huge method": b"A" * 40_000,
    "too many headers": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: b\r\n" * 100 + b"\r\n",
    "a chunk size that overflows": post(b"Transfer-Encoding: chunked\r\n", b"fffffffffffffffff\r\nabc"),
    "a chunk size with a sign": post(b"Transfer-Encoding: chunked\r\n", b"+3\r\nabc\r\n0\r\n\r\n"),
    "a chunk size with 0x": post(b"Transfer-Encoding: chunked\r\n", b"0x3\r\nabc\r\n0\r\n\r\n"),
    "a chunk extension ended by a bare line feed": post(b"Transfer-Encoding: chunked\r\n", b"3;a\nabc\r\n0\r\n\r\n"),
    "a chunk ended by a bare line feed": post(b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\n0\r\n\r\n"),
    "a chunk longer than its size": post(b"Transfer-Encoding: chunked\r\n", b"3\r\nabcd\r\n0\r\n\r\n"),
    "a trailer": post(b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\nAuthorization: Bearer x\r\n\r\n"),
}


@pytest.mark.parametrize("data", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_a_head_or_body_with_two_meanings_is_answered_4xx_and_closed(data: bytes) -> None:
    answerer = EchoAnswerer()
    async with serving(api(answerer)) as server:
        answer = await exchange(server, data)
        assert 400 <= status(answer) < 500, answer
        assert answer.count(b"HTTP/1.1 4") == 1
        assert head(answer)["connection"] == "close"
        assert answerer.read_bytes == 0


SAME_MEANING = {
    "HTTP/1.0 without a host": (b"GET /x HTTP/1.0\r\n\r\n", "/x", ""),
    "a doubled slash is not /v1/tool/check": (
        b"GET //v1/tool/check HTTP/1.1\r\n" + HOST + b"\r\n",
        "//v1/tool/check",
        "",
    ),
    "an encoded slash stays encoded": (
        b"GET /v1%2Ftool/check HTTP/1.1\r\n" + HOST + b"\r\n",
        "/v1%2Ftool/check",
        "",
    ),
    "dot segments stay": (
        b"GET /health/../v1/tool/check HTTP/1.1\r\n" + HOST + b"\r\n",
        "/health/../v1/tool/check",
        "",
    ),
    "an encoded NUL stays encoded": (b"GET /health%00 HTTP/1.1\r\n" + HOST + b"\r\n", "/health%00", ""),
    "every question mark after the first is query": (b"GET /x??a=b HTTP/1.1\r\n" + HOST + b"\r\n", "/x??a=b", ""),
    "a chunk extension is no data": (
        post(b"Transfer-Encoding: chunked\r\n", b"3;a=b\r\nabc\r\n0\r\n\r\n"),
        "/v1/tool/check",
        "abc",
    ),
    "leading zeros of a chunk size": (
        post(b"Transfer-Encoding: chunked\r\n", b"003\r\nabc\r\n000\r\n\r\n"),
        "/v1/tool/check",
        "abc",
    ),
    "chunked in any case": (
        post(b"Transfer-Encoding: Chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
        "/v1/tool/check",
        "abc",
    ),
    "an empty line before a request": (b"\r\n" + GET, "/x", ""),
}


@pytest.mark.parametrize(("data", "path", "body"), SAME_MEANING.values(), ids=SAME_MEANING.keys())
async def test_what_has_one_meaning_passes_as_it_was_sent(data: bytes, path: str, body: str) -> None:
    async with serving(api(EchoAnswerer()), keep_alive=0.1) as server:
        answer = await exchange(server, data)
        assert status(answer) == 200
        assert told(answer)["path"] == path
        assert told(answer)["body"] == body


async def test_a_pipelined_request_is_never_started() -> None:
    answerer = EchoAnswerer()
    async with serving(api(answerer)) as server:
        answer = await exchange(server, GET * 2000)
        assert answer.count(b"HTTP/1.1 200") == 1
        assert head(answer)["connection"] == "close"
        assert len(answerer.seen) == 1


async def test_a_smuggled_request_behind_a_body_is_never_started() -> None:
    answerer = EchoAnswerer()
    async with serving(api(answerer)) as server:
        await exchange(server, post(b"Content-Length: 3\r\n", b"abc" + GET))
        assert [request.path for request in answerer.seen] == ["/v1/tool/check"]


# ---- the answer arrives


async def test_a_client_that_sends_too_much_before_it_reads_still_gets_its_413() -> None:
    answerer = EchoAnswerer()
    async with serving(api(answerer)) as server:

        def blast() -> bytes:
            with socket.create_connection(("127.0.0.1", server.port or 0), timeout=5) as client:
                client.sendall(post(b"Content-Length: %d\r\n" % (6 * MIB), b"x" * (6 * MIB)))
                return client.recv(65536)

        assert status(await asyncio.to_thread(blast)) == 413


async def test_a_client_that_sends_a_chunked_body_without_end_gets_a_413_and_is_then_cut_off() -> None:
    async with serving(api(EchoAnswerer(), max_body_bytes=MIB), limits=Limits(linger_bytes=MIB)) as server:
        reader, writer = await connect(server)
        writer.write(post(b"Transfer-Encoding: chunked\r\n"))
        writer.transport.set_write_buffer_limits(0)
        sent = 0

        async def send_for_ever() -> None:
            nonlocal sent
            while sent < 64 * MIB:
                writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                await writer.drain()
                sent += 65536

        with pytest.raises(ConnectionError):
            await send_for_ever()
        assert sent < 16 * MIB  # what the kernel buffers on both sides comes on top of our limits
        writer.close()
        del reader


@pytest.mark.parametrize("headers", [b"", b"Expect: 100-continue\r\n"], ids=["waits", "expects"])
async def test_a_gigabyte_that_is_only_announced_is_refused_at_once(headers: bytes) -> None:
    async with serving(api(EchoAnswerer())) as server:
        started = time.monotonic()
        answer = await exchange(server, post(b"Content-Length: %d\r\n" % 2**30 + headers))
        assert status(answer) == 413  # and no "100 Continue" before it
        assert head(answer)["connection"] == "close"
        assert time.monotonic() - started < 1


async def test_100_continue_is_said_when_the_body_is_wanted() -> None:
    async with serving(api(EchoAnswerer())) as server:
        reader, writer = await connect(server)
        writer.write(post(b"Content-Length: 3\r\nExpect: 100-continue\r\n"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert status(await reader.readuntil(b"\r\n\r\n")) == 200
        writer.close()


async def test_a_refusal_before_the_body_is_not_preceded_by_100_continue() -> None:
    async with serving(api(EchoAnswerer())) as server:
        answer = await exchange(server, post(b"Content-Length: 3\r\nExpect: 100-continue\r\nX-Read: no\r\n"))
        assert status(answer) == 401
        assert head(answer)["connection"] == "close"


async def test_a_client_that_half_closes_after_its_request_gets_its_answer() -> None:
    answerer = EchoAnswerer()
    answerer.hold = asyncio.Event()
    async with serving(api(answerer)) as server:
        reader, writer = await connect(server)
        writer.write(GET)
        writer.write_eof()
        await asyncio.sleep(0.05)
        answerer.hold.set()
        assert status(await asyncio.wait_for(reader.read(), 2)) == 200
        writer.close()


async def test_a_client_that_leaves_in_the_middle_of_a_body_is_a_refusal_not_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answerer = EchoAnswerer()
    async with serving(api(answerer)) as server:
        _, writer = await connect(server)
        writer.write(post(b"Content-Length: 10\r\n", b"abc"))
        await writer.drain()
        await _until(lambda: bool(answerer.seen))
        writer.close()
        await _until(lambda: server.connections == 0)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# ---- refused bodies


async def test_a_small_refused_body_is_skipped_and_the_connection_stays() -> None:
    async with serving(api(EchoAnswerer())) as server:
        reader, writer = await connect(server)
        writer.write(post(b"X-Read: no\r\nContent-Length: 1000\r\n", b"x" * 400))
        assert status(await _one_answer(reader)) == 401
        writer.write(b"x" * 600 + GET)
        assert told(await _one_answer(reader))["path"] == "/x"
        writer.close()


async def test_a_refused_body_that_never_ends_is_not_waited_for() -> None:
    async with serving(api(EchoAnswerer()), limits=Limits(drain_timeout=0.1, linger_timeout=0.1)) as server:
        reader, writer = await connect(server)
        writer.write(post(b"X-Read: no\r\nContent-Length: 1000\r\n", b"x"))
        assert status(await _one_answer(reader)) == 401
        started = time.monotonic()
        assert await asyncio.wait_for(reader.read(), 2) == b""
        assert time.monotonic() - started < 1
        writer.close()


async def test_a_refused_body_is_not_kept_in_memory() -> None:
    answerer = EchoAnswerer()
    answerer.hold = asyncio.Event()
    async with serving(api(answerer), limits=Limits()) as server:
        reader, writer = await connect(server)
        writer.write(post(b"X-Read: no\r\nContent-Length: %d\r\n" % (4 * MIB), b"x" * (4 * MIB)))
        await asyncio.sleep(0.1)
        (connection,) = server._state.connections
        assert 0 < len(connection.cycle.body) < MIB  # type: ignore[union-attr]  # reading is paused
        answerer.hold.set()
        assert status(await asyncio.wait_for(reader.read(), 2)) == 401
        assert not connection.cycle.body  # type: ignore[union-attr]
        writer.close()


# ---- slow and silent peers

FAST = Limits(header_timeout=0.15, keep_alive=0.15, linger_timeout=0.1, drain_timeout=0.1, write_timeout=0.2)


async def test_a_connection_that_never_sends_is_closed() -> None:
    async with serving(api(EchoAnswerer()), limits=FAST) as server:
        started = time.monotonic()
        assert await exchange(server, b"") == b""
        assert time.monotonic() - started < 1


async def test_a_head_that_trickles_in_is_cut_off_however_lively_it_looks() -> None:
    async with serving(api(EchoAnswerer()), limits=FAST) as server:
        reader, writer = await connect(server)
        started = time.monotonic()

        async def trickle() -> None:
            for byte in GET[:-4] + b"\r\nX-A: " + b"a" * 1000:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.01)

        trickling = asyncio.create_task(trickle())
        answer = await asyncio.wait_for(reader.read(), 2)
        trickling.cancel()
        assert status(answer) == 408
        assert told(answer)["errorCode"] == "REQUEST_TIMEOUT"
        assert time.monotonic() - started < 1
        writer.close()


@pytest.mark.parametrize("noise", [b"\r\n", b"G", b"\r"], ids=["empty lines", "letters", "returns"])
async def test_noise_between_requests_does_not_keep_a_connection_open(noise: bytes) -> None:
    async with serving(api(EchoAnswerer()), limits=FAST) as server:
        reader, writer = await connect(server)
        writer.write(GET)
        assert status(await _one_answer(reader)) == 200
        started = time.monotonic()

        async def make_noise() -> None:
            while True:
                writer.write(noise)
                await asyncio.sleep(0.02)

        noisy = asyncio.create_task(make_noise())
        await asyncio.wait_for(reader.read(), 2)
        noisy.cancel()
        assert time.monotonic() - started < 1
        writer.close()


async def test_an_idle_connection_is_closed_after_keep_alive() -> None:
    async with serving(api(EchoAnswerer()), limits=FAST) as server:
        assert status(await exchange(server, GET)) == 200


async def test_a_body_that_trickles_in_is_a_408() -> None:
    async with serving(api(EchoAnswerer(), body_timeout=0.15)) as server:
        reader, writer = await connect(server)
        writer.write(post(b"Content-Length: 1000\r\n"))

        async def trickle() -> None:
            for _ in range(1000):
                writer.write(b"x")
                await asyncio.sleep(0.01)

        trickling = asyncio.create_task(trickle())
        answer = await asyncio.wait_for(reader.readuntil(b"}"), 2)
        trickling.cancel()
        assert status(answer) == 408
        assert told(answer) == {"errorCode": "REQUEST_TIMEOUT", "message": "request body timed out"}
        assert head(answer)["connection"] == "close"
        writer.close()


async def test_a_peer_that_does_not_take_its_answer_is_cut_off() -> None:
    async def big(_scope: Any, _receive: Any, send: Any) -> None:
        body = b"x" * (16 * MIB)
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async with serving(big, limits=FAST) as server:
        with socket.socket() as client:
            client.setblocking(False)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", server.port))
            await asyncio.get_running_loop().sock_sendall(client, GET)
            await _until(lambda: server.connections == 1)
            await _until(lambda: server.connections == 0)


async def test_connections_over_the_limit_get_429_and_the_others_go_on() -> None:
    refused: list[Unread] = []
    async with serving(api(EchoAnswerer()), max_connections=3, on_unread=refused.append) as server:
        held = [await connect(server) for _ in range(3)]
        await _until(lambda: server.connections == 3)
        answer = await exchange(server, b"")
        assert status(answer) == 429
        assert head(answer)["retry-after"] == "1"
        assert [one.code for one in refused] == [ErrorCode.RATE_LIMIT_EXCEEDED]
        reader, writer = held[0]
        writer.write(GET)
        assert status(await _one_answer(reader)) == 200
        for _, other in held:
            other.close()
        await _until(lambda: server.connections == 0)
        reader, writer = await connect(server)
        writer.write(GET)
        assert status(await _one_answer(reader)) == 200
        writer.close()


async def test_connections_that_ask_nothing_give_way_to_those_that_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server_module, "_EVICT_AFTER", 0.05)
    async with serving(api(EchoAnswerer()), max_connections=3) as server:
        silent = []
        for _ in range(3):
            silent.append(await connect(server))
            await asyncio.sleep(0.02)  # so that the server's clock tells who came first
        assert server.connections == 3
        await asyncio.sleep(0.06)
        for _ in range(3):
            reader, writer = await connect(server)
            writer.write(GET)
            assert status(await _one_answer(reader)) == 200
            writer.close()
        gone = await asyncio.wait_for(silent[0][0].read(), 1)
        assert gone == b"", "the one that waited longest is gone"
        for _, writer in silent:
            writer.close()


async def test_a_flood_of_connections_over_the_limit_holds_nothing() -> None:
    async with serving(api(EchoAnswerer()), max_connections=1) as server:
        flood = [await connect(server) for _ in range(150)]
        await asyncio.sleep(0.05)
        assert server.connections <= 1 + 64
        for _, writer in flood:
            writer.close()


async def test_whoever_counts_is_told_about_answers_that_the_app_never_saw() -> None:
    unread: list[Unread] = []
    async with serving(api(EchoAnswerer()), on_unread=unread.append) as server:
        answer = await exchange(server, b"nonsense\r\n\r\n")
    assert [(one.code, one.reason) for one in unread] == [(ErrorCode.BAD_REQUEST, "malformed HTTP request")]
    assert unread[0].peer.startswith("127.0.0.1:")
    assert unread[0].request_id == told(answer)["requestId"] == head(answer)["x-kalguard-request-id"]


# ---- start and stop


async def test_the_server_leaves_signals_and_logging_alone_and_names_no_software() -> None:
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    logger = logging.getLogger("uvicorn.access")
    before = list(logger.handlers), logger.propagate, logging.getLogger("uvicorn").handlers[:]
    async with serving(api(EchoAnswerer()), keep_alive=0.1) as server:
        answer = await exchange(server, GET)
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    assert (list(logger.handlers), logger.propagate, logging.getLogger("uvicorn").handlers[:]) == before
    assert not {"server", "date"} & head(answer).keys()


async def test_forwarded_headers_do_not_change_the_peer() -> None:
    async with serving(api(EchoAnswerer()), keep_alive=0.1) as server:
        answer = await exchange(
            server, b"GET /x HTTP/1.1\r\n" + HOST + b"X-Forwarded-For: 10.9.8.7\r\nX-Forwarded-Proto: https\r\n\r\n"
        )
        assert told(answer)["peer"].startswith("127.0.0.1:")


async def test_stop_lets_a_request_in_flight_finish_and_takes_no_new_ones() -> None:
    answerer = EchoAnswerer()
    answerer.hold = asyncio.Event()
    server = HttpServer(api(answerer), host="127.0.0.1", port=0)
    await server.start()
    idle = await connect(server)
    reader, writer = await connect(server)
    writer.write(GET)
    await _until(lambda: bool(answerer.seen))
    stopping = asyncio.create_task(server.stop(5))
    await asyncio.sleep(0.05)
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on the platform
        await connect(server)
    assert not stopping.done()
    answerer.hold.set()
    answer = await asyncio.wait_for(reader.read(), 2)
    assert status(answer) == 200
    assert head(answer)["connection"] == "close"
    await asyncio.wait_for(stopping, 2)
    assert server.connections == 0
    for one in (writer, idle[1]):
        one.close()


async def test_stop_cuts_what_outlasts_the_grace() -> None:
    answerer = EchoAnswerer()
    answerer.hold = asyncio.Event()
    server = HttpServer(api(answerer), host="127.0.0.1", port=0)
    await server.start()
    _, writer = await connect(server)
    writer.write(GET)
    await _until(lambda: bool(answerer.seen))
    started = time.monotonic()
    await server.stop(0.1)
    assert time.monotonic() - started < 1
    assert server.connections == 0
    writer.close()


async def test_an_address_in_use_is_an_error_that_names_it() -> None:
    async with serving(api(EchoAnswerer())) as server:
        with pytest.raises(OSError, match=rf"cannot listen on 127.0.0.1:{server.port}: the address is in use"):
            await HttpServer(api(EchoAnswerer()), host="127.0.0.1", port=server.port).start()


async def test_an_address_is_a_host_and_port_or_a_unix_socket() -> None:
    with pytest.raises(ValueError, match="either"):
        HttpServer(api(EchoAnswerer()), host="127.0.0.1", port=1, uds="/x")
    with pytest.raises(ValueError, match="either"):
        HttpServer(api(EchoAnswerer()), host="127.0.0.1")


async def test_ipv6_addresses_are_written_with_brackets() -> None:
    server = HttpServer(api(EchoAnswerer()), host="::1", port=0)
    try:
        address = await server.start()
    except OSError:
        return  # this machine has no IPv6
    assert address == f"[::1]:{server.port}"
    await server.stop(0)


# ---- Unix sockets


async def test_a_unix_socket_is_made_for_owner_and_group_only(short_folder: Path) -> None:
    path = short_folder / "run" / "kalguard" / "http.sock"
    previous = os.umask(0o022)
    try:
        async with serving(api(EchoAnswerer()), uds=path) as server:
            assert server.port is None
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750
            assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o750
            assert os.umask(0o022) == 0o022
            async with httpx.AsyncClient(
                verify=False, transport=httpx.AsyncHTTPTransport(uds=str(path), verify=False)
            ) as client:
                answer = (await client.get("http://kalguard/x")).json()
            assert answer["peer"] == "unix"
    finally:
        os.umask(previous)
    assert not path.exists()


async def test_a_stale_unix_socket_is_replaced(short_folder: Path) -> None:
    path = short_folder / "http.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    transport = httpx.AsyncHTTPTransport(uds=str(path), verify=False)
    async with serving(api(EchoAnswerer()), uds=path), httpx.AsyncClient(verify=False, transport=transport) as client:
        assert (await client.get("http://kalguard/health")).status_code == 200


async def test_a_live_unix_socket_is_never_taken_over(short_folder: Path) -> None:
    path = short_folder / "http.sock"
    async with serving(api(EchoAnswerer()), uds=path):
        with pytest.raises(OSError, match="another program listens there"):
            await HttpServer(api(EchoAnswerer()), uds=path).start()
        async with httpx.AsyncClient(
            verify=False, transport=httpx.AsyncHTTPTransport(uds=str(path), verify=False)
        ) as client:
            assert (await client.get("http://kalguard/health")).status_code == 200


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
async def test_what_is_no_socket_is_never_removed(short_folder: Path, kind: str) -> None:
    path = short_folder / "http.sock"
    target = short_folder / "precious"
    target.write_text("keep me")
    if kind == "file":
        path.write_text("keep me")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(target)
    with pytest.raises(OSError, match="no socket is in the way"):
        await HttpServer(api(EchoAnswerer()), uds=path).start()
    assert path.exists()
    assert target.read_text() == "keep me"


async def test_a_path_that_is_too_long_is_an_error_that_says_so(short_folder: Path) -> None:
    with pytest.raises(OSError, match="over 107 bytes"):
        await HttpServer(api(EchoAnswerer()), uds=short_folder / ("x" * 120)).start()


async def test_stop_leaves_a_socket_alone_that_somebody_else_made_meanwhile(short_folder: Path) -> None:
    path = short_folder / "http.sock"
    server = HttpServer(api(EchoAnswerer()), uds=path)
    await server.start()
    path.unlink()
    path.write_text("another's")
    await server.stop(0)
    assert path.read_text() == "another's"


async def _one_answer(reader: asyncio.StreamReader) -> bytes:
    """One answer with its body, on a connection that stays open."""
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
    return answer + await asyncio.wait_for(reader.readexactly(int(head(answer)["content-length"])), 2)


async def _until(condition: Any, within: float = 2.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
