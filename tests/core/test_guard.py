"""The one pipeline: its order, and what each step refuses."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import brotli
import pytest
from msgspec import structs

from kalguard_core.action import Action, Message
from kalguard_core.codes import STATUS, ErrorCode, Outcome
from kalguard_core.decision import Decision, Reply
from kalguard_core.examination import AtOnce, Examination, Task
from kalguard_core.firewall import Assessment, Span
from kalguard_core.firewall.document import Firewalls
from kalguard_core.guard import Guard, PipelineFailure, Snapshot, is_heavy
from kalguard_core.identity import Identity
from kalguard_core.inflight import InFlight
from kalguard_core.limits import Limit, StoreUnavailable
from kalguard_core.policy import Policy
from kalguard_core.request import AgentRequest, BufferedBody, Refusal
from kalguard_core.tools import SlidingWindowStore, ToolCatalog
from kalguard_core.wire.base import Endpoint, Reading, RefusedReading, Route

POLICY = """
rules:
  - {id: no-secrets, match: {tools: [secrets]}, decision: deny, reason: never}
  - {id: ask, match: {tools: [transfer]}, decision: require_approval}
  - id: risky
    match: {actions: ["prompt:check"], attributes: {riskScore: {gte: 90}}}
    decision: deny
    reason: very risky
  - {id: relaxed, match: {agentIds: [relaxed]}, decision: allow, onUnrewritable: allow}
  - {id: careful, match: {agentIds: [careful]}, decision: allow, onUnrewritable: require_approval}
  - {id: all, match: {agentIds: [agent-1]}, decision: allow}
"""
TOOLS = """
tools:
  search: {schema: {query: {type: string, required: true}}, rateLimit: 2}
  look: {access: read}
  transfer: {}
  secrets: {}
"""
ALL = frozenset({"prompt:send", "llm:call", "tool:execute", "tool:read", "tool:write", "network:outbound"})


class Identities:
    """An authenticator that believes the header `x-agent`."""

    def __init__(self, capabilities: frozenset[str] = ALL) -> None:
        self.capabilities = capabilities

    def authenticate(self, request: AgentRequest) -> Identity:
        agent = request.headers.get("x-agent")
        if agent is None:
            raise Refusal(ErrorCode.AUTH_FAILED, "Unauthorized", detail="no token")
        return Identity(
            agent_id=agent,
            capabilities=self.capabilities,
            issuer="",
            token_id="",
            token_hash="",
            metadata={},
            expires_at=None,
            source="token",
        )


class Firewall:
    """Scores 0-100 as the text says: "risk 80"; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def score(self, messages: Sequence[Message]) -> Assessment:
        self.asked += 1
        risks = [int(m.text.removeprefix("risk ")) for m in messages if m.text.startswith("risk ")]
        risk = max(risks, default=0)
        return Assessment(risk, (Span(0, 0, 4, "rule-x", "test", risk),) if risk else ())

    def sanitize(self, messages: Sequence[Message], assessment: Assessment) -> tuple[Message, ...]:
        if any(message.role == "stubborn" for message in messages):
            return tuple(messages)
        return tuple(structs.replace(message, text="[REDACTED]") for message in messages)


