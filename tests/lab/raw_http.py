"""HTTP/1.1 as bytes: requests that no client library would send, and an upstream that shows what really arrived."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field

BODY_OF_UPSTREAM = b'{"upstream":true}'
_QUIET_SECONDS = 0.25


@dataclass(frozen=True)
class RawAnswer:
    """One answer. Header names are in lower case; the last of equal ones is kept."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Arrived:
    """One request as an upstream read it. Names are in lower case; repeated headers are kept."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """The values of a header, joined with a comma."""
        return ",".join(value for key, value in self.headers if key == name)


@dataclass(frozen=True)
class Exchange:
    """What came back on one connection. `peer`: its address as the other end logs it."""

    answers: list[RawAnswer]
    peer: str


def exchange(port: int, data: bytes, seconds: float = 5.0) -> Exchange:
    """Send bytes to Envoy and read all answers: to the end of the connection, or until it falls silent after one."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), seconds) as connection:
        host, local_port = connection.getsockname()
        try:
            connection.sendall(data)
        except OSError:
            pass  # Envoy may answer and close before it has read everything
        while True:
            connection.settimeout(_QUIET_SECONDS if answers_in(received) else seconds)
            try:
                chunk = connection.recv(65536)
            except OSError:
                break
            if not chunk:
                break
            received += chunk
            # Envoy gives a client a second to close by itself.
            if any(answer.headers.get("connection") == "close" for answer in answers_in(received)):
                break
    return Exchange(answers_in(received), f"{host}:{local_port}")


def answers_in(received: bytes) -> list[RawAnswer]:
    """The complete answers in what a connection received."""
    answers = []
    while b"\r\n\r\n" in received:
        head, _, rest = received.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        if headers.get("transfer-encoding") == "chunked":
            body, after = _dechunk(rest)
            if after is None:
                break
        else:
            length = int(headers.get("content-length", "0"))
            if len(rest) < length:
                break
            body, after = rest[:length], rest[length:]
        answers.append(RawAnswer(int(line.split(" ")[1]), headers, body))
        received = after
    return answers


def _dechunk(data: bytes) -> tuple[bytes, bytes | None]:
    """The body, and what stands after it (None while it is incomplete)."""
    body = b""
    while b"\r\n" in data:
        size, _, data = data.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        if len(data) < length + 2:
            break
        body, data = body + data[:length], data[length + 2 :]
        if length == 0:
            return body, data
    return body, None


@dataclass
class RawUpstream:
    """Answers 200 to everything and keeps each request as it arrived, byte for byte. Use as a context manager."""

    arrived: list[Arrived] = field(default_factory=list)
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> RawUpstream:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        data = b""
        with connection:
            while True:
                while b"\r\n\r\n" not in data:
                    if not (chunk := _receive(connection)):
                        return
                    data += chunk
                head, _, data = data.partition(b"\r\n\r\n")
                line, *lines = head.decode("latin-1").split("\r\n")
                headers = [(name.lower(), value.strip()) for name, _, value in (each.partition(":") for each in lines)]
                request = Arrived(line, headers, b"")
                # A strict reader on purpose: Envoy must hand on one framing only, so anything else ends the connection.
                framing = [(name, value) for name, value in headers if name in ("content-length", "transfer-encoding")]
                if len(framing) > 1 or framing[:1] == [("transfer-encoding", "identity")]:
                    self.arrived.append(Arrived(f"AMBIGUOUS FRAMING {line}", headers, b""))
                    return
                if framing and framing[0][0] == "transfer-encoding":
                    request.body, after = _dechunk(data)
                    while after is None:
                        if not (chunk := _receive(connection)):
                            return
                        data += chunk
                        request.body, after = _dechunk(data)
                    data = after
                elif framing:
                    length = int(framing[0][1])
                    while len(data) < length:
                        if not (chunk := _receive(connection)):
                            return
                        data += chunk
                    request.body, data = data[:length], data[length:]
                self.arrived.append(request)
                answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                body = b"" if line.startswith("HEAD ") else BODY_OF_UPSTREAM
                connection.sendall(answer % (len(BODY_OF_UPSTREAM), body))


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""
