"""The answer: one `Verdict` an action, one `Decision` a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from .action import Action, Message
from .codes import STATUS, ErrorCode, Outcome

if TYPE_CHECKING:
    from .identity import Identity


class Verdict(Struct, frozen=True):
    """What was decided about one action.

    `code` is None exactly when `outcome` is allow. `rule`: id of the policy rule that matched, None for the
    default. `risk`: 0-100, None when nothing was scored. `sanitized`: messages after redaction, when the
    verdict allows the action only in that form. `detail`: more for the audit log, never shown to the agent.
    `firewall`: name of the profile under which its text was scored; `rules`, `categories`, `tags`: what was found in
    it, by id, never the text; all empty when nothing was scored or found.
    """

    action: Action
    outcome: Outcome
    reason: str
    code: ErrorCode | None = None
    rule: str | None = None
    risk: int | None = None
    sanitized: tuple[Message, ...] | None = None
    retry_after: float | None = None
    detail: str = ""
    firewall: str = ""
    rules: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


class Decision(Struct, frozen=True):
    """The answer to one request.

    `outcome`, `code`, `reason`, `rule`, `risk` are those of the verdict that settled the request: the first
    refusal, else the first verdict. A request refused before its body was read has no verdicts.
    `identity` is None when nobody was authenticated. `retry_after`: seconds. `policy_version`: of the policy
    that was asked, "" if none was loaded. `input_digest`: keyed digest of the body, "" if it was never read.
    `document`: the parsed body where a reply is built from it (sanitized messages), else None.
    `detail`: more for the audit log, never shown to the agent. `route`: name of the recognised endpoint.
    """

    request_id: str
    outcome: Outcome
    reason: str
    code: ErrorCode | None = None
    rule: str | None = None
    risk: int | None = None
    identity: Identity | None = None
    verdicts: tuple[Verdict, ...] = ()
    policy_version: str = ""
    retry_after: float | None = None
    input_digest: str = ""
    document: Any = None
    detail: str = ""
    route: str = ""

    @property
    def allowed(self) -> bool:
        """Whether the request may go on."""
        return self.outcome is Outcome.ALLOW

    @property
    def status(self) -> int:
        """HTTP status of the answer: 200 for an allow, else that of the error code."""
        return 200 if self.code is None else STATUS[self.code]


class Reply(Struct, frozen=True):
    """An answer in the client's own protocol: what a transport sends back instead of forwarding."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
