"""The model servers: their shards, memory and load; one of them with its workers and what it counted."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tenantry.registry import Server
from tenantry_operator.ui.asking import NotAnswered
from tenantry_operator.ui.messages import Refusal, address
from tenantry_operator.ui.pages import usage, words
from tenantry_operator.ui.pages.tenant import figure
from tenantry_operator.ui.sight import Sight
from tenantry_operator.ui.templating import NOTHING, Html, joined, render

_MOST_WORKERS = 200
_MOST_STRIKES = 50


def listing(sight: Sight) -> Html:
    """Return the page of all servers.

    Raises:
        RegistryUnavailable: the database does not answer.
    """
    holdings = sight.registry.shards()
    servers = {server.server_id: server for server in sight.registry.servers()}
    owned = Counter(holding.server_id for holding in holdings.values())
    arriving = Counter(holding.next_id for holding in holdings.values() if holding.next_id)
    newest = max((server.acked_revision for server in servers.values() if server.live), default=0)
    names = sorted({*servers, *owned, *arriving})
    rows = [_row(name, servers.get(name), owned[name], arriving[name], newest) for name in names]
    return render(
        "servers.page",
        live=sum(server.live for server in servers.values()),
        shards=f"{len(holdings):,}",
        moving=arriving.total(),
        rows=joined(rows) or render("servers.none"),
    )


def page(sight: Sight, server_id: str, key: str | None) -> Html:
    """Return the page of one server.

    Raises:
        Refusal: no server has this name.
        RegistryUnavailable: the database does not answer.
    """
    server = next((each for each in sight.registry.servers() if each.server_id == server_id), None)
    if server is None:
        raise Refusal(404, "Not found", "No server of this name is listed, or no longer.")
    faults = [
        render(
            "servers.fault",
            user=each.user_id,
            href=address(q=each.user_id),
            reason=each.reason,
            message=each.message,
        )
        for each in sight.browser.faults(server_id=server_id)
    ]
    return render(
        "servers.one",
        server=server.server_id,
        endpoint=server.endpoint,
        state=_state(server),
        revision=f"{server.acked_revision:,}",
        load=_load(server),
        memory=_memory(server),
        counted=_counted(sight, server, key),
        workers=_workers(sight, server, key),
        faults=render("servers.faults", rows=joined(faults)) if faults else NOTHING,
    )


def _row(name: str, server: Server | None, owned: int, arriving: int, newest: int) -> Html:
    if server is None:
        return render("servers.gone", server=name, shards=owned, arriving=arriving or "-")
    behind = newest - server.acked_revision if server.live else 0
    return render(
        "servers.row",
        href=address("servers", name),
        server=name,
        state=_state(server),
        shards=owned,
        arriving=arriving or "-",
        memory=_memory(server),
        load=_load(server),
        behind=f"{behind:,} behind" if behind > 0 else "up to date" if server.live else "-",
    )


def _state(server: Server) -> Html:
    state = "gone" if not server.live else "leaving" if server.report.leaving else "live"
    tone = {"live": "good", "leaving": "busy", "gone": "bad"}[state]
    return render("tenants.badge", reason=state, tone=tone)


def _load(server: Server) -> Html:
    share = min(1.0, max(0.0, server.report.load))
    return render("servers.meter", label="Load", value=f"{share:.3f}", said=f"{share:.0%}")


def _memory(server: Server) -> Html:
    of = max(1, server.capacity_bytes)
    share = min(1.0, max(0.0, server.report.used_bytes / of))
    said = f"{words.size(server.report.used_bytes)} of {words.size(server.capacity_bytes)}"
    return render("servers.meter", label="Model cache", value=f"{share:.3f}", said=said)


def _counted(sight: Sight, server: Server, key: str | None) -> Html:
    if not server.live:
        return NOTHING
    try:
        reply = sight.asker.metrics(server, key)
        if reply.status != 200:
            return render("servers.unknown", problem=f"The server answered {reply.status} to /metrics.")
        figures = usage.of_server(usage.read(reply.body.decode("utf-8", "replace")))
    except (NotAnswered, ValueError, KeyError) as error:
        return render("servers.unknown", problem=f"What it counted is not known: {error}")
    return render("servers.counted", figures=joined(figure(each) for each in figures))


def _workers(sight: Sight, server: Server, key: str | None) -> Html:
    if not server.live:
        return NOTHING
    try:
        reply = sight.asker.workers(server, key)
        if reply.status == 404:
            return render(
                "servers.unknown", problem="It runs models in its own process (TENANTRY_WORKERS=0)."
            )
        if reply.status != 200:
            return render("servers.unknown", problem=f"The server answered {reply.status} to /workers.")
        return _described(json.loads(reply.body))
    except (NotAnswered, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return render("servers.unknown", problem=f"Its workers are not known: {error}")


def _described(workers: Mapping[str, Any]) -> Html:
    rows = [
        render(
            "servers.worker",
            pid=worker["pid"],
            role=worker["role"],
            needs=worker["needs"] or "-",
            models=worker["models"],
            memory=words.size(float(worker["residentBytes"])),
            busy="slow" if worker["slow"] else "busy" if worker["busy"] else "idle",
            waiting=worker["waiting"],
        )
        for worker in workers["workers"][:_MOST_WORKERS]
    ]
    strikes = [
        render("servers.strike", model=model_id, count=each["count"], latest=each["latest"])
        for model_id, each in list(workers["strikes"].items())[:_MOST_STRIKES]
    ]
    return render(
        "servers.workers",
        rows=joined(rows),
        strikes=render("servers.strikes", rows=joined(strikes)) if strikes else NOTHING,
    )
