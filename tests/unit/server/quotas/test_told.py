"""What other servers said of users is remembered as long as it holds, for little work."""

from tenantry_server.quotas.told import Told
from tests.support.counted import Counted


def test_as_many_users_as_there_are_cost_no_more_each() -> None:
    """Once they were ten thousand, each of the next looked through all of them."""
    now_s = [0.0]
    told = Told(lambda: Counted(now_s[0]))
    Counted.compared = 0
    for number in range(40_000):
        told.put(f"user-{number}", 30.0)
    assert Counted.compared < 10 * 40_000
    assert told.left_s("user-1") == told.left_s("user-39999") == 30.0
    now_s[0] = 31.0
    for number in range(50_000):
        told.put(f"other-{number}", 30.0)
    assert told.left_s("user-1") == 0.0
    assert told.left_s("other-0") == 30.0
