"""The tenants in pages: searched, filtered by reason, the next page found by its place in an index."""

import json
from collections.abc import Mapping

from tenantry import ModelId
from tenantry.manifest.status import READY
from tenantry.registry import Claim
from tenantry.registry.views.browsing import Filter, Page, Place
from tenantry_operator.ui.messages import Request, address
from tenantry_operator.ui.pages import words
from tenantry_operator.ui.sight import Sight
from tenantry_operator.ui.templating import NOTHING, Html, joined, render

UNREADY = "unready"
"""The filter of all reasons but Ready's; no reason is written like that."""

_MOST_CHIPS = 24
_LONGEST_TEXT = 253
_LONGEST_MESSAGE = 240  # characters in the table; the tenant's own page has all of them


def listing(sight: Sight, request: Request) -> Html:
    """Return the page of tenants that a request asks for.

    Raises:
        RegistryUnavailable: the database does not answer.
    """
    text = request.query.get("q", "").strip()[:_LONGEST_TEXT]
    reason = request.query.get("reason", "")
    counts = sight.counts()
    asked = Filter(
        text,
        _reasons(reason, counts),
        after=_place(request.query.get("after")),
        before=_place(request.query.get("before")),
    )
    page = sight.browser.page(asked)
    rows = joined(_row(claim) for claim in page.claims)
    return render(
        "tenants.page",
        chips=joined(_chips(counts, reason, text)),
        text=text,
        reason=reason,
        rows=rows or render("tenants.none", advice=_why_none(text, reason)),
        pager=_pager(page, text, reason),
    )


def _reasons(reason: str, counts: Mapping[str, int]) -> tuple[str, ...] | None:
    if not reason:
        return None
    if reason == UNREADY:
        return tuple(sorted(counts.keys() - {READY}))
    return ("" if reason == words.UNDECIDED else reason,)


def _chips(counts: Mapping[str, int], reason: str, text: str) -> list[Html]:
    """Return a link for each filter, with how many TenantModels have that reason."""
    unready = [(count, each) for each, count in counts.items() if each != READY]
    unready.sort(key=lambda pair: (-pair[0], pair[1] or words.UNDECIDED))
    total = sum(counts.values())
    shown = [("", "All", total, "all"), (READY, READY, counts.get(READY, 0), "good")]
    shown.append((UNREADY, "Not Ready", total - counts.get(READY, 0), "busy"))
    for count, each in unready[:_MOST_CHIPS]:
        name = each or words.UNDECIDED
        shown.append((name, name, count, "busy"))
    return [
        render(
            "tenants.chip",
            href=address(q=text, reason=name),
            current="true" if name == reason else "false",
            tone=tone,
            title=title,
            count=f"{count:,}",
        )
        for name, title, count, tone in shown
    ]


def _row(claim: Claim) -> Html:
    status = claim.status
    reason = claim.reason or words.UNDECIDED
    message = "" if status is None or reason == READY else status.text
    since = words.age(claim.since.get(READY, ""))
    return render(
        "tenants.row",
        href=address("tenants", claim.uid),
        user=claim.user_id or "no user",
        title=f"{claim.namespace}/{claim.name}",
        badge=badge(claim),
        message=message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}…",
        version=ModelId.parse(claim.model_id).short if claim.model_id else "-",
        size=words.size(claim.size_bytes),
        since=f"{since} ago" if since else "-",
    )


def badge(claim: Claim) -> Html:
    """Return the reason of a TenantModel, coloured by its state; the word alone says it, too."""
    status = claim.status
    state = "" if status is None else status.state.value
    return render(
        "tenants.badge", reason=claim.reason or words.UNDECIDED, tone=words.tone(claim.reason, state)
    )


def _pager(page: Page, text: str, reason: str) -> Html:
    links = []
    if page.previous is not None:
        first = address(q=text, reason=reason)
        links.append(render("tenants.link", href=first, rel="first", title="First"))
        before = address(q=text, reason=reason, before=_written(page.previous))
        links.append(render("tenants.link", href=before, rel="prev", title="Previous"))
    if page.next is not None:
        after = address(q=text, reason=reason, after=_written(page.next))
        links.append(render("tenants.link", href=after, rel="next", title="Next"))
    return render("tenants.pager", links=joined(links)) if links else NOTHING


def _why_none(text: str, reason: str) -> str:
    if text:
        return (
            f"No user and no TenantModel has {text!r} in its name{' with this reason' if reason else ''}."
        )
    if reason:
        return "No TenantModel has this reason now."
    return "No TenantModel is declared yet: put a manifest into the folder, or kubectl apply one."


def _written(place: Place) -> str:
    return json.dumps([place.title, place.uid], ensure_ascii=False)


def _place(given: str | None) -> Place | None:
    """Read the place of a row from the address; anything else is the first page."""
    try:
        title, uid = json.loads(given or "")
    except (ValueError, TypeError, RecursionError):
        return None
    if not (isinstance(title, str) and isinstance(uid, str)) or "\0" in title + uid:
        return None
    return Place(title, uid)
