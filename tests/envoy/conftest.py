"""Real parts for the Envoy tests: free ports, the demo upstream, an ext_authz server of our own."""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import support
from envoy_lab import Demo
from kalguard_ext_authz.envoy.process import Child


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Returns a TCP port of loopback that nobody listens on, another one at each call."""
    return support.free_port


@pytest.fixture(scope="session")
def demo_upstream(free_port: Callable[[], int]) -> Iterator[Demo]:
    """The demo upstream in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="kalguard-demo-") as directory:
        demo = Demo(free_port())
        command = [sys.executable, "-m", "kalguard_ext_authz.demo", "--port", str(demo.port)]
        child = Child("demo upstream", command, Path(directory) / "demo.log")
        try:
            child.wait_until(lambda: _answers(demo.port), 20)
            yield demo
        finally:
            child.stop()


@pytest.fixture
def socket_directory() -> Iterator[Path]:
    """A directory with a path short enough for Unix sockets (tmp_path may be too long for sun_path)."""
    with tempfile.TemporaryDirectory(prefix="kg-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def module_socket_directory() -> Iterator[Path]:
    """Like `socket_directory`, for fixtures that live as long as a module."""
    with tempfile.TemporaryDirectory(prefix="kg-") as directory:
        yield Path(directory)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        time.sleep(0.02)
        return False
    return True
