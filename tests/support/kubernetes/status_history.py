"""Which statuses were written to the TenantModels of a namespace since a moment: asked when it is over.

Owns: a replay of the API server's own watch, held against its audit log.
Refuses: what a status ought to say. A watch that is followed live is not a witness: the API server cuts off
a slow client, and on a busy machine that is kubectl after a hundred changes.
"""

import json
import ssl
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.waiting import until

_READS = tuple(f'"verb":"{verb}"' for verb in ("get", "list", "watch"))  # as the audit log has it
PATIENCE_S = 30


class StatusHistory:
    """Begins when it is made. The API server remembers a hundred changes, and more of the last minute.

    Args:
        plane: with an audit log.
        namespace: of the TenantModels.
    """

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self._plane = plane
        self._namespace = namespace
        self._path = f"/apis/tenantry.dev/v1alpha1/namespaces/{namespace}/tenantmodels"
        listed = self._listed()
        self._since = listed["metadata"]["resourceVersion"]
        self._statuses = {item["metadata"]["name"]: item["status"] for item in listed["items"]}
        self._writes = self._audited()

    def writes(self) -> "Counter[tuple[str, str, str]]":
        """Requests since then that were no mere reads and succeeded: verb, subresource and name."""
        return self._audited() - self._writes

    def reasons(self) -> dict[str, list[str]]:
        """Of each TenantModel, the reason in each status that was written since then, oldest first.

        Raises:
            AssertionError: the audit log has other writes, such as one that changed nothing.
        """
        last = dict(self._statuses)
        reasons: dict[str, list[str]] = {}
        for found in self._changes():
            name, status = found["metadata"]["name"], found["status"]
            if status != last.get(name, {"observedGeneration": -1}):
                reasons.setdefault(name, []).append(status["conditions"][0]["reason"])
            last[name] = status
        counts = {name: len(told) for name, told in reasons.items()}
        # A watcher may hear of a write before the log has its line.
        until(lambda: self._counted() == counts, f"an audit log that has these writes: {counts}")
        return reasons

    def _counted(self) -> dict[str, int]:
        return {
            name: n for (verb, sub, name), n in self.writes().items() if (verb, sub) == ("patch", "status")
        }

    def _changes(self) -> Iterator[dict[str, Any]]:
        """Every state of every object, up to the newest that stands now."""
        newest = max((_version(item) for item in self._listed()["items"]), default=0)
        if newest <= int(self._since):
            return
        query = f"watch=true&resourceVersion={self._since}&timeoutSeconds={PATIENCE_S}"
        request = urllib.request.Request(
            f"{self._plane.url}{self._path}?{query}",
            headers={"Authorization": f"Bearer {self._plane.admin_token}"},
        )
        trust = ssl.create_default_context(cafile=self._plane.ca_file)
        with urllib.request.urlopen(request, context=trust, timeout=PATIENCE_S) as events:
            for event in map(json.loads, events):
                assert event["type"] in ("ADDED", "MODIFIED", "DELETED"), event
                if event["type"] != "DELETED":
                    yield event["object"]
                if _version(event["object"]) >= newest:
                    return
        raise AssertionError(f"the watch ended before version {newest}")

    def _listed(self) -> dict[str, Any]:
        status, body = self._plane.request("GET", self._path)
        assert status == 200, body
        return dict(body)

    def _audited(self) -> "Counter[tuple[str, str, str]]":
        assert self._plane.audit_log is not None, "start the control plane with audit=True"
        whole = self._plane.audit_log.read_text().splitlines()
        # To read all that clients have listed and watched would take more than all else in this process.
        lines = map(json.loads, (line for line in whole if not any(each in line for each in _READS)))
        return Counter(
            (line["verb"], line["objectRef"].get("subresource", ""), line["objectRef"].get("name", ""))
            for line in lines
            if line.get("objectRef", {}).get("resource") == "tenantmodels"
            and line["objectRef"].get("namespace") == self._namespace
            and line["stage"] == "ResponseComplete"
            and line["responseStatus"]["code"] < 300
        )


def _version(found: dict[str, Any]) -> int:
    """To be compared only here: in general, a resourceVersion is a word without an order."""
    return int(found["metadata"]["resourceVersion"])
