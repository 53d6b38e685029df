"""How much of one agent may be worked on at the same time, so that its large calls don't delay the others.

Rules of this file: the bounds hold per agent. An agent with nothing in flight is always let in, even with a call
larger than its byte bound (the body limit is checked elsewhere). One event loop owns an `InFlight`.
"""

from __future__ import annotations


class InFlight:
    """Counts calls and bytes in flight, per agent and in total.

    `max_calls`, `max_bytes`: bounds for one agent. `calls` and `bytes` are the totals over all agents.
    """

    __slots__ = ("_agents", "_max_bytes", "_max_calls", "bytes", "calls")

    def __init__(self, max_calls: int, max_bytes: int) -> None:
        if max_calls < 1 or max_bytes < 1:
            raise ValueError("max_calls and max_bytes must be at least 1")
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._agents: dict[str, tuple[int, int]] = {}
        self.calls = 0
        self.bytes = 0

    def __len__(self) -> int:
        """Number of agents with something in flight."""
        return len(self._agents)

    def enter(self, agent_id: str, nbytes: int) -> bool:
        """Count one more call of `nbytes` for the agent; False, counting nothing, if it has too much in flight.

        Each call that was let in must `leave` with the same number of bytes.
        """
        nbytes = max(nbytes, 0)
        here = self._agents.get(agent_id)
        if here is None:
            self._agents[agent_id] = (1, nbytes)
        else:
            calls, size = here
            if calls >= self._max_calls or size + nbytes > self._max_bytes:
                return False
            self._agents[agent_id] = (calls + 1, size + nbytes)
        self.calls += 1
        self.bytes += nbytes
        return True

    def leave(self, agent_id: str, nbytes: int) -> None:
        """Take back one `enter`. Does nothing for an agent that has nothing in flight."""
        here = self._agents.get(agent_id)
        if here is None:
            return
        calls, size = here
        # The last call takes the remainder with it: a caller that reports other bytes than it entered with can't
        # make the agent's count drift.
        freed = size if calls == 1 else min(max(nbytes, 0), size)
        if calls == 1:
            del self._agents[agent_id]
        else:
            self._agents[agent_id] = (calls - 1, size - freed)
        self.calls -= 1
        self.bytes -= freed
