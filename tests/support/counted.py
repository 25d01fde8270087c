"""Numbers that tell how much work was done with them, where a clock would tell of the machine."""


class Counted(float):
    """A number that counts how often it, and what was computed with it, is compared."""

    compared = 0

    def __add__(self, other: float) -> "Counted":
        return Counted(float(self) + other)

    __radd__ = __add__

    def __gt__(self, other: float) -> bool:
        Counted.compared += 1
        return float(self) > other

    def __lt__(self, other: float) -> bool:
        Counted.compared += 1
        return float(self) < other
