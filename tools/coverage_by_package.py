"""Prints branch coverage by package, from the data of the last `pytest --cov`; see `make coverage`."""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path


def main() -> None:
    """Sum up lines and branches of each package."""
    report = Path(".coverage.json")
    subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)], check=True
    )
    files = json.loads(report.read_text())["files"]
    report.unlink()
    sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for name, measured in files.items():
        summary = measured["summary"]
        counts = ("covered_lines", "num_statements", "covered_branches", "num_branches")
        for package in (str(Path(name).parent), "all"):
            sums[package] = [a + summary[key] for a, key in zip(sums[package], counts, strict=True)]
    print(f"{'package':<52} {'lines':>6} {'branches':>9}")
    for package, (lines, all_lines, branches, all_branches) in sorted(sums.items()):
        print(f"{package:<52} {_share(lines, all_lines):>6} {_share(branches, all_branches):>9}")


def _share(covered: int, total: int) -> str:
    return f"{covered / total:.0%}" if total else "-"


if __name__ == "__main__":
    main()
