"""The gate between the vendors' SDKs and a stand-in for the vendors."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from kalguard_ext_authz.envoy.process import EnvoyProcess
from kalguard_ext_authz.envoy.render import render
from kalguard_ext_authz.envoy.sidecar import ListenTls, Sidecar
from kalguard_ext_authz.envoy.targets import Pipe, Socket, Upstream
from sdk_calls import SDKS, Sdk
from support import KalGuardProcess, free_port, make_token, start_kalguard
from vendor_stub import Seen, VendorStub, running_vendor_stub

# Requests of one agent in a minute; each test is an agent of its own.
ATTEMPTS = 20
POLICY = """
rules:
  - {id: agents, match: {agentIds: ["agent-*"]}, decision: allow}
"""


@dataclass
class Contracts:
    """Where everything is. `plain`, `tls`: what agents talk to, without a path."""

    stub: VendorStub
    kalguard: KalGuardProcess
    plain: str
    tls: str

    def direct(self, sdk: Sdk) -> str:
        """The vendor itself."""
        return (self.stub.tls_url if sdk.tls else self.stub.url) + sdk.path

    def gate(self, sdk: Sdk) -> str:
        """The vendor behind the gate."""
        return (self.tls if sdk.tls else self.plain) + sdk.path

    def sent(self, call: Any, *arguments: Any) -> tuple[Any, list[Seen]]:
        """What a call answers, and what the vendor got for it."""
        before = len(self.stub.seen)
        answer = call(*arguments)
        return answer, self.stub.seen[before:]

    def exhaust(self, agent: str) -> str:
        """A token of an agent that has used up its attempts."""
        token = make_token(agent)
        with httpx.Client(headers={"authorization": f"Bearer {token}"}) as client:
            for _ in range(ATTEMPTS + 1):
                if client.get(f"{self.plain}/openai/v1/models").status_code == 429:
                    return token
        raise AssertionError("the attempt limit does not end")


@contextmanager
def running_contracts(envoy_binary: Path) -> Iterator[Contracts]:
    """Start all of it, and stop it."""
    with tempfile.TemporaryDirectory(prefix="kg-") as name, running_vendor_stub(Path(name)) as stub:
        folder = Path(name)
        assert stub.ca is not None
        serving = folder / "kalguard"
        serving.mkdir()
        kalguard = start_kalguard(serving, policy=POLICY, env={"KALGUARD_AGENT_RATE_LIMIT": str(ATTEMPTS)})
        ports = free_port(), free_port()

        def config(port: int, tls: ListenTls | None) -> str:
            return render(
                Sidecar(
                    upstreams=tuple(Upstream.parse(sdk.name, f"{sdk.name}={stub.url}/{sdk.name}") for sdk in SDKS),
                    listen=Socket("127.0.0.1", port),
                    listen_tls=tls,
                    authz=Pipe(str(serving / "authz.sock")),
                    http_api=Socket("127.0.0.1", int(kalguard.addresses["http"].rpartition(":")[2])),
                    admin=Pipe(str(folder / f"{port}.sock")),
                    access_log=str(folder / f"{port}.log"),
                )
            )

        certificate, key = stub.issue("gate")
        os.environ["KALGUARD_TEST_CA"] = str(stub.ca)
        try:
            with (
                EnvoyProcess(envoy_binary, config(ports[0], None), _made(folder / "plain")),
                EnvoyProcess(
                    envoy_binary, config(ports[1], ListenTls(str(certificate), str(key))), _made(folder / "tls")
                ),
            ):
                yield Contracts(stub, kalguard, f"http://127.0.0.1:{ports[0]}", f"https://127.0.0.1:{ports[1]}")
        finally:
            kalguard.stop()
            del os.environ["KALGUARD_TEST_CA"]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
