"""The clock by which leases are trusted."""

import time


def boot_clock_s() -> float:
    """Seconds that also pass while the machine sleeps, where the system has such a clock."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
