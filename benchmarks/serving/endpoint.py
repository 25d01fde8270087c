"""A server that is ready to be asked, and the proof that it answers as scikit-learn does."""

import json
import math
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.serving.tenants import ROW, Tenants

RECORDS = json.dumps([ROW]).encode()
JSON = {"Content-Type": "application/json"}
_CHECKED = 5


@dataclass(frozen=True, slots=True)
class Ask:
    """What differs between the requests for one tenant and another."""

    path: str
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask, and what.

    Attributes:
        name: of the server, for people.
        url: without a path.
        requests: one for each tenant, in their order.
        body: the same row for all.
        pid: of the process that listens; 0: several.
        constant: it answers the same to everybody: nothing to check.
        parse: reads an answer.
        read: the prediction in a parsed answer.
        grpc: the address of the same models over gRPC; empty: none.
    """

    name: str
    url: str
    requests: tuple[Ask, ...]
    body: bytes = RECORDS
    pid: int = 0
    constant: bool = False
    parse: Callable[[bytes], Any] = json.loads
    read: Callable[[Any], float] = lambda answer: float(answer[0])
    grpc: str = ""


class WrongAnswer(Exception):
    """A server answers, and not what scikit-learn does."""


def by_path(tenants: Tenants) -> tuple[Ask, ...]:
    """The requests of the servers that find the user in the path."""
    return tuple(Ask(f"/predict/{tenants.user_id(n)}") for n in range(tenants.count))


def ask(endpoint: Endpoint, n: int) -> float:
    """One prediction for tenant `n`.

    Raises:
        WrongAnswer: the answer was no 2xx, or not in the form that was agreed.
    """
    wanted = endpoint.requests[n]
    request = urllib.request.Request(endpoint.url + wanted.path, data=endpoint.body, headers=wanted.headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return endpoint.read(endpoint.parse(text))
    except urllib.error.HTTPError as error:
        raise WrongAnswer(f"{endpoint.name}: {error.code} {error.read()[:300]!r}") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise WrongAnswer(f"{endpoint.name}: {text[:300]!r}") from error


def check(endpoint: Endpoint, tenants: Tenants) -> None:
    """Every tenant is asked once, so that all are warm; several are held against scikit-learn.

    Raises:
        WrongAnswer: one differs by more than 1e-9 of its value.
    """
    every = max(1, tenants.count // _CHECKED)
    for n in range(tenants.count):
        seen = ask(endpoint, n)
        if (
            not endpoint.constant
            and n % every == 0
            and not math.isclose(seen, tenants.expected(n), rel_tol=1e-9)
        ):
            raise WrongAnswer(f"{endpoint.name}: {tenants.user_id(n)}: {seen}, not {tenants.expected(n)}")
