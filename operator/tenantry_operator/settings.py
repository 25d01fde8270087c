"""The operator's settings, each with its unit and the reason for its default."""

from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field

from tenantry.settings import CommonSettings


class Ui(StrEnum):
    """Who sees the page of the fleet at /ui."""

    OFF = "off"
    KEYS = "keys"
    OPEN = "open"


class OperatorSettings(CommonSettings):
    """Settings of `tenantry operator`."""

    lease: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9-]+/[a-z0-9.-]+$",
        json_schema_extra={"form": "NAMESPACE/NAME (lower-case letters, digits, - and .)"},
        description="On Kubernetes: NAMESPACE/NAME of a Lease, made where it does not exist; work only "
        "while holding it. Unset: work at once, as the only replica.",
    )
    probe_host: str = Field(
        default="127.0.0.1", description="Address of the probes and metrics; `::` is every one."
    )
    probe_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port of /healthz, /readyz and /metrics; 0: one that the system chooses; unset: none.",
    )
    ui: Ui | None = Field(
        default=None,
        description="The page of the fleet at /ui, on the port of the probes: off; keys: it asks for an "
        "API key with scope admin for every user, or an admin's JWT; open: for everybody who "
        "reaches the port, unless TENANTRY_AUTH is required. Unset: off, but for `tenantry up`, "
        "which has it on loopback.",
    )
    auth: Literal["off", "required"] = Field(
        default="off",
        description="The servers' setting of this name: with required, the page at /ui asks for a key.",
    )
    policy_file: Path | None = Field(
        default=None,
        description="With a folder of manifests: a file of TenantPolicies, which say what each namespace "
        "may declare. It is followed; keep it outside that folder. Unset: everything may be declared. On "
        "Kubernetes, TenantPolicies are objects, and this is not read.",
    )
    poll_s: float = Field(
        default=0.1,
        gt=0,
        le=1.0,
        description="Between looks at what servers reported. At rest only one in two seconds asks the "
        "database, with four small SELECTs.",
    )
    resync_s: float = Field(
        default=600.0,
        gt=0,
        description="Between full comparisons with the registry, which repair rows edited by hand.",
    )
    retry_first_s: float = Field(
        default=1.0, gt=0, description="Wait before a missing artifact is looked up again."
    )
    retry_last_s: float = Field(
        default=15.0, gt=0, description="Longest wait between such lookups; it doubles up to this."
    )
    resolve_threads: int = Field(
        default=16, gt=0, description="Artifacts looked up at once (S3 HEAD requests)."
    )
    resolve_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="Time for one such lookup, the hashing of a file included; after it the TenantModel "
        "is tried again later, and another lookup may begin.",
    )
    rebalance_after_s: float = Field(
        default=15.0,
        ge=0,
        description="Quiet time after servers came or went, before shards move for the sake of balance; at "
        "most four times that. The shards of a server that is gone or leaving do not wait for it.",
    )
    handover_s: float = Field(
        default=30.0,
        gt=0,
        description="How long the next owner of a shard may load its hot users before it takes over.",
    )
    statefulset: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9-]+/[a-z0-9.-]+$",
        json_schema_extra={"form": "NAMESPACE/NAME (lower-case letters, digits, - and .)"},
        description="On Kubernetes: NAMESPACE/NAME of the servers' StatefulSet. Its replicas say which "
        "servers are about to leave, before Kubernetes stops them. Unset: each server says so itself.",
    )
    forget_servers_s: float = Field(
        default=600.0, gt=0, description="After this a server that went away is no longer listed."
    )
    allow_mass_delete: bool = Field(
        default=False,
        description="Remove tenants even where more than max(50, 5 %) disappear at once, or where a folder "
        "of manifests is empty.",
    )
