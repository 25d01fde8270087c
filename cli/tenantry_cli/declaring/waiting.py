"""Waits until versions that were declared are in service, or says why they are not.

Owns the exit statuses of `tenantry publish --wait`. What a TenantModel says is judged by
`tenantry.manifest.readiness`; where it is read is the caller's choice: a registry, or a cluster.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from tenantry import TenantModel, TenantryError
from tenantry.errors import RegistryUnavailable
from tenantry.manifest.readiness import Progress, Verdict, judge
from tenantry_cli import console

EXIT_STALLED = 3
EXIT_TIMEOUT = 4

Look = Callable[[TenantModel], Mapping[str, Any] | None]
"""Returns a TenantModel as an API server would, None where there is none."""

_EVERY_S = 0.5
_MOST_SHOWN = 20


class NoAnswer(TenantryError):
    """The API server did not answer; it may later."""


class NotReady(click.ClickException):
    """Some versions are not in service.

    Args:
        message: which, and why.
        exit_code: EXIT_STALLED or EXIT_TIMEOUT.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it of the instance


def wait(
    declared: Sequence[TenantModel],
    look: Look,
    *,
    timeout_s: float,
    generations: Mapping[str, int] | None = None,
    clock_s: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Return once each of these exact versions is Ready.

    Args:
        look: asked for each one that is not Ready yet.
        timeout_s: for all of them together.
        generations: by the key of `key_of`, what an API server called the versions; empty: not known.
        clock_s, pause: for tests.

    Raises:
        NotReady: some are Stalled, or the time is over; names them, with the operator's words.
    """
    until_s = clock_s() + timeout_s
    open_ = list(declared)
    stalled: dict[str, Verdict] = {}
    said: dict[str, str] = {}
    while True:
        waiting: dict[str, Verdict] = {}
        for each in open_:
            key = key_of(each)
            verdict = _verdict(each, look, (generations or {}).get(key))
            if verdict.progress is Progress.STALLED:
                stalled[key] = verdict
            elif verdict.progress is Progress.WAITING:
                waiting[key] = verdict
                if said.get(key) != verdict.reason and len(declared) == 1:
                    console.say(f"waiting: {_words(verdict)}")
                said[key] = verdict.reason
        open_ = [each for each in open_ if key_of(each) in waiting]
        if not open_ or clock_s() >= until_s:
            break
        pause(min(_EVERY_S, max(0.0, until_s - clock_s())))
    if stalled:
        raise NotReady(_listed("Stalled", {**stalled, **waiting}), EXIT_STALLED)
    if waiting:
        raise NotReady(_listed(f"not Ready within {timeout_s:g} s", waiting), EXIT_TIMEOUT)
    console.say(f"{len(declared)} Ready" if len(declared) != 1 else f"{key_of(declared[0])} is Ready")


def key_of(declared: TenantModel) -> str:
    """Return how a TenantModel is named to people."""
    return f"{declared.namespace}/{declared.name}"


def _verdict(declared: TenantModel, look: Look, generation: int | None) -> Verdict:
    model = declared.spec.model
    try:
        seen = look(declared)
    except (NoAnswer, RegistryUnavailable) as error:
        return Verdict(Progress.WAITING, "", str(error))
    if seen is None and generation is not None:
        return Verdict(Progress.STALLED, "Deleted", "the TenantModel was deleted meanwhile")
    return judge(seen, uri=model.uri, sha256=model.sha256 or None, generation=generation)


def _listed(what: str, verdicts: Mapping[str, Verdict]) -> str:
    shown = [f"{key}: {_words(verdict)}" for key, verdict in list(verdicts.items())[:_MOST_SHOWN]]
    more = len(verdicts) - len(shown)
    return f"{what}: " + "; ".join([*shown, *([f"and {more} more"] if more else [])])


def _words(verdict: Verdict) -> str:
    return f"{verdict.reason}: {verdict.message}" if verdict.reason else verdict.message
