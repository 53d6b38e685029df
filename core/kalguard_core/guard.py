"""The one pipeline: a request in, a decision out.

Rules of this file: everything that is decided about a request is decided here, in the order of the table below;
what each step knows lives in its own room. No clock, no socket, no file: time comes with the request, the rest
is handed in. A step that refuses ends the pipeline; nothing after it is looked at, and nothing is counted twice.

    step                      refusal
    1 authentication          401 AUTH_FAILED
    2 revocation              401 TOKEN_REVOKED
    3 the agent's attempts    429 RATE_LIMIT_EXCEEDED   (attempt limit, calls and bytes in flight)
    4 route                   404, 405
    5 capability of route     403 CAPABILITY_DENIED
    6 body                    400, 408, 413, 415
    7 capability of actions   403 CAPABILITY_DENIED
    8 policy                  403 POLICY_DENY, REQUIRE_APPROVAL   (the risk it may ask for is scored once, lazily)
    9 mediator                403 TOOL_DENIED
    10 firewall               403 PROMPT_BLOCKED
    11 tool limits            429 RATE_LIMIT_EXCEEDED   (all of a request at once, or none)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from .action import Action
from .codes import TOOL_EXECUTE, Capability, ErrorCode, Outcome
from .decision import Decision, Verdict
from .examination import Examination, Examiner, Finding, Judged, LargeBodies, Task, examine
from .firewall import Assessment
from .firewall.document import Firewalls
from .firewall.profiled import ProfiledFirewall
from .identity import Authenticator, Identity, credential_headers
from .inflight import InFlight
from .limits import Limit, LimitStore, StoreUnavailable
from .policy import NO_POLICY_MATCH, Match, Policy, PolicyQuery, Risk
from .request import AgentRequest, BufferedBody, Refusal
from .tools import ToolCatalog
from .wire.base import RefusedReading, Route, WireProtocol
from .wire.encoding import MAX_DECODED, decoded_within

# Above this many bytes, a body is examined away from the event loop. The way there and back costs about as much
# CPU time as examining 64 KB does.
LARGE_BODY_BYTES: Final = 64 * 1024
# Below this, whatever is inside costs less than the hop to a worker would.
LIGHT_BODY_BYTES: Final = 1024
# One piece of a JSON document (a quote or bracket) costs as much as this many bytes of text; see `is_heavy`.
PIECE_BYTES: Final = 64
HEAVY_BYTES: Final = 96 * 1024

_NO_FIREWALL: Final = "the firewall of this route is not known"
_NOT_SAFE: Final = "prompt blocked: it could not be made safe"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that operators can change while we run. Replaced as a whole, so a request sees one version.

    `policy` is None when none was loaded: then everything is denied.
    `tool_rate_limit`: tool calls of an agent in a minute; `attempt_limit`: requests of an agent in a minute.
    """

    authenticator: Authenticator
    policy: Policy | None
    tools: ToolCatalog
    firewalls: Firewalls
    tool_rate_limit: int | None = None
    attempt_limit: int | None = None


class PipelineFailure(Exception):
    """An exception inside the pipeline (a bug). Carries what was known, for the audit; the cause is chained."""

    def __init__(self, identity: Identity | None, route: str) -> None:
        super().__init__("the pipeline failed")
        self.identity = identity
        self.route = route


def is_heavy(body: bytes) -> bool:
    """Whether reading and scoring `body` would hold the event loop for too long.

    Bytes are one measure, pieces the other: 16,000 one-letter strings in 64 KB cost more than 2 MB of prose,
    because each is folded and scanned by itself. Quotes and brackets count them well enough, at 1 µs a KB.
    """
    size = len(body)
    if size <= LIGHT_BODY_BYTES:
        return False
    if size > LARGE_BODY_BYTES:
        return True
    pieces = body.count(b'"') + body.count(b"[") + body.count(b"{")
    return size + PIECE_BYTES * pieces > HEAVY_BYTES


