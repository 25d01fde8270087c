"""How requests ended, by phase: how many, how quick, and every answer that was not right."""

from collections import Counter, defaultdict
from copy import deepcopy
from dataclasses import dataclass, field

import orjson

from tests.support.network.clients.http_client import Reply
from tests.support.tenants import lines

_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        tenant: who was asked for.
        promised: the version that was Ready when the request was sent.
        server: the server that was asked.
        took_s: since it was due.
    """

    tenant: int
    promised: int
    server: str
    reply: Reply
    took_s: float


@dataclass
class Phase:
    """Counts.

    Attributes:
        failed: kind -> requests without a prediction: a status and its reason, or how the connection ended.
        wrong: another tenant's answers, or nobody's.
        stale: older than what was Ready when the request was sent, and nothing said so.
        aged: carried Tenantry-Registry-Age: the server knew, and said, that it could not know better.
        aged_stale: those of them that were older than what was Ready.
        refused: connections that nobody took; the request went to another server.
        hops: answered by another server than the one that was asked.
        by: server -> answers.
        tenants: who was asked for.
        examples: a few of the answers that were not right, in words.
    """

    sent: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    stale: int = 0
    aged: int = 0
    aged_stale: int = 0
    refused: int = 0
    hops: int = 0
    by: Counter[str] = field(default_factory=Counter)
    tenants: set[int] = field(default_factory=set)
    took_s: list[float] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    @property
    def failures(self) -> int:
        """Requests without a prediction."""
        return self.failed.total()

    def quantile_ms(self, q: float) -> float:
        """Of the answers' latency, from the moment when the request was due."""
        if not self.took_s:
            return 0.0
        return sorted(self.took_s)[min(len(self.took_s) - 1, int(q * len(self.took_s)))] * 1e3

    def note(self, what: str) -> None:
        """Keep an example."""
        if len(self.examples) < _EXAMPLES:
            self.examples.append(what)

    def __str__(self) -> str:
        failed = ", ".join(f"{count} {kind}" for kind, count in self.failed.most_common())
        parts = [
            f"{self.sent} sent",
            f"{self.failures} failed" + (f" ({failed})" if failed else ""),
            f"{self.wrong} wrong",
            f"{self.stale} stale",
        ]
        parts += [f"{self.aged} with their age"] if self.aged else []
        parts += [f"{self.refused} refused at first"] if self.refused else []
        parts += [f"{self.hops} passed on", f"p50 {self.quantile_ms(0.5):.1f} ms"]
        parts += [f"p99 {self.quantile_ms(0.99):.1f} ms"]
        return ", ".join(parts)


class Figures:
    """Of every phase, by its name."""

    def __init__(self) -> None:
        self.phases: defaultdict[str, Phase] = defaultdict(Phase)

    def __getitem__(self, name: str) -> Phase:
        return self.phases[name]

    def __str__(self) -> str:
        return "; ".join(f"{name}: {phase}" for name, phase in self.phases.items())

    def copy(self) -> "Figures":
        """As they are now."""
        copied = Figures()
        copied.phases.update(deepcopy(dict(self.phases)))
        return copied

    @property
    def whole(self) -> Phase:
        """All phases as one."""
        whole = Phase()
        for phase in self.phases.values():
            whole.sent += phase.sent
            whole.failed += phase.failed
            whole.wrong += phase.wrong
            whole.stale += phase.stale
            whole.aged += phase.aged
            whole.aged_stale += phase.aged_stale
            whole.refused += phase.refused
            whole.hops += phase.hops
            whole.by += phase.by
            whole.tenants |= phase.tenants
            whole.took_s += phase.took_s
            whole.examples += phase.examples
        return whole

    def refused(self, phase: str) -> None:
        self.phases[phase].refused += 1

    def failed(self, phase: str, tenant: int, kind: str) -> None:
        counts = self.phases[phase]
        counts.sent += 1
        counts.tenants.add(tenant)
        counts.failed[kind] += 1

    def answered(self, phase: str, answer: Answer) -> None:
        """Count an answer, after checking whose it is and how old."""
        counts, reply = self.phases[phase], answer.reply
        if reply.status != 200:
            self.failed(phase, answer.tenant, f"{reply.status} {_reason(reply)}")
            counts.note(f"{answer.server} for {answer.tenant}: {reply.status} {reply.body[:300]!r}")
            return
        counts.sent += 1
        counts.took_s.append(answer.took_s)
        counts.tenants.add(answer.tenant)
        by = reply.headers.get("tenantry-server", "?")
        counts.by[by] += 1
        counts.hops += by != answer.server
        aged = "tenantry-registry-age" in reply.headers
        counts.aged += aged
        try:
            tenant, version = lines.read(orjson.loads(reply.body)["predictions"])
        except (ValueError, KeyError):
            tenant, version = -1, 0
        if tenant != answer.tenant:
            counts.wrong += 1
            counts.note(f"{answer.server}, {by} for {answer.tenant}: {reply.body[:300]!r}")
        elif version < answer.promised:
            counts.aged_stale += aged
            counts.stale += not aged
            counts.note(
                f"{answer.server}, {by} for {answer.tenant}: version {version}, "
                f"{answer.promised} was Ready{', with its age' if aged else ''}"
            )


def _reason(reply: Reply) -> str:
    try:
        error = orjson.loads(reply.body)["error"]
    except (ValueError, KeyError):
        return "without a reason"
    return str(error["reason"]) if isinstance(error, dict) else str(error)
