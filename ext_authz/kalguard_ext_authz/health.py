"""Whether this process can do its work, as named checks. Read by probes, by people and by the drain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import structlog

Status = Literal["ok", "degraded", "unavailable"]

_SEVERITY: Final[Mapping[Status, int]] = {"ok": 0, "degraded": 1, "unavailable": 2}
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    """The state of one part. `degraded`: it answers rightly, but an operator must look.

    `detail` is shown to anybody who can reach a probe: it holds no secret and no agent text.
    """

    status: Status
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All checks at one moment; `status` is the worst of them."""

    status: Status
    checks: Mapping[str, Check]

    @property
    def http_status(self) -> int:
        """What a readiness probe answers: 503 when unavailable, else 200."""
        return 503 if self.status == "unavailable" else 200

    def as_dict(self) -> dict[str, Any]:
        """The report as the probes and `/config` show it."""
        return {
            "status": self.status,
            "checks": {name: {"status": check.status, "detail": check.detail} for name, check in self.checks.items()},
        }


class Health:
    """The registered checks. Setting `draining` makes the report unavailable, so that no new work comes."""

    def __init__(self) -> None:
        self.draining = False
        self._checks: dict[str, Callable[[], Check]] = {}

    def add(self, name: str, check: Callable[[], Check]) -> None:
        """Register `check`, which must be fast: it runs on every probe. A name can be taken once."""
        if name in self._checks:
            raise ValueError(f"a health check named {name!r} is registered already")
        self._checks[name] = check

    def report(self) -> HealthReport:
        """Run all checks. Never raises: a check that raises counts as unavailable."""
        checks = {name: _run(name, check) for name, check in self._checks.items()}
        if self.draining:
            checks["draining"] = Check("unavailable", "the server is shutting down")
        statuses: list[Status] = [check.status for check in checks.values()]
        worst: Status = max(statuses, key=_SEVERITY.__getitem__, default="ok")
        return HealthReport(worst, checks)


def _run(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception:  # noqa: BLE001 - whatever went wrong, the part cannot be called healthy
        # the exception may hold paths or secrets: it goes to the log, not to whoever reads the probe
        _log.exception("health_check_failed", check=name)
        return Check("unavailable", "the check itself failed; see the log")
