"""The demo upstream: a stand-in for a model vendor and an MCP server, on loopback, named as a demo in
every answer. It speaks the real wire formats, so that real SDKs work against it; it guards nothing."""

from .app import DemoUpstream

__all__ = ["DemoUpstream"]
