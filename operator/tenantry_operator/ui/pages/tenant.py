"""One tenant: what answers, why it is not Ready and what to do, where it is, and a prediction to try."""

import json
from collections.abc import Mapping, Sequence

from tenantry import ModelId
from tenantry.manifest.status import READY
from tenantry.model_id import public_name
from tenantry.placement import shard_of
from tenantry.registry import Claim, Server
from tenantry_operator.ui.asking import NotAnswered, Reply, order
from tenantry_operator.ui.door import TOKEN
from tenantry_operator.ui.messages import Refusal, address, pretty
from tenantry_operator.ui.pages import tenants, trial, usage, words
from tenantry_operator.ui.sight import MOST_ASKED, Sight
from tenantry_operator.ui.templating import NOTHING, Html, joined, render

_LONGEST_ANSWER = 20_000  # characters


def page(sight: Sight, claim: Claim, key: str | None, token: str) -> Html:
    """Return the page of a TenantModel.

    Args:
        key: of the visitor, shown to the server that knows the model's card.
        token: proves that the form is this page's.
    """
    form, problem = _form(sight, claim, key)
    return _page(sight, claim, key, _trial(claim, form, token, problem, NOTHING))


def answered(
    sight: Sight, claim: Claim, key: str | None, token: str, given: Mapping[str, str], *, believed: bool
) -> Html:
    """Send what a visitor filled in to a server, and return the page with the answer.

    Args:
        given: the fields of the form.
        believed: whether the form was read from this page.
    """
    form, problem = _form(sight, claim, key)
    if not believed:
        answer = _failed("The form is of another process, or of another page. Send it again.")
    else:
        try:
            body = trial.body_of(form, given)
            answer = _answer(*_ask(sight, claim, body, key, is_forecast=form.is_forecast))
        except (trial.Unfit, NotAnswered) as error:
            answer = _failed(str(error))
    return _page(sight, claim, key, _trial(claim, trial.filled(form, given), token, problem, answer))


def find(sight: Sight, uid: str) -> Claim:
    """Return a TenantModel.

    Raises:
        Refusal: it is gone.
    """
    claim = None if "\0" in uid else sight.browser.claim(uid)
    if claim is None:
        raise Refusal(404, "Not found", "This TenantModel is not declared, or no longer.")
    return claim


def _page(sight: Sight, claim: Claim, key: str | None, attempt: Html) -> Html:
    return render(
        "tenant.page",
        user=claim.user_id or f"{claim.namespace}/{claim.name}",
        title=f"{claim.namespace}/{claim.name}",
        state=_state(claim),
        versions=_versions(sight, claim),
        figures=_figures(sight, claim, key),
        attempt=attempt,
    )


def _state(claim: Claim) -> Html:
    reason = claim.reason or words.UNDECIDED
    message = "" if claim.status is None else claim.status.text
    what = "" if reason == READY else words.advice(reason)
    since = words.age(claim.since.get(READY, ""))
    return render(
        "tenant.state",
        badge=tenants.badge(claim),
        since=f"{'Ready' if reason == READY else 'not Ready'} for {since}" if since else "",
        message=message or "The operator has not decided about it yet.",
        advice=render("tenant.advice", advice=what) if what else NOTHING,
        behind=_behind(claim),
    )


def _behind(claim: Claim) -> Html:
    if claim.status is None or claim.observed_generation >= claim.generation:
        return NOTHING
    return render("tenant.behind", observed=claim.observed_generation, generation=claim.generation)


def _versions(sight: Sight, claim: Claim) -> Html:
    rows = []
    model_id = claim.model_id
    if model_id:
        rows.append(
            _version(
                "Answers now", model_id, f"{public_name(model_id)} to clients", words.size(claim.size_bytes)
            )
        )
    row = sight.registry.assignments([claim.user_id]).get(claim.user_id) if claim.user_id else None
    candidate = row.candidate_id if row is not None and row.uid == claim.uid and not row.deleted else None
    if candidate:
        rows.append(_version("Loading", candidate, "the next one, once it has loaded", "-"))
    declared = _declared(claim)
    if declared:
        rows.append(
            render(
                "tenant.version", what="Declared", short="-", size="-", model=declared, note=_origin(claim)
            )
        )
    reports = [] if claim.user_id is None else _reports(sight, claim.user_id)
    return render(
        "tenant.versions",
        rows=joined(rows),
        reports=render("tenant.reports", rows=joined(reports)) if reports else NOTHING,
    )


def _version(what: str, model_id: str, note: str, size: str) -> Html:
    short, artifact = ModelId.parse(model_id).short, model_id.partition("#")[0]
    return render("tenant.version", what=what, short=short, size=size, model=artifact, note=note)


def _declared(claim: Claim) -> str:
    model = (claim.spec or {}).get("model")
    return str(model.get("uri", "")) if isinstance(model, dict) else ""


def _origin(claim: Claim) -> str:
    where = f" in {claim.origin}" if claim.origin else ""
    return f"generation {claim.generation}{where}"


def _reports(sight: Sight, user_id: str) -> list[Html]:
    """Return what servers say: of the version that they try, and of the one in force."""
    rows = [
        render(
            "tenant.report",
            server=each.server_id,
            about=str(each.state),
            reason=each.reason,
            message=each.message,
        )
        for each in sight.browser.loads(user_id)
    ]
    return rows + [
        render(
            "tenant.report",
            server=each.server_id,
            about=str(each.state),
            reason=each.reason,
            message=each.message,
        )
        for each in sight.browser.faults(user_id=user_id)
    ]