class Guard:
    """Decides. One instance serves all requests of a process; `snapshot` may be replaced at any time.

    `max_body_bytes`: what a body may have without its content encoding; the transports see to it that the encoded
    one is not larger either.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        protocols: Mapping[str, WireProtocol],
        limits: LimitStore,
        inflight: InFlight,
        large: LargeBodies,
        digest: Callable[[bytes], str],
        max_body_bytes: int = MAX_DECODED,
    ) -> None:
        self.snapshot = snapshot
        self._protocols = protocols
        self._limits = limits
        self._inflight = inflight
        self._large = large
        self._digest = digest
        self._max_body_bytes = max_body_bytes

    def examiner(self, snapshot: Snapshot) -> Examiner:
        """With what large bodies are examined as long as `snapshot` is in force."""
        return Examiner(snapshot.firewalls, snapshot.tools, self._max_body_bytes)

    async def decide(self, request: AgentRequest) -> Decision:
        """The decision about one request.

        Raises `PipelineFailure` for what should not happen; a caller must deny then.
        """
        state = _Progress(self.snapshot, request)
        try:
            return await self._decide(state)
        except Refusal as refusal:
            return state.refused(refusal)
        except StoreUnavailable as error:
            return state.refused(
                Refusal(ErrorCode.STATE_UNAVAILABLE, "state store unavailable", detail=str(error), retry_after=1.0)
            )
        except Exception as error:
            raise PipelineFailure(state.identity, state.route) from error

    async def _decide(self, state: _Progress) -> Decision:
        request, snapshot = state.request, state.snapshot
        state.identity = identity = snapshot.authenticator.authenticate(request)
        if snapshot.attempt_limit is not None:
            await self._count_attempt(identity, snapshot.attempt_limit, request)
        size = request.body.size_hint
        if not self._inflight.enter(identity.agent_id, size):
            raise Refusal(
                ErrorCode.RATE_LIMIT_EXCEEDED,
                "too many calls or bytes in flight",
                detail=f"in-flight limit of agent; body of {size} bytes",
                retry_after=1.0,
            )
        try:
            return await self._decide_admitted(state, identity)
        finally:
            self._inflight.leave(identity.agent_id, size)

    async def _decide_admitted(self, state: _Progress, identity: Identity) -> Decision:
        request, snapshot = state.request, state.snapshot
        protocol = self._protocols.get(request.kind)
        if protocol is None:
            raise Refusal(ErrorCode.NOT_FOUND, "unknown route", detail=f"route kind {request.kind!r} is not supported")
        route = protocol.route(request)
        state.route = route.name
        _require(identity, route.capabilities)
        firewall = _firewall(snapshot.firewalls, identity, request)
        if not route.reads_body:
            body = b""
        elif type(request.body) is BufferedBody:
            body = request.body.data  # as most are; a coroutine would only cost time
        else:
            body = await request.body.read()
        plain: bytes | None = body
        if body and "content-encoding" in request.headers:
            plain = decoded_within(request.headers, body, min(LARGE_BODY_BYTES, self._max_body_bytes))
        if plain is None or is_heavy(plain) or (route.light_bytes is not None and len(plain) > route.light_bytes):
            examination = await self._examine_large(state, identity, firewall, protocol, route, body)
        else:
            state.digest = self._digest(body) if body else ""
            examination = examine(snapshot.tools, protocol, request, route, plain)
        if self.snapshot is not snapshot:
            # The emergency switch also stops a call whose body was still on its way when it was thrown.
            self.snapshot.authenticator.authenticate(request)
        verdicts = [
            _judge_action(state, identity, firewall, action, finding)
            for action, finding in zip(examination.reading.actions, examination.findings, strict=True)
        ]
        if _first_refusal(verdicts) is None:
            limits = _tool_limits(snapshot, identity, verdicts)
            if limits:
                verdicts = await self._count_tools(limits, verdicts, request)
        return state.decided(*_with_document(verdicts, examination))

    async def _count_attempt(self, identity: Identity, attempts: int, request: AgentRequest) -> None:
        limit = Limit(f"attempt:{identity.agent_id}", attempts)
        wait = await self._limits.take((limit,), request.monotonic)
        if wait is not None:
            raise Refusal(
                ErrorCode.RATE_LIMIT_EXCEEDED,
                "rate limit exceeded",
                detail="attempt limit of agent",
                retry_after=wait,
            )

    async def _examine_large(
        self,
        state: _Progress,
        identity: Identity,
        firewall: ProfiledFirewall,
        protocol: WireProtocol,
        route: Route,
        body: bytes,
    ) -> Examination:
        request, policy = state.request, state.snapshot.policy
        # which rule will match is known only when the body is read, and that happens where there is no policy
        profiles = tuple(dict.fromkeys((firewall.name, *(policy.firewalls if policy else ()))))
        task = Task(self.examiner(state.snapshot), protocol, _head(request), route, body, profiles)
        state.digest, result = await self._large.examine(identity.agent_id, task, self._digest)
        if isinstance(result, Refusal):
            raise result
        return result

    async def _count_tools(
        self, limits: tuple[Limit, ...], verdicts: list[Verdict], request: AgentRequest
    ) -> list[Verdict]:
        wait = await self._limits.take(limits, request.monotonic)
        if wait is None:
            return verdicts
        return [
            replace(
                verdict,
                outcome=Outcome.DENY,
                code=ErrorCode.RATE_LIMIT_EXCEEDED,
                reason="rate limit exceeded",
                retry_after=wait,
                sanitized=None,
            )
            for verdict in verdicts
        ]


class _Progress:
    """What is known so far about one request, so that a refusal at any step can say it in the audit."""

    __slots__ = ("digest", "identity", "request", "route", "snapshot")

    def __init__(self, snapshot: Snapshot, request: AgentRequest) -> None:
        self.snapshot = snapshot
        self.request = request
        self.identity: Identity | None = None
        self.route = ""
        self.digest = ""

    @property
    def policy_version(self) -> str:
        return self.snapshot.policy.version if self.snapshot.policy else ""

    def refused(self, refusal: Refusal) -> Decision:
        """The decision for a refusal before all actions were judged."""
        actions = refusal.actions if isinstance(refusal, RefusedReading) else ()
        verdict_of = Verdict(
            Action("", ()),
            Outcome.DENY,
            refusal.reason,
            refusal.code,
            retry_after=refusal.retry_after,
            detail=refusal.detail,
        )
        return Decision(
            request_id=self.request.id,
            outcome=Outcome.DENY,
            reason=refusal.reason,
            code=refusal.code,
            identity=self.identity,
            verdicts=tuple(replace(verdict_of, action=action) for action in actions),
            policy_version=self.policy_version,
            retry_after=refusal.retry_after,
            input_digest=self.digest,
            detail=refusal.detail,
            route=self.route,
        )

    def decided(self, verdicts: list[Verdict], document: Any) -> Decision:
        """The decision for judged actions: the first refusal settles all of them."""
        first = _first_refusal(verdicts) or verdicts[0]
        if first.outcome is not Outcome.ALLOW and len(verdicts) > 1:
            verdicts = [verdict if verdict.code else _with_its_batch(verdict, first) for verdict in verdicts]
        return Decision(
            request_id=self.request.id,
            outcome=first.outcome,
            reason=first.reason,
            code=first.code,
            rule=first.rule,
            risk=first.risk,
            identity=self.identity,
            verdicts=tuple(verdicts),
            policy_version=self.policy_version,
            retry_after=first.retry_after,
            input_digest=self.digest,
            document=document,
            detail=first.detail,
            route=self.route,
        )


def _first_refusal(verdicts: list[Verdict]) -> Verdict | None:
    for verdict in verdicts:
        if verdict.outcome is not Outcome.ALLOW:
            return verdict
    return None


def _tool_limits(snapshot: Snapshot, identity: Identity, verdicts: list[Verdict]) -> tuple[Limit, ...]:
    """What the tool calls of a request count against, each limit once."""
    wanted: dict[str, Limit] = {}
    for verdict in verdicts:
        tool = verdict.action.tool
        if tool is None:
            continue
        for limit in snapshot.tools.limits(identity.agent_id, tool, snapshot.tool_rate_limit):
            known = wanted.get(limit.key)
            wanted[limit.key] = limit if known is None else replace(known, cost=known.cost + limit.cost)
    return tuple(wanted.values())


def _firewall(firewalls: Firewalls, identity: Identity, request: AgentRequest) -> ProfiledFirewall:
    chosen = firewalls.choose(identity.agent_id, request.kind, request.context)
    if chosen is None:
        raise Refusal(
            ErrorCode.POLICY_DENY, _NO_FIREWALL, detail="the route names a firewall profile that the document lacks"
        )
    return chosen


def _with_document(verdicts: list[Verdict], examination: Examination) -> tuple[list[Verdict], Any]:
    """The verdicts, and the body as it may go on: of a large one only its sanitized forms have come back."""
    if not examination.documents:
        return verdicts, examination.reading.document
    profiles = {verdict.firewall for verdict in verdicts if verdict.sanitized is not None}
    if not profiles:
        return verdicts, None
    if len(profiles) == 1:
        return verdicts, examination.documents[profiles.pop()]
    # each part of the body under another profile: there is no form of it that fits them all
    return [_not_rewritten(verdict) if verdict.sanitized is not None else verdict for verdict in verdicts], None


def _not_rewritten(verdict: Verdict) -> Verdict:
    return replace(verdict, outcome=Outcome.DENY, code=ErrorCode.PROMPT_BLOCKED, reason=_NOT_SAFE, sanitized=None)


def _judge_action(
    state: _Progress, identity: Identity, firewall: ProfiledFirewall, action: Action, finding: Finding
) -> Verdict:
    snapshot = state.snapshot
    needed = action.capabilities
    if action.name == TOOL_EXECUTE and action.tool is not None and Capability.TOOL_EXECUTE in needed:
        needed = (snapshot.tools.capability(action.tool),)
    missing = _missing(identity, needed)
    if missing:
        return Verdict(action, Outcome.DENY, f"missing capability: {missing}", ErrorCode.CAPABILITY_DENIED)

    match, assessment = _match(snapshot.policy, identity, firewall, action, finding)
    if match.firewall is not None:
        named = snapshot.firewalls.get(match.firewall)
        if named is None:
            detail = f"rule {match.rule} names the firewall profile {match.firewall}, which the document lacks"
            return Verdict(action, Outcome.DENY, _NO_FIREWALL, ErrorCode.POLICY_DENY, match.rule, detail=detail)
        firewall = named
    risk = assessment.risk if assessment else None
    if match.outcome is Outcome.DENY:
        verdict = Verdict(action, Outcome.DENY, match.reason, ErrorCode.POLICY_DENY, match.rule, risk)
        return _told(verdict, firewall, assessment)
    if match.outcome is Outcome.REQUIRE_APPROVAL:
        return _told(_approval(action, match.rule, risk, match.reason), firewall, assessment)

    if action.tool is not None:
        refusal = finding.tool_refusal
        if refusal is not None:
            return Verdict(
                action,
                Outcome.DENY,
                refusal.reason,
                ErrorCode.TOOL_DENIED,
                match.rule,
                risk,
                detail=refusal.detail,
            )

    if not finding.has_text:
        return Verdict(action, Outcome.ALLOW, match.reason, None, match.rule, risk)
    judged = finding.under(firewall)
    return _told(_judge_prompt(state, firewall, action, judged, match), firewall, judged.assessment)


def _told(verdict: Verdict, firewall: ProfiledFirewall, assessment: Assessment | None) -> Verdict:
    """The verdict with what was found in the text, for the audit."""
    if assessment is None or not (assessment.spans or assessment.tags):
        return verdict
    return replace(
        verdict,
        firewall=firewall.name,
        rules=assessment.rules,
        categories=assessment.categories,
        tags=assessment.tags,
    )


def _match(
    policy: Policy | None, identity: Identity, firewall: ProfiledFirewall, action: Action, finding: Finding
) -> tuple[Match, Assessment | None]:
    if policy is None:
        return NO_POLICY_MATCH, None
    query = PolicyQuery(
        identity.agent_id,
        action.name,
        action.resource,
        action.tool,
        action.attributes,
        identity.metadata,
        action.explicit,
    )
    match = policy.evaluate(query, None)
    if match is not None:
        return match, None
    assessment = finding.under(firewall).assessment if finding.has_text else Assessment(0)
    match = policy.evaluate(query, Risk(assessment.risk, assessment.categories, assessment.tags))
    return match or NO_POLICY_MATCH, assessment


def _judge_prompt(
    state: _Progress, firewall: ProfiledFirewall, action: Action, judged: Judged, match: Match
) -> Verdict:
    request, assessment, block = state.request, judged.assessment, firewall.profile.block
    risk = assessment.risk
    if not firewall.rewrites(assessment):
        return Verdict(action, Outcome.ALLOW, match.reason, None, match.rule, risk)
    found = f"risk score {risk}; rules {', '.join(assessment.rules)}"
    if firewall.blocks(assessment):
        if assessment.reason and risk < block:
            reason = f"prompt blocked: {assessment.reason}"
        elif request.can_rewrite and risk >= block:
            # Only the check API tells the score: an agent behind the mesh could use it to search for a way around.
            reason = f"prompt blocked: risk score {risk} >= {block}"
        else:
            reason = "prompt blocked: looks like prompt injection"
        return Verdict(action, Outcome.DENY, reason, ErrorCode.PROMPT_BLOCKED, match.rule, risk, detail=found)
    if request.can_rewrite:
        return _sanitize(action, judged, match)
    on_unrewritable = match.on_unrewritable or firewall.profile.on_unrewritable or "deny"
    if on_unrewritable == "allow":
        return Verdict(action, Outcome.ALLOW, match.reason, None, match.rule, risk, detail=f"not rewritten: {found}")
    reason = "prompt blocked: it would have to be rewritten, which this enforcement point cannot do"
    if on_unrewritable == "require_approval":
        return _approval(action, match.rule, risk, reason)
    return Verdict(action, Outcome.DENY, reason, ErrorCode.PROMPT_BLOCKED, match.rule, risk, detail=found)


def _sanitize(action: Action, judged: Judged, match: Match) -> Verdict:
    clean, risk = judged.sanitized, judged.assessment.risk
    if not clean.safe:
        return Verdict(
            action,
            Outcome.DENY,
            _NOT_SAFE,
            ErrorCode.PROMPT_BLOCKED,
            match.rule,
            risk,
            detail=f"risk score {clean.risk} after sanitizing",
        )
    return Verdict(action, Outcome.ALLOW, match.reason, None, match.rule, risk, sanitized=clean.messages)


def _head(request: AgentRequest) -> AgentRequest:
    """The request as it may leave the process: without its body and credentials, and without read-only views."""
    secret = credential_headers(request.headers)
    return replace(
        request,
        headers={name: value for name, value in request.headers.items() if name not in secret},
        context=dict(request.context),
        body=BufferedBody(),
    )


def _with_its_batch(verdict: Verdict, refused: Verdict) -> Verdict:
    return replace(
        verdict,
        outcome=Outcome.DENY,
        code=refused.code,
        reason="refused because another part of the request was refused",
        sanitized=None,
    )


def _approval(action: Action, rule: str | None, risk: int | None, detail: str) -> Verdict:
    return Verdict(
        action,
        Outcome.REQUIRE_APPROVAL,
        "Requires approval",
        ErrorCode.REQUIRE_APPROVAL,
        rule,
        risk,
        detail=detail,
    )


def _missing(identity: Identity, needed: tuple[str, ...]) -> str | None:
    for capability in needed:
        if capability not in identity.capabilities:
            return capability
    return None


def _require(identity: Identity, needed: tuple[str, ...]) -> None:
    missing = _missing(identity, needed)
    if missing:
        raise Refusal(ErrorCode.CAPABILITY_DENIED, f"missing capability: {missing}")
