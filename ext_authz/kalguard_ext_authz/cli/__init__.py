"""The command `kalguard`. One module a command; a module is imported only when its command runs."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from importlib.metadata import version
from typing import Any, Final

import click

# name -> (module, attribute, the line that `kalguard --help` shows without importing the module)
COMMANDS: Final[dict[str, tuple[str, str, str]]] = {
    "up": ("up", "up", "Start Envoy, KalGuard and a demo upstream on loopback; print requests to paste."),
    "serve": ("serve", "serve", "Run the servers: gRPC ext_authz, HTTP API, admin, metrics."),
    "check": ("check", "check", "Decide about one prompt, tool call or request without a server."),
    "policy": ("policy", "policy", "Validate policy documents, and ask them."),
    "routes": ("routes", "routes", "Validate route tables, and ask them."),
    "token": ("token", "token", "Issue and inspect agent tokens."),
    "audit": ("audit", "audit", "Verify and read the audit log."),
    "protocols": ("protocols", "protocols", "Show what is understood of each wire protocol, and what is refused."),
    "firewall": ("firewall", "firewall", "Score texts with the prompt firewall, see why, and measure it."),
    "envoy": ("envoy", "envoy", "Render and validate Envoy configuration."),
}

_UNWRITABLE: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


class _LazyGroup(click.Group):
    """Keeps `kalguard --help` and one-shot commands fast: gRPC alone takes 100 ms to import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """As click does it, but without a stack trace where a standard stream is closed or can't be written to."""
        for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
            if getattr(sys, name) is None:
                setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - as long as the process
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.filename is not None or error.errno not in _UNWRITABLE:
                raise
            click.echo(f"kalguard: the output can't be written: {error.strerror}", err=True)
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - what is unwritten is lost anyway
            sys.exit(1)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("kalguard"), prog_name="kalguard")
def main() -> None:
    """KalGuard: a policy decision point in front of AI agents (Envoy ext_authz and HTTP)."""