def _figures(sight: Sight, claim: Claim, key: str | None) -> Html:
    if claim.user_id is None:
        return NOTHING
    owner = sight.owner(claim.user_id)
    servers = sight.registry.servers()
    figures = [usage.Figure("Shard", str(shard_of(claim.user_id)))]
    figures += usage.of_tenant(claim.user_id, servers)
    figures += _counted(sight, claim.user_id, order(servers, owner), key)
    shown = joined(figure(each) for each in figures)
    if owner is None:
        return render("tenant.figures", owner=render("tenant.no_owner"), figures=shown)
    link = render("tenant.owner", href=address("servers", owner), server=owner)
    return render("tenant.figures", owner=link, figures=shown)


def _counted(sight: Sight, user_id: str, servers: Sequence[Server], key: str | None) -> list[usage.Figure]:
    """Return what servers counted of the tenant, or why that is not known."""
    asked = servers[:MOST_ASKED]
    try:
        replies = sight.counted(user_id, asked, key)
        known = [reply.body for reply in replies if reply.status == 200]
        if any(reply.status == 403 for reply in replies):
            return [
                usage.Figure(
                    "Requests", "not shown", "servers tell it with TENANTRY_OPEN_LISTS, or to a key"
                )
            ]
        figures = usage.counted(user_id, known)
    except ValueError as error:
        return [usage.Figure("Requests", "not known", str(error))]
    if len(known) < len(servers):
        figures.append(usage.Figure("Counted by", f"{len(known)} of {len(servers)} servers"))
    return figures


def figure(shown: usage.Figure) -> Html:
    """Return the HTML of one figure."""
    return render("tenant.figure", title=shown.title, value=shown.value, note=shown.note)


def _form(sight: Sight, claim: Claim, key: str | None) -> tuple[trial.Form, str]:
    """Return the form, and why it is not the one of the model's card; empty: it is, or there is none."""
    if claim.user_id is None or not claim.model_id or ModelId.parse(claim.model_id).card is None:
        return trial.Form(), ""
    servers = order(sight.registry.servers(), sight.owner(claim.user_id))
    if not servers:
        return trial.Form(), "The card is not known: no model server is live."
    try:
        card = sight.card(claim, servers[0], key)
        return trial.of_card(json.loads(card) if card else None), ""
    except NotAnswered as error:
        return trial.Form(), f"The card is not known: {error}"
    except (ValueError, RecursionError):
        return trial.Form(), f"The card is not known: {servers[0].server_id} answered with something else."


def _trial(claim: Claim, form: trial.Form, token: str, problem: str, answer: Html) -> Html:
    if claim.user_id is None or not claim.model_id:
        return render("tenant.untried")
    action = address("tenants", claim.uid, "predict")
    as_rows = render(
        "tenant.rows_form", action=action, token_name=TOKEN, token=token, name=trial.ROWS, rows=form.rows
    )
    if form.fields:
        fields = joined(_field(each) for each in form.fields)
        shown = render("tenant.fields_form", action=action, token_name=TOKEN, token=token, fields=fields)
        as_rows = render("tenant.folded", form=as_rows)
    else:
        shown = NOTHING
    note = problem or (
        "" if form.fields else "The model has no card with columns, so rows are given as JSON."
    )
    return render(
        "tenant.trial",
        note=render("tenant.note", note=note) if note else NOTHING,
        forms=joined([shown, as_rows]),
        answer=answer,
    )


def _field(field: trial.Field) -> Html:
    said = {"name": field.name, "column": field.column, "dtype": field.dtype}
    if not field.options:
        mode = {"number": "decimal", "integer": "numeric"}.get(field.kind, "text")
        return render("tenant.input", value=field.value, mode=mode, **said)
    shown = [("", "missing"), *((trial.shown(each), trial.shown(each)) for each in field.options)]
    options = [
        render("tenant.chosen" if value == field.value else "tenant.option", value=value, title=title)
        for value, title in shown
    ]
    return render("tenant.select", options=joined(options), **said)


def _ask(
    sight: Sight, claim: Claim, body: bytes, key: str | None, *, is_forecast: bool
) -> tuple[Reply, Server]:
    """Ask the owner of the user's shard, once: a request that may have ended a process is not repeated."""
    user_id = claim.user_id or ""
    servers = order(sight.registry.servers(), sight.owner(user_id))
    if not servers:
        raise NotAnswered("no model server is live; start one, and send it again")
    return sight.asker.predict(servers[0], user_id, body, key, forecast=is_forecast), servers[0]


def _failed(message: str) -> Html:
    return render("tenant.failed", message=message)


def _answer(reply: Reply, server: Server) -> Html:
    model = reply.headers.get("tenantry-model-id", "")
    return render(
        "tenant.answer",
        status=reply.status,
        outcome="good" if reply.status == 200 else "bad",
        took=words.seconds(reply.seconds),
        server=reply.headers.get("tenantry-server", server.server_id),
        model=f" with {model}" if model else "",
        body=pretty(reply.body, _LONGEST_ANSWER),
    )
