"""The accounts of all tenants that this server answers for: two periods, each with a bounded table.

Counts are exact while a period sees no more tenants than the bound. Beyond it, for each new tenant one is
given up that did no more than half of them did, and what it had counted goes to `others`: the totals stay
exact, and a tenant's own numbers become lower bounds. That is the purge at the median of Anderson et al.,
"A High-Performance Algorithm for Identifying Frequent Items in Data Streams" (IMC 2017, sections 3.2 and
3.3), with shares in the place of counts, as there are three of these, and in small steps. The median is
that of a thousand tenants at most. The shares of one kind add up to 1, so where there are no more than
that, none is given up that had more than 6 / `most` of the period's requests, errors or CPU seconds.

Once `others` hold seven times `most` requests, a quick one opens an account by chance alone, the more
seldom the less of the whole it is ("sample and hold" of Estan and Varghese, "New Directions in Traffic
Measurement and Accounting", SIGCOMM 2002): to open one costs as much as the model. A tenant with 6 / `most`
of all would open one 42 times on average, so the chance that it has none is less than 10**-17.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from heapq import nlargest
from operator import attrgetter
from random import random, randrange, sample
from statistics import median_low

from tenantry_server.accounts.account import Account

MOST = 50_000
"""Tenants with an account of their own in each of the two periods: 15 MB each where all are used."""

_OFTEN = 7  # times `most`
_SOME = 1001  # tenants that are weighed for all
_LOOKS = 256  # tenants that are weighed for one that is given up; where there is none, there is one more
_EVERY = 16  # quick requests, of which one is measured: `Resident.is_sampled`
_REQUEST_S = 60e-6  # the cost of a request beside its model: parsing, the event loop, the answer
_DRAWN = 256  # tenants of a request for many, that are charged for all of them


class By(StrEnum):
    """What tenants are put in order by."""

    REQUESTS = "requests"
    ERRORS = "errors"
    CPU = "cpu"
    BYTES = "bytes"


_VALUE: dict[By, Callable[[Account], float]] = {
    By.REQUESTS: attrgetter("requests"),
    By.ERRORS: attrgetter("errors"),
    By.CPU: attrgetter("cpu_s"),
}


@dataclass(frozen=True, slots=True)
class Period:
    """What was counted between two turns; nothing changes it any more.

    Attributes:
        began_s: seconds since the epoch.
        tenants: by user id.
        others: of tenants that have no account of their own.
    """

    began_s: float
    tenants: Mapping[str, Account]
    others: Account


class Accounts:
    """Counts by tenant; used on the event loop.

    Args:
        most: tenants with an account of their own in each period; 2 at least.
        clock_s: seconds since the epoch; a parameter so that tests can move it.

    Attributes:
        now: the table of the period under way, by user id.
        others: of that period, of tenants that have no account.
        sampled: whether the quick answer under way is the one of 16 that is measured.
        forgotten: called with each period that is given up.

    Example:
        >>> accounts = Accounts()
        >>> accounts.ended("ann", 200, 0.0004)
        >>> accounts.spent("ann", 0.0001)
        >>> [(user_id, found.requests, found.cpu_s) for user_id, found in accounts.heaviest(By.CPU, 10)]
        [('ann', 1, 0.0001)]
    """

    def __init__(self, most: int = MOST, *, clock_s: Callable[[], float] = time.time) -> None:
        self._most = most
        self._clock_s = clock_s
        self._began_s = clock_s()
        self._last = Period(self._began_s, {}, Account())
        self.now: dict[str, Account] = {}
        self._find = self.now.get
        self._busy: dict[str, Account] = {}  # of this second; pairs would keep the collector busy
        self.others = _nobody()
        self._turns: Iterator[str] = iter(())  # of the tenants that may be given up, in this round
        self._of_some = 1, 1, 1.0  # requests, errors and CPU seconds of those that were weighed
        self._usual = 0.0  # the weight of the one in their middle
        self.sampled = False
        self.forgotten: Callable[[Period], None] = lambda _: None

    @property
    def since_s(self) -> float:
        """When the earlier of the two periods began, in seconds since the epoch."""
        return self._last.began_s

    def spent(self, user_id: str, model_s: float, requests: int = 0) -> None:
        """Charge CPU seconds of a model to its tenant, and count requests: a dict lookup and additions."""
        account = self._find(user_id)
        if account is None:
            account = self.others if requests and self._is_left_out(model_s) else self._open(user_id)
        if not account.busy_s:
            self._busy[user_id] = account
        account.busy_s += model_s + _REQUEST_S
        account.cpu_s += model_s
        account.requests += requests

    def recorded(self, user_id: str, status: int, seconds: float) -> None:
        """Record what is not usual of a quick answer: that it is an error, or that it is the sample.

        A request that was answered with 200 is counted by `spent`. A refusal has no latency of interest.
        """
        account = self._find(user_id) or self._open(user_id)
        if status != 200:
            account.requests += 1
            account.failed(status)
        else:
            self.sampled = False
            account.took(seconds, _EVERY)

    def ended(self, user_id: str, status: int, seconds: float) -> None:
        """Count any other answer, with its latency."""
        account = self._find(user_id) or self._open(user_id)
        account.requests += 1
        account.took(seconds)
        if status >= 400:
            account.failed(status)

    def busy_s(self) -> dict[str, float]:
        """Return the CPU seconds by tenant since the last call, with what the server does for requests."""
        found = {user_id: account.busy_s for user_id, account in self._busy.items()}
        for account in self._busy.values():
            account.busy_s = 0.0
        self._busy.clear()
        return found

    def together(self, users: Sequence[str], counts: Sequence[int], row_s: float) -> None:
        """Count a request for many tenants as one request of each.

        Of more than 256 tenants, every n-th is counted n times, from a random one on: the expected numbers
        of each tenant are right, and the time for it is bounded.

        Args:
            counts: the rows of each user.
            row_s: the CPU seconds of one row.
        """
        step = -(-len(users) // _DRAWN) or 1
        for place in range(randrange(step), len(users), step):  # noqa: S311 - chance, not a secret
            user_id = users[place]
            account = self._find(user_id) or self._open(user_id)
            account.requests += step
            account.cpu_s += counts[place] * row_s * step

    def turn(self) -> Period:
        """Begin a new period, forget the one before the last, and return what has just ended."""
        self.forgotten(self._last)
        self._last = Period(self._began_s, self.now.copy(), self.others)
        self.now.clear()
        self._turns = iter(())
        self.others, self._began_s = _nobody(), self._clock_s()
        return self._last

    def heaviest(self, by: By, limit: int) -> list[tuple[str, Account]]:
        """Return the first tenants by what they did in both periods, the heaviest first.

        Takes 50 ms for a hundred thousand, so call it in a thread where there may be many.

        Args:
            by: anything but `By.BYTES`, which no account knows.
        """
        now, before, value = self.now.copy(), self._last.tenants, _VALUE[by]

        def total(user_id: str) -> float:
            return sum(value(table[user_id]) for table in (now, before) if user_id in table)

        weighed = ((total(user_id), user_id) for user_id in now.keys() | before.keys())
        best = nlargest(limit, (each for each in weighed if each[0]))
        return [(user_id, self.of_user(user_id)) for _, user_id in best]

    def of_user(self, user_id: str) -> Account:
        """Return what one tenant did in both periods, as a copy; zeros where it is unknown."""
        return _sum(self.now.get(user_id), self._last.tenants.get(user_id))

    def of_others(self) -> Account:
        """Return what tenants without an account did in both periods, as a copy."""
        return _sum(self.others, self._last.others)

    def _open(self, user_id: str) -> Account:
        if len(self.now) >= self._most:
            self._give_one_up()
        account = self.now[user_id] = Account()
        former = self._busy.get(user_id)
        if former is not None:  # given up, or of the period before, within this second
            account.busy_s = former.busy_s
            self._busy[user_id] = account
        return account

    def _is_left_out(self, model_s: float) -> bool:
        """Draw whether a quick request of a tenant without an account opens none."""
        others, least, drawn = self.others, _OFTEN * self._most, random()  # noqa: S311 - chance, not a secret
        return (
            drawn * others.requests > least
            and drawn * others.cpu_s > least * model_s
            and len(self.now) >= self._most
        )

    def _give_one_up(self) -> None:
        """Give up a tenant that did no more than half of them did, where one is soon found.

        Each is weighed in its turn: to weigh fifty thousand at once would hold the event loop for 80 ms.
        """
        for _ in range(_LOOKS):
            user_id = next(self._turns, None)
            if user_id is None:
                self._begin_round()
            elif self._weight(self.now[user_id]) <= self._usual:
                self.others.add(self.now.pop(user_id))
                return

    def _begin_round(self) -> None:
        """Find out from some of the tenants what half of them did at most."""
        accounts = list(self.now.values())
        some = sample(accounts, min(_SOME, len(accounts)))
        total = _sum(*some)
        self._of_some = total.requests or 1, total.errors or 1, total.cpu_s or 1.0
        self._usual = median_low(map(self._weight, some))
        self._turns = iter(list(self.now))
        if len(self._busy) > 2 * self._most:  # nobody asks who is busy
            self.busy_s()

    def _weight(self, account: Account) -> float:
        """Return the largest of an account's shares."""
        requests, errors, cpu_s = self._of_some
        return max(account.requests / requests, account.errors / errors, account.cpu_s / cpu_s)


def _nobody() -> Account:
    """Return the account of those who have none; it never counts as a busy tenant."""
    account = Account()
    account.busy_s = 1.0
    return account


def _sum(*accounts: Account | None) -> Account:
    total = Account()
    for account in accounts:
        if account is not None:
            total.add(account)
    return total
