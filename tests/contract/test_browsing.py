"""TenantModels in pages behave alike on SQLite and on PostgreSQL."""

from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine, MetaData, Table, insert, select

from tenantry.manifest.status import State, Status
from tenantry.registry import (
    Claim,
    LoadReport,
    LoadState,
    OperatorRegistry,
    Scope,
    ServerRegistry,
    TenantBrowser,
    Writes,
    migrate,
    open_engine,
    schema,
)
from tenantry.registry.engine import _alembic_config, reading, writing
from tenantry.registry.faults import Fault
from tenantry.registry.views.browsing import Filter, Place, _places

_STATES = {"Ready": State.READY, "Loading": State.RECONCILING, "ArtifactInvalid": State.STALLED}


def _claim(number: int, reason: str = "Ready", *, name: str | None = None) -> Claim:
    user = f"store-{number:03d}"
    status = Status(_STATES[reason], reason, "said", 1) if reason else None
    return Claim(f"uid-{999 - number}", "default", name or user, user, 1.0, 1, {"userId": user}, status)


@pytest.fixture
def browser(engine: Engine, operator: OperatorRegistry) -> TenantBrowser:
    """Over 100 TenantModels: every tenth is Loading, 7, 27, 47, … are invalid."""
    reasons = {0: "Loading", 7: "ArtifactInvalid", 17: "ArtifactInvalid"}
    claims = [_claim(each, reasons.get(each % 20, "Ready")) for each in range(100)]
    operator.commit(Writes(claims=claims))
    return TenantBrowser(engine)


def _users(browser: TenantBrowser, asked: Filter) -> list[str]:
    """Follow `next` to the end."""
    users: list[str] = []
    while True:
        page = browser.page(asked)
        users += [str(claim.user_id) for claim in page.claims]
        if page.next is None:
            return users
        asked = Filter(asked.text, asked.reasons, after=page.next, limit=asked.limit)


@pytest.mark.parametrize("limit", [1, 9, 10, 50, 100, 200])
def test_pages_show_each_tenant_once_and_in_order(browser: TenantBrowser, limit: int) -> None:
    assert _users(browser, Filter(limit=limit)) == [f"store-{each:03d}" for each in range(100)]


def test_pages_lead_back_to_the_first(browser: TenantBrowser) -> None:
    first = browser.page(Filter(limit=30))
    second = browser.page(Filter(limit=30, after=first.next))
    third = browser.page(Filter(limit=30, after=second.next))
    assert first.previous is None
    back = browser.page(Filter(limit=30, before=third.previous))
    assert [claim.uid for claim in back.claims] == [claim.uid for claim in second.claims]
    again = browser.page(Filter(limit=30, before=back.previous))
    assert [claim.uid for claim in again.claims] == [claim.uid for claim in first.claims]
    assert again.previous is None
    assert again.next == first.next


def test_a_page_before_the_second_row_is_the_whole_first_page(browser: TenantBrowser) -> None:
    page = browser.page(Filter(limit=10, before=Place("default/store-001", "uid-998")))
    assert [claim.user_id for claim in page.claims] == [f"store-{each:03d}" for each in range(10)]
    assert page.previous is None


def test_a_page_goes_on_where_its_row_is_gone(browser: TenantBrowser, operator: OperatorRegistry) -> None:
    page = browser.page(Filter(limit=10))
    operator.commit(Writes(forgotten=[page.claims[-1].uid]))
    following = browser.page(Filter(limit=1, after=page.next))
    assert following.claims[0].user_id == "store-010"


def test_reasons_are_counted_and_filter(browser: TenantBrowser) -> None:
    assert browser.reasons() == {"Ready": 85, "Loading": 5, "ArtifactInvalid": 10}
    assert browser.unready() == ("ArtifactInvalid", "Loading")
    unready = _users(browser, Filter(reasons=browser.unready(), limit=4))
    assert unready == sorted(unready)
    assert len(unready) == 15
    assert _users(browser, Filter(reasons=("Loading",), limit=4)) == [
        f"store-{each:03d}" for each in range(0, 100, 20)
    ]
    assert browser.page(Filter(reasons=())).claims == []


def test_a_decision_changes_the_reason_that_is_filtered_by(
    browser: TenantBrowser, operator: OperatorRegistry
) -> None:
    operator.commit(Writes(claims=[_claim(0), _claim(100, "")]))
    assert browser.reasons() == {"Ready": 86, "Loading": 4, "ArtifactInvalid": 10, "": 1}
    assert _users(browser, Filter(reasons=("",))) == ["store-100"]


