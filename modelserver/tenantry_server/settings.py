"""The settings of a model server, each with its unit and the reason for its default."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from tenantry_server.access.settings import CallerSettings
from tenantry_server.assignments.routing_table import OnRegistryLoss
from tenantry_server.memory.eviction import CachePolicy
from tenantry_server.roles import RoleSettings
from tenantry_server.wire.log.setting import FORM as ACCESS_LOG
from tenantry_server.workers.child.sandbox import Mode


class VersionSkewMode(StrEnum):
    """What becomes of an artifact that another version of its library wrote."""

    WARN = "warn"
    REFUSE = "refuse"


class ServerSettings(CallerSettings, RoleSettings):
    """Settings of `tenantry serve`."""

    server_id: str = Field(
        default="server-0",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$",
        json_schema_extra={
            "form": "at most 253 letters, digits, '.', '_' and '-', the first a letter or digit"
        },
        description="Name of this server, unique among those of one registry.",
    )
    host: str = Field(
        default="127.0.0.1", description="Address to listen on, of IPv4 or IPv6; `::` is every one of both."
    )
    port: int = Field(
        default=0, ge=0, le=65535, description="Port to listen on; 0: one that the system chooses."
    )
    advertise_url: str | None = Field(
        default=None,
        description="Base URL for peers; unset: made from host and port. With TLS required, http:// there "
        "becomes https://.",
    )
    cache_bytes: int = Field(
        default=512 << 20, gt=0, description="Bound of the model cache, in measured bytes."
    )
    cache_policy: CachePolicy = Field(
        default=CachePolicy.S3FIFO,
        description="What a full model cache gives up: what came lately and was not used again, or else is "
        "used the least (s3fifo), the least recently used (lru), the least frequently used (lfu), the "
        "first loaded (fifo), or any, by chance (rr).",
    )
    near_cache_bytes: int = Field(
        default=64 << 20,
        ge=0,
        description="Bound of the near copies, in measured bytes beside the model cache: small models that "
        "other servers hold and this one is asked for, answered here instead of passed on; 0: none. A "
        "sidecar that is not told has 16 MiB.",
    )
    disk_cache_dir: Path | None = Field(
        default=None,
        description="Folder that keeps artifacts read from S3, so that a restart need not read them again; "
        "several servers of one machine may share it. Unset: none.",
    )
    disk_cache_bytes: int = Field(
        default=10 << 30, ge=0, description="Bound of that folder, in bytes on the disk; 0: keep nothing."
    )
    prewarm_s: float = Field(
        default=30.0,
        ge=0,
        description="How long a start waits for pinned (`spec.prewarm`) and hot tenants to be loaded "
        "before /readyz says 200; then it goes on beside requests. Also how long a start is unready where "
        "it can't load what other servers have in memory.",
    )
    hot_users: int = Field(
        default=1000,
        ge=0,
        le=100_000,
        description="How many of the users asked for most often are kept in the registry, and loaded at "
        "the next start; 0: none.",
    )
    hot_every_s: float = Field(
        default=60.0, gt=0, description="Between two such writes; the last one is made when stopping."
    )
    max_body_bytes: int = Field(
        default=8 << 20, gt=0, description="Largest request body; a larger one is answered with 413."
    )
    max_answer_bytes: int = Field(
        default=32 << 20,
        gt=0,
        description="What a model's answer to one request may take in memory, as numbers and texts; a "
        "larger one is refused with 413.",
    )
    grpc_port: int | None = Field(
        default=None,
        ge=0,
        le=65_535,
        description="Port of the Open Inference Protocol over gRPC (`pip install 'tenantry[grpc]'`), on "
        "the same host; 0: one that the system chooses, which the log names. Unset: none. The servers of "
        "`tenantry up` share it.",
    )
    access_log: str = Field(
        default="off",
        description="The access log, one line for each request: off, as the proxies before a fleet log "
        "already; errors: of 400 and more; sample:0.01: these, and that share of the others; all.",
        **ACCESS_LOG,
    )
    max_batch_rows: int = Field(
        default=100_000,
        gt=0,
        description="Most rows of one request for many users (`POST /predict`, `POST /forecast`); more are "
        "answered with 413.",
    )
    load_timeout_s: float = Field(
        default=60.0,
        gt=0,
        description="Time for one model to be read and loaded; after it the load is a failure, and another "
        "one may begin.",
    )
    workers: int = Field(
        default=16,
        ge=0,
        le=256,
        description="Most worker processes that keep models which did not become arrays; when there are as "
        "many, the one not used for the longest time makes room. 0: none; models run in the process of the "
        "server, where one of them can stop all.",
    )
    version_skew: VersionSkewMode = Field(
        default=VersionSkewMode.WARN,
        description="What becomes of an artifact that another version of scikit-learn wrote (by the first "
        "two numbers): warn in the TenantModel's status and in the log, or refuse (`VersionSkew`).",
    )
    sandbox: Mode = Field(
        default=Mode.AUTO,
        description="Whether models are kept from files, the network and other processes: auto as far as "
        "the kernel can, require or the server does not start, off.",
    )
    sandbox_folders: str | None = Field(
        default=None,
        description="Folders, with : between them, that models may read and write in the sandbox, beside "
        "Python's own and the system's libraries, and a temporary folder of their own; unset: none.",
    )
    sandbox_network: bool = Field(
        default=False, description="Whether models may open TCP connections in the sandbox."
    )
    read_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="Time for the head of a connection's first request to arrive, and for each body; a "
        "slower connection is closed, a slower body answered with 408.",
    )
    max_arriving_bytes: int = Field(
        default=256 << 20,
        gt=0,
        description="What bodies that have not arrived whole may hold together; over it, the oldest is "
        "answered with 503.",
    )
    predict_timeout_s: float = Field(
        default=10.0, gt=0, description="Time for one request, a cold load included."
    )
    poll_s: float = Field(
        default=0.1,
        gt=0,
        le=1.0,
        description="Between looks at the registry. At rest only one in a second asks the database: what "
        "tells that nobody has written are wake-ups on PostgreSQL, and the files of SQLite.",
    )
    kubernetes_watch: bool = Field(
        default=False,
        description="Watch TenantModels on the API server, as a wake-up to read the registry at once.",
    )
    lease_s: float = Field(
        default=10.0,
        ge=3.0,
        description="How long the operator waits for a server that died before Ready goes on.",
    )
    drain_s: float = Field(
        default=20.0,
        ge=0,
        description="On a stop: how long to go on answering until other servers have taken over; "
        "0: not at all. `tenantry up`, whose servers stop together, sets it to 0.",
    )
    drain_at_least_s: float = Field(
        default=0.0,
        ge=0,
        description="On a stop: how long to go on answering in any case, while load balancers and the "
        "Services of Kubernetes take note of it; `manifests` and the chart set it to 5.",
    )
    shutdown_s: float = Field(default=10.0, ge=0, description="On a stop: time for the requests under way.")
    on_registry_loss: OnRegistryLoss = Field(
        default=OnRegistryLoss.SERVE,
        description="With the registry gone and the lease over: serve the last known model with a "
        "header that says how old that knowledge is, or refuse with 503.",
    )

    @property
    def refuse_skew(self) -> bool:
        """Whether artifacts of another version of their library are refused."""
        return self.version_skew is VersionSkewMode.REFUSE
