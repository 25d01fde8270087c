"""Proofs between servers."""

import pytest

from tenantry_server.access.hops import Hops

ASKED = b"here:1", b"POST", b"/predict/ann", b"17"


class Clock:
    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_proof_holds_at_the_server_that_it_was_made_for() -> None:
    proof = Hops("secret", "there:2").proof(*ASKED)
    assert Hops("secret", "here:1").holds(*ASKED[1:], proof)


@pytest.mark.parametrize(
    "changed",
    [
        (b"there:2", *ASKED[1:]),
        (ASKED[0], b"GET", *ASKED[2:]),
        (*ASKED[:2], b"/predict/bob", ASKED[3]),
        (*ASKED[:3], b"18"),
    ],
    ids=["server", "method", "path", "length"],
)
def test_it_holds_for_nothing_else(changed: tuple[bytes, bytes, bytes, bytes]) -> None:
    proof = Hops("secret", "there:2").proof(*changed)
    assert not Hops("secret", "here:1").holds(*ASKED[1:], proof)


def test_another_secret_proves_nothing() -> None:
    assert not Hops("secret", "here:1").holds(*ASKED[1:], Hops("other", "here:1").proof(*ASKED))


@pytest.mark.parametrize("later_s", [-31.0, 31.0])
def test_it_ends_soon(later_s: float) -> None:
    clock = Clock()
    hops = Hops("secret", "here:1", clock)
    proof = hops.proof(*ASKED)
    assert hops.holds(*ASKED[1:], proof)
    clock.now_s += later_s
    assert not hops.holds(*ASKED[1:], proof)


@pytest.mark.parametrize(
    "proof", [b"", b"x", b"1 ", b"-1 a", b"9" * 5000 + b" a", "\u0663 a".encode(), b" a b"]
)
def test_what_is_no_proof_is_refused(proof: bytes) -> None:
    assert not Hops("secret", "here:1").holds(*ASKED[1:], proof)