def test_a_search_finds_parts_in_small_and_capital_letters_and_knows_no_wildcards(
    browser: TenantBrowser, operator: OperatorRegistry
) -> None:
    assert _users(browser, Filter("STORE-09", limit=3)) == [f"store-{each:03d}" for each in range(90, 100)]
    assert _users(browser, Filter("default/store-09", limit=3)) == _users(browser, Filter("store-09"))
    assert _users(browser, Filter("store-09", ("ArtifactInvalid",))) == ["store-097"]
    for pattern in ("%", "_", "store%9", "'; DROP TABLE claims; --", "\\"):
        assert _users(browser, Filter(pattern)) == [], pattern
    operator.commit(Writes(claims=[_claim(100, name="100%_\\'")]))
    for part in ("0%", "%_", "\\'"):
        assert _users(browser, Filter(part)) == ["store-100"], part


def test_a_name_that_fits_no_index_is_stored_all_the_same(
    browser: TenantBrowser, operator: OperatorRegistry
) -> None:
    """A document without a name has the path of its file, and an index entry has 2.7 kB at most."""
    names = ["\U0001f600" * 4000, "x" * 4000]
    operator.commit(Writes(claims=[_claim(100 + place, name=name) for place, name in enumerate(names)]))
    found = browser.page(Filter("store-10"))
    assert sorted(claim.name for claim in found.claims) == sorted(names)


def test_one_tenant_with_what_servers_say_of_it(
    browser: TenantBrowser, operator: OperatorRegistry, server: ServerRegistry
) -> None:
    mark = browser.mark()
    claim = browser.claim("uid-999")
    assert claim is not None
    assert (claim.user_id, claim.reason) == ("store-000", "Loading")
    assert browser.claim("uid-none") is None
    server.report([LoadReport("store-000", "server-0", "m", LoadState.RETRYING, None, "R", "words")])
    assert [report.message for report in browser.loads("store-000")] == ["words"]
    assert browser.loads("store-001") == []
    operator.faults().write([Fault("store-000", "server-0", "m", "ArtifactInvalid", "no")], [])
    for found in (browser.faults(user_id="store-000"), browser.faults(server_id="server-0")):
        assert [fault.message for fault in found] == ["no"]
    assert browser.faults(user_id="store-001") == browser.faults(server_id="server-1") == []
    assert browser.mark() == mark, "what servers say is not the operator's"
    operator.commit(Writes(claims=[_claim(0)]))
    assert browser.mark() != mark


def test_a_key_is_found_until_it_expires_or_is_revoked(operator: OperatorRegistry) -> None:
    keys = operator.keys()
    key, over = keys.create(["*"], Scope.ADMIN, None), keys.create(["*"], Scope.ADMIN, -1.0)
    found = keys.find(key)
    assert found is not None
    assert found.scope is Scope.ADMIN
    assert keys.find(over) is keys.find(key[:-1]) is keys.find("") is keys.find("\udcff") is None
    keys.revoke([found.key_id])
    assert keys.find(key) is None


def test_a_registry_of_before_is_filled_in(opened: Callable[[], Engine]) -> None:
    """Else the tenants that nothing changes would be missing from every filter."""
    engine = opened()
    if engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    config = _alembic_config()
    said = [{"type": "Ready", "status": "False", "reason": "Loading", "message": "m"}]
    row = {"namespace": "a", "created_at": 1.0, "generation": 1, "observed_generation": 1, "origin": ""}
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0014")
        known = Table("claims", MetaData(), autoload_with=connection)
        for uid, conditions in (("u1", said), ("u2", []), ("u3", None)):
            connection.execute(
                insert(known).values(row | {"uid": uid, "name": uid * 300, "conditions": conditions})
            )
    migrate(engine)
    query = select(schema.claims.c.title, schema.claims.c.reason).order_by(schema.claims.c.uid)
    with reading(engine) as connection:
        found = [tuple(each) for each in connection.execute(query)]
    assert found == [
        (f"a/{'u1' * 159}", "Loading"),
        (f"a/{'u2' * 159}", ""),
        (f"a/{'u3' * 159}", ""),
    ]


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        (Filter(), "ix_claims_title"),
        (Filter(after=Place("default/store-050", "u")), "ix_claims_title"),
        (Filter(before=Place("default/store-050", "u")), "ix_claims_title"),
        (Filter("no such user"), "ix_claims_title"),
        (Filter(reasons=("Loading", "ArtifactInvalid"), after=Place("d", "u")), "ix_claims_reason"),
    ],
)
def test_a_page_reads_a_stretch_of_an_index_and_sorts_no_more_than_a_page(
    asked: Filter, index: str
) -> None:
    """Else the first page of 100,000 would read, and sort, all of them."""
    engine = open_engine("sqlite://")
    schema.metadata.create_all(engine)
    statement = _places(asked).compile(engine, compile_kwargs={"literal_binds": True})
    with engine.connect() as connection:
        plan = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")]
    engine.dispose()
    reads = [line for line in plan if "claims" in line]
    assert reads
    assert all(f"USING COVERING INDEX {index}" in line for line in reads), plan
    if asked.reasons is None:  # else a page of each reason is merged with the others
        assert not any("TEMP B-TREE" in line for line in plan), plan