@dataclass
class Protocol:
    """Reads whatever the test says."""

    actions: tuple[Action, ...] = ()
    kind: str = "test"
    title = "for tests"
    endpoints: tuple[Endpoint, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    answers_itself: bool = False
    capabilities: tuple[str, ...] = ()
    route_refusal: Refusal | None = None
    read_refusal: Refusal | None = None
    light_bytes: int | None = None
    failure: Exception | None = None
    bodies: list[bytes] = field(default_factory=list)

    def route(self, request: AgentRequest) -> Route:
        if self.route_refusal:
            raise self.route_refusal
        return Route("test.route", self.capabilities, light_bytes=self.light_bytes)

    def read(self, request: AgentRequest, route: Route, body: bytes) -> Reading:
        self.bodies.append(body)
        if self.failure:
            raise self.failure
        if self.read_refusal:
            raise self.read_refusal
        return Reading(self.actions, {"parsed": True})

    def reply(self, request: AgentRequest, decision: Decision) -> Reply:
        raise AssertionError("the guard does not render")


def prompt(text: str = "hello", role: str = "user") -> Action:
    return Action("prompt:check", ("prompt:send",), messages=(Message(role, text),))


def tool(name: str, **arguments: Any) -> Action:
    return Action("tool:execute", ("tool:execute",), resource=name, tool=name, arguments=arguments, call_id=1)


def a_guard(protocol: Protocol, *, capabilities: frozenset[str] = ALL, **options: Any) -> Guard:
    snapshot = Snapshot(
        authenticator=Identities(capabilities),  # type: ignore[arg-type]
        policy=options.pop("policy", Policy.parse(POLICY, "policy.yaml")),
        tools=ToolCatalog.parse(TOOLS, "tools.yaml"),
        firewalls=options.pop("firewalls", None) or Firewalls.of(options.pop("firewall", None) or Firewall()),
        attempt_limit=options.pop("attempt_limit", None),
        tool_rate_limit=options.pop("tool_rate_limit", None),
    )
    return Guard(
        snapshot,
        protocols={"test": protocol},
        limits=options.pop("limits") if "limits" in options else SlidingWindowStore(),
        inflight=options.pop("inflight", InFlight(10, 1 << 20)),
        large=options.pop("large", AtOnce()),
        digest=lambda body: f"digest-{len(body)}",
        max_body_bytes=options.pop("max_body_bytes", 1 << 20),
    )


def a_request(
    agent: str | None = "agent-1", *, body: bytes = b"{}", kind: str = "test", **options: Any
) -> AgentRequest:
    return AgentRequest(
        id="req-1",
        kind=kind,
        method="POST",
        host="h",
        path="/",
        headers={} if agent is None else {"x-agent": agent},
        time=1000.0,
        monotonic=options.pop("monotonic", 1.0),
        body=options.pop("own_body", BufferedBody(body)),
        **options,
    )


async def test_a_request_that_nothing_refuses_is_allowed() -> None:
    decision = await a_guard(Protocol((prompt(),))).decide(a_request())
    assert decision.allowed
    assert (decision.rule, decision.risk, decision.route) == ("all", 0, "test.route")
    assert decision.input_digest == "digest-2"
    assert decision.document == {"parsed": True}
    assert decision.policy_version
    assert decision.identity is not None


# Each step of the pipeline as one thing that is wrong with a request, in the order of the pipeline.
STEPS: list[tuple[str, ErrorCode]] = [
    ("authentication", ErrorCode.AUTH_FAILED),
    ("attempts", ErrorCode.RATE_LIMIT_EXCEEDED),
    ("route", ErrorCode.NOT_FOUND),
    ("route capability", ErrorCode.CAPABILITY_DENIED),
    ("body", ErrorCode.BAD_REQUEST),
    ("action capability", ErrorCode.CAPABILITY_DENIED),
    ("policy", ErrorCode.POLICY_DENY),
    ("mediator", ErrorCode.TOOL_DENIED),
    ("firewall", ErrorCode.PROMPT_BLOCKED),
    ("tool limit", ErrorCode.RATE_LIMIT_EXCEEDED),
]


async def _decide_with(broken: set[str]) -> Decision:
    action = Action(
        "tool:execute",
        ("tool:execute",),
        tool="secrets" if "policy" in broken else "search",
        arguments={} if "mediator" in broken else {"query": "x"},
        messages=(Message("user", "risk 80" if "firewall" in broken else "hello"),),
    )
    protocol = Protocol(
        (action,),
        capabilities=("llm:call",),
        route_refusal=Refusal(ErrorCode.NOT_FOUND, "Not Found") if "route" in broken else None,
        read_refusal=Refusal(ErrorCode.BAD_REQUEST, "bad") if "body" in broken else None,
    )
    capabilities = set(ALL)
    if "route capability" in broken:
        capabilities.discard("llm:call")
    if "action capability" in broken:
        capabilities.discard("tool:execute")
    limits = SlidingWindowStore()
    if "tool limit" in broken:
        guard = a_guard(Protocol((tool("search", query="x"),)), limits=limits)
        for _ in range(2):
            assert (await guard.decide(a_request())).allowed
    if "attempts" in broken:
        await limits.take((Limit("attempt:agent-1", 1),), 1.0)
    guard = a_guard(protocol, capabilities=frozenset(capabilities), limits=limits, attempt_limit=1)
    return await guard.decide(a_request(None if "authentication" in broken else "agent-1"))


@pytest.mark.parametrize("index", range(len(STEPS)), ids=[name for name, _ in STEPS])
async def test_the_earliest_step_that_refuses_is_the_answer(index: int) -> None:
    name, code = STEPS[index]
    everything_from_here = {step for step, _ in STEPS[index:]}
    alone, together = await _decide_with({name}), await _decide_with(everything_from_here)
    assert alone.code is together.code is code
    assert alone.reason == together.reason
    assert alone.status == STATUS[code]


async def test_without_a_policy_everything_is_denied() -> None:
    decision = await a_guard(Protocol((prompt(),)), policy=None).decide(a_request())
    assert (decision.code, decision.reason) == (ErrorCode.POLICY_DENY, "no policy loaded; fail closed")
    assert decision.policy_version == ""


async def test_a_kind_that_nobody_reads_is_not_found() -> None:
    decision = await a_guard(Protocol((prompt(),))).decide(a_request(kind="soap"))
    assert decision.code is ErrorCode.NOT_FOUND


async def test_a_rule_may_require_approval() -> None:
    decision = await a_guard(Protocol((tool("transfer"),))).decide(a_request())
    assert decision.outcome is Outcome.REQUIRE_APPROVAL
    assert (decision.code, decision.reason, decision.rule) == (
        ErrorCode.REQUIRE_APPROVAL,
        "Requires approval",
        "ask",
    )


async def test_a_tool_that_the_catalog_marks_as_reading_needs_only_that_capability() -> None:
    guard = a_guard(Protocol((tool("look"),)), capabilities=frozenset({"tool:read"}))
    assert (await guard.decide(a_request())).allowed
    guard = a_guard(Protocol((tool("look"),)), capabilities=frozenset({"tool:execute"}))
    assert (await guard.decide(a_request())).reason == "missing capability: tool:read"


async def test_a_prompt_is_scored_once_also_when_the_policy_asks_for_the_risk() -> None:
    firewall = Firewall()
    decision = await a_guard(Protocol((prompt("risk 40"),)), firewall=firewall).decide(a_request())
    assert decision.allowed
    assert firewall.asked == 1


async def test_a_prompt_is_not_scored_when_the_policy_denies_without_asking() -> None:
    firewall = Firewall()
    decision = await a_guard(Protocol((tool("secrets"),)), firewall=firewall).decide(a_request())
    assert decision.code is ErrorCode.POLICY_DENY
    assert firewall.asked == 0


async def test_a_rule_on_the_risk_decides_before_the_threshold() -> None:
    decision = await a_guard(Protocol((prompt("risk 95"),))).decide(a_request())
    assert (decision.code, decision.rule, decision.risk) == (ErrorCode.POLICY_DENY, "risky", 95)


async def test_the_check_api_tells_the_score_of_a_blocked_prompt_and_the_mesh_does_not() -> None:
    guard = a_guard(Protocol((prompt("risk 80"),)))
    told = await guard.decide(a_request(can_rewrite=True))
    untold = await guard.decide(a_request())
    assert told.reason == "prompt blocked: risk score 80 >= 70"
    assert "80" not in untold.reason
    assert told.code is untold.code is ErrorCode.PROMPT_BLOCKED
    assert "rule-x" in untold.detail


@pytest.mark.parametrize(
    ("agent", "code"),
    [
        ("agent-1", ErrorCode.PROMPT_BLOCKED),
        ("careful", ErrorCode.REQUIRE_APPROVAL),
        ("relaxed", None),
    ],
)
async def test_a_prompt_that_the_transport_cannot_rewrite_goes_as_the_rule_says(
    agent: str, code: ErrorCode | None
) -> None:
    decision = await a_guard(Protocol((prompt("risk 60"),))).decide(a_request(agent))
    assert decision.code is code


async def test_a_prompt_between_the_thresholds_is_rewritten_where_that_is_possible() -> None:
    decision = await a_guard(Protocol((prompt("risk 60"),))).decide(a_request(can_rewrite=True))
    assert decision.allowed
    assert decision.verdicts[0].sanitized == (Message("user", "[REDACTED]"),)


async def test_a_prompt_that_stays_risky_after_rewriting_is_blocked() -> None:
    decision = await a_guard(Protocol((prompt("risk 60", role="stubborn"),))).decide(a_request(can_rewrite=True))
    assert decision.code is ErrorCode.PROMPT_BLOCKED
    assert decision.verdicts[0].sanitized is None


async def test_one_refused_call_refuses_its_whole_batch_and_counts_nothing() -> None:
    limits = SlidingWindowStore()
    batch = (tool("search", query="x"), tool("secrets"), tool("look"))
    decision = await a_guard(Protocol(batch), limits=limits).decide(a_request())
    assert decision.reason == "never"
    assert [verdict.outcome for verdict in decision.verdicts] == [Outcome.DENY] * 3
    assert decision.verdicts[0].reason == "refused because another part of the request was refused"
    guard = a_guard(Protocol((tool("search", query="x"),)), limits=limits)
    assert (await guard.decide(a_request())).allowed
    assert (await guard.decide(a_request())).allowed


async def test_a_batch_cannot_take_more_than_the_limit_leaves() -> None:
    batch = tuple(tool("search", query=str(i)) for i in range(3))
    decision = await a_guard(Protocol(batch)).decide(a_request())
    assert decision.code is ErrorCode.RATE_LIMIT_EXCEEDED
    assert decision.retry_after is not None


async def test_a_limit_lets_exactly_its_number_of_concurrent_calls_through() -> None:
    guard = a_guard(Protocol((tool("look"),)), tool_rate_limit=7, inflight=InFlight(100, 1 << 20))
    decisions = await asyncio.gather(*(guard.decide(a_request()) for _ in range(50)))
    assert sum(decision.allowed for decision in decisions) == 7
    assert {decision.code for decision in decisions} == {None, ErrorCode.RATE_LIMIT_EXCEEDED}


async def test_an_agent_with_too_much_in_flight_is_told_to_come_back() -> None:
    gate = asyncio.Event()

    class SlowBody:
        size_hint = 10

        async def read(self) -> bytes:
            await gate.wait()
            return b"{}"

    guard = a_guard(Protocol((prompt(),)), inflight=InFlight(2, 1 << 20))
    slow = [asyncio.create_task(guard.decide(a_request(own_body=SlowBody()))) for _ in range(2)]
    await asyncio.sleep(0)
    refused = await guard.decide(a_request())
    other = await guard.decide(a_request("relaxed"))
    gate.set()
    assert refused.code is ErrorCode.RATE_LIMIT_EXCEEDED
    assert refused.retry_after == 1.0
    assert other.allowed, "another agent is not held back"
    assert all(decision.allowed for decision in await asyncio.gather(*slow))
    assert (await guard.decide(a_request())).allowed, "what ended does not count any more"


async def test_a_body_is_not_read_before_the_agent_may_use_the_route() -> None:
    class Untouchable:
        size_hint = 0

        async def read(self) -> bytes:
            raise AssertionError("the body was read")

    guard = a_guard(Protocol((prompt(),), capabilities=("llm:call",)), capabilities=frozenset({"prompt:send"}))
    assert (await guard.decide(a_request(own_body=Untouchable()))).code is ErrorCode.CAPABILITY_DENIED
    assert (await guard.decide(a_request(None, own_body=Untouchable()))).code is ErrorCode.AUTH_FAILED


async def test_only_large_bodies_leave_the_event_loop() -> None:
    large: list[tuple[str, int]] = []

    class Elsewhere(AtOnce):
        async def examine(
            self, agent_id: str, task: Task, digest: Callable[[bytes], str]
        ) -> tuple[str, Examination | Refusal]:
            large.append((agent_id, len(task.body)))
            return await super().examine(agent_id, task, digest)

    guard = a_guard(Protocol((prompt(),)), large=Elsewhere())
    await guard.decide(a_request(body=b"x" * 65536))
    assert large == []
    assert (await guard.decide(a_request(body=b"x" * 65537))).allowed
    assert large == [("agent-1", 65537)]

    del large[:]
    guard = a_guard(Protocol((prompt(),), light_bytes=2000), large=Elsewhere())
    for size in (2000, 2001):
        await guard.decide(a_request(body=b"x" * size))
    assert large == [("agent-1", 2001)], "a protocol may say that its bytes weigh more"


async def test_a_store_that_cannot_be_asked_denies() -> None:
    class Down:
        async def take(self, limits: Sequence[Limit], now: float) -> float | None:
            raise StoreUnavailable("connection refused")

    decision = await a_guard(Protocol((tool("search", query="x"),)), limits=Down()).decide(a_request())
    assert (decision.code, decision.reason) == (ErrorCode.STATE_UNAVAILABLE, "state store unavailable")
    assert decision.status == 503


async def test_a_failure_inside_says_who_and_where() -> None:
    guard = a_guard(Protocol(failure=ZeroDivisionError("secret internals")))
    with pytest.raises(PipelineFailure) as caught:
        await guard.decide(a_request())
    assert caught.value.identity is not None
    assert caught.value.identity.agent_id == "agent-1"
    assert caught.value.route == "test.route"
    assert "secret" not in str(caught.value)


async def test_a_refused_reading_keeps_the_actions_that_were_recognised() -> None:
    actions = (tool("search"), tool("look"))
    refusal = RefusedReading(ErrorCode.BAD_REQUEST, "third is broken", actions=actions)
    decision = await a_guard(Protocol(read_refusal=refusal)).decide(a_request())
    assert [verdict.action for verdict in decision.verdicts] == list(actions)
    assert all(verdict.code is ErrorCode.BAD_REQUEST for verdict in decision.verdicts)
    assert decision.input_digest == "digest-2", "also what was refused can be recognised later"


async def test_a_new_snapshot_is_used_from_the_next_request_on() -> None:
    guard = a_guard(Protocol((prompt(),)))
    assert (await guard.decide(a_request())).allowed
    guard.snapshot = replace(guard.snapshot, policy=None)
    assert not (await guard.decide(a_request())).allowed


async def test_an_agent_that_is_revoked_while_its_body_arrives_is_refused() -> None:
    class Revoked(Identities):
        def authenticate(self, request: AgentRequest) -> Identity:
            raise Refusal(ErrorCode.TOKEN_REVOKED, "Token revoked")

    class SlowBody:
        size_hint = 0

        async def read(self) -> bytes:
            guard.snapshot = replace(guard.snapshot, authenticator=Revoked())  # type: ignore[arg-type]
            return b"{}"

    guard = a_guard(Protocol((prompt(),)))
    decision = await guard.decide(a_request(own_body=SlowBody()))
    assert decision.code is ErrorCode.TOKEN_REVOKED


@pytest.mark.parametrize(
    ("body", "heavy"),
    [
        (b'"' * 1024, False),
        (b"x" * 65536, False),
        (b"x" * 65537, True),
        (b'{"a":"b"}' * 227, False),  # 2 KB, as dense as honest JSON gets
        (b'["a"],' * 2000, True),
        (b"[" * 2048, True),
    ],
)
def test_many_small_pieces_weigh_as_much_as_much_text(body: bytes, heavy: bool) -> None:
    assert is_heavy(body) is heavy


def compressed(data: bytes, encoding: str = "gzip") -> AgentRequest:
    body = data
    for name in encoding.split(", "):
        body = gzip.compress(body) if name == "gzip" else bytes(brotli.compress(body))
    return structs.replace(a_request(body=body), headers={"x-agent": "agent-1", "content-encoding": encoding})


@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, br"])
@pytest.mark.parametrize("size", [2, 70_000, 100_000])
async def test_a_compressed_body_is_read_as_it_was_before(encoding: str, size: int) -> None:
    data = b"".join(b"%6d" % number for number in range(size))[:size]
    protocol = Protocol((prompt(),))
    request = compressed(data, encoding)
    decision = await a_guard(protocol).decide(request)
    assert decision.allowed
    assert protocol.bodies == [data]
    assert decision.input_digest == f"digest-{request.body.size_hint}", "of what was sent"


@pytest.mark.parametrize("limit", [1000, 100_000])
async def test_a_compressed_body_obeys_the_limit_of_plain_ones(limit: int) -> None:
    for size, code in ((limit, None), (limit + 1, ErrorCode.PAYLOAD_TOO_LARGE)):
        protocol = Protocol((prompt(),))
        data = b"".join(b"%6d" % number for number in range(size))[:size]
        decision = await a_guard(protocol, max_body_bytes=limit).decide(compressed(data))
        assert decision.code is code
        assert len(protocol.bodies) == (code is None)


async def test_a_body_that_cannot_be_decoded_is_refused() -> None:
    protocol = Protocol((prompt(),))
    for encoding, code in (("x", ErrorCode.UNSUPPORTED_MEDIA_TYPE), ("br", ErrorCode.BAD_REQUEST)):
        request = structs.replace(compressed(b"{}"), headers={"x-agent": "agent-1", "content-encoding": encoding})
        assert (await a_guard(protocol).decide(request)).code is code
    assert not protocol.bodies
