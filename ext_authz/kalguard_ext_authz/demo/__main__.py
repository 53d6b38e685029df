"""`python -m kalguard_ext_authz.demo [--port N | --fd N]`: run the demo upstream on loopback."""

from __future__ import annotations

import socket

import click
import uvicorn

from .app import DemoUpstream


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=9400, show_default=True)
@click.option("--fd", type=int, help="A listening socket that the parent handed over, instead of --port.")
def main(port: int, fd: int | None) -> None:
    """Run the demo upstream: an OpenAI-compatible and MCP stub on 127.0.0.1."""
    # From a number, so that the protocol is read back as TCP and asyncio sets TCP_NODELAY.
    listener = socket.socket(fileno=fd) if fd is not None else loopback_listener(port)
    config = uvicorn.Config(
        DemoUpstream(), log_level="warning", access_log=False, timeout_keep_alive=75, lifespan="off"
    )
    uvicorn.Server(config).run(sockets=[listener])


def loopback_listener(port: int = 0) -> socket.socket:
    """A listening TCP socket on 127.0.0.1; port 0 takes a free one. Raises `OSError` when it is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    return listener


if __name__ == "__main__":
    main()
