"""The Pod Security Standard "restricted", as a table: what of a pod's spec breaks it.

https://kubernetes.io/docs/concepts/security/pod-security-standards/, and two rules of our own.
"""

from collections.abc import Iterator
from typing import Any

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_SECCOMP = {"RuntimeDefault", "Localhost"}


def breaches(pod: dict[str, Any]) -> list[str]:
    """Each rule that a pod's spec breaks: of the pod, or CONTAINER: RULE."""
    return list(_of_pod(pod)) + [
        f"{container['name']}: {rule}"
        for key in ("initContainers", "containers", "ephemeralContainers")
        for container in pod.get(key, [])
        for rule, kept in _of_container(container, pod.get("securityContext", {})).items()
        if not kept
    ]


def _of_pod(pod: dict[str, Any]) -> Iterator[str]:
    for volume in pod.get("volumes", []):
        if not set(volume) - {"name"} <= _VOLUMES:
            yield f"volume {volume['name']}"
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield key
    context = pod.get("securityContext", {})
    if context.get("sysctls"):
        yield "sysctls"
    if context.get("appArmorProfile", {}).get("type") == "Unconfined":
        yield "appArmorProfile"
    if not set(context.get("seLinuxOptions", {})) <= {"level"}:
        yield "seLinuxOptions"


def _of_container(container: dict[str, Any], of_pod: dict[str, Any]) -> dict[str, bool]:
    """What a container says goes before what its pod says."""
    own = container.get("securityContext", {})
    context = {**of_pod, **own}
    capabilities = own.get("capabilities", {})
    return {
        "privileged": not own.get("privileged"),
        "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
        "capabilities": "ALL" in capabilities.get("drop", ())
        and set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"},
        "runAsNonRoot": context.get("runAsNonRoot") is True,
        "runAsUser": context.get("runAsUser") != 0,
        "seccompProfile": context.get("seccompProfile", {}).get("type") in _SECCOMP,
        "hostPort": not any(port.get("hostPort") for port in container.get("ports", [])),
        "procMount": own.get("procMount", "Default") == "Default",
        # Our own: a number, which `runAsNonRoot` can be checked by, and nothing to write to but volumes.
        "a user by number": isinstance(context.get("runAsUser"), int),
        "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
    }
