"""`python -m benchmarks.trust`: what trust costs, and whether it holds against a million requests."""

import argparse
import sys
import time
from collections.abc import Callable

from benchmarks.trust import admission, attacks, fuzz, keys, quotas, refusals
from benchmarks.trust.options import Options

_SECTIONS: dict[str, Callable[[Options], None]] = {
    "admission": admission.run,
    "keys": keys.run,
    "refusals": refusals.run,
    "quotas": quotas.run,
    "attacks": attacks.run,
    "fuzz": fuzz.run,
}


def main() -> None:
    """Measure, and print the figures of each section beside their targets."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trust",
        description="CPU of keys and tokens; requests a second with keys and without; a tenant at ten "
        "times its limit beside others; callers that ask for others; fuzzed requests. docs/benchmarks.md "
        "has the figures.",
    )
    parser.add_argument("--only", type=_names, default=list(_SECTIONS), help=", ".join(_SECTIONS))
    parser.add_argument(
        "--requests", type=int, default=1_000_000, help="of attacks, and of fuzzed requests"
    )
    parser.add_argument("--users", type=int, default=1_000, help="whom attackers ask for; at most 1,000")
    parser.add_argument("--rounds", type=int, default=5, help="in which what is compared takes turns")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    parser.add_argument("--seed", type=int, default=20261129, help="of attacks and fuzzed requests")
    given = parser.parse_args()
    options = Options(given.requests, given.users, given.rounds, given.seconds, given.seed)
    for name in given.only:
        began_s = time.perf_counter()
        print(f"{name}:", flush=True)
        _SECTIONS[name](options)
        print(f"{name}: {time.perf_counter() - began_s:.0f} s", file=sys.stderr, flush=True)


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in _SECTIONS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(_SECTIONS)}")
    return names


if __name__ == "__main__":
    main()
