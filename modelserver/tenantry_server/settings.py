"""The settings of a model server, each with its unit and the reason for its default."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from tenantry.manifest.limits import Limits
from tenantry_server.access.gate import Auth
from tenantry_server.assignments.routing_table import OnRegistryLoss
from tenantry_server.memory.eviction import CachePolicy
from tenantry_server.roles import RoleSettings
from tenantry_server.wire.log.setting import FORM as ACCESS_LOG
from tenantry_server.workers.child.sandbox import Mode


class VersionSkewMode(StrEnum):
    """What becomes of an artifact that another version of its library wrote."""

    WARN = "warn"
    REFUSE = "refuse"


class ServerSettings(RoleSettings):
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
        default=CachePolicy.LRU,
        description="What a full model cache gives up: the least recently used (lru), the least frequently "
        "used (lfu), the first loaded (fifo), or any, by chance (rr).",
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
        description="Between readings of the registry; one that finds nothing costs one SELECT.",
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

    auth: Auth = Field(
        default=Auth.OFF,
        description="Whether callers have to show an API key or a token: off, or required, which needs "
        "TENANTRY_FLEET_SECRET.",
    )
    open_lists: bool = Field(
        default=False,
        description="With TENANTRY_AUTH=off: whether anyone may list all users (`GET /v1/models`, "
        "`GET /v1/timeseries/models`, V2's index), or what they do (`GET /tenants/top`).",
    )
    top_tenants: int = Field(
        default=10,
        ge=0,
        le=1000,
        description="How many tenants /metrics names (`tenantry_tenant_*`): the first by requests, as many "
        "by errors, and as many by CPU; 0: none. With TENANTRY_AUTH=off only where TENANTRY_OPEN_LISTS is "
        "true, as else nobody may learn who the users are.",
    )
    tenant_accounts: int = Field(
        default=50_000,
        ge=100,
        description="Tenants that a server counts one by one in an hour, for `GET /tenants/top`, those "
        "metrics and costs, at 300 bytes each; with more of them, those that do the least are counted "
        "together.",
    )
    open_repository: bool = Field(
        default=False,
        description="With TENANTRY_AUTH=off: whether anyone may load and unload models by V2's repository "
        "calls.",
    )
    limit_requests_per_second: float | None = Field(
        default=None,
        gt=0,
        description="How many predictions and forecasts a second each user may be asked for, over all "
        "servers, where `spec.limits` does not say; unset: any number. So with the four below.",
    )
    limit_burst: int | None = Field(
        default=None, ge=1, description="Of these at once after a pause; unset: as many as a second allows."
    )
    limit_concurrency: int | None = Field(
        default=None, ge=1, description="Requests of one user that wait for an answer at the same time."
    )
    limit_rows: int | None = Field(default=None, ge=1, description="Rows of one request.")
    limit_cache_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Bytes of a user's model in memory; a larger one is `ModelOverLimit`.",
    )

    jwt_issuer: str | None = Field(
        default=None,
        description="With TENANTRY_AUTH=required: accept JWTs whose `iss` is this; unset: API keys alone.",
    )
    jwt_audience: str | None = Field(
        default=None, description="What `aud` of a JWT has to hold; required with an issuer."
    )
    jwt_keys: str | None = Field(
        default=None,
        description="The issuer's public keys as a JWKS: a file, or an https URL; required with an issuer. "
        "Read once a minute, and when a token names an unknown key.",
    )
    jwt_algorithms: str = Field(
        default="RS256 ES256",
        description="Algorithms of JWTs that are accepted, with spaces between them; only those with a "
        "public key may be named.",
    )
    jwt_claim: str = Field(default="sub", description="The claim of a JWT that says who the caller is.")
    jwt_claim_pattern: str = Field(
        default="(.+)",
        description="Regular expression that the whole claim has to match, with the groups that "
        "TENANTRY_JWT_USERS names.",
    )
    jwt_users: str = Field(
        default="${1}",
        description="Patterns of the user ids that such a caller may ask for, with spaces between them: * "
        "is any text, and ${1} the first group of the claim, in which * has no meaning.",
    )
    jwt_admins: str | None = Field(
        default=None,
        description="Regular expression of whole claims whose callers are admins of every user; unset: "
        "none.",
    )
    jwt_cache_bytes: int = Field(
        default=16 << 20,
        gt=0,
        description="Bound of the verified JWTs that are remembered until they expire; another one is "
        "verified again, which takes about 0.1 ms.",
    )

    @property
    def limits(self) -> Limits:
        """What a user is allowed where nothing was declared."""
        return Limits(
            requests_per_second=self.limit_requests_per_second,
            burst=self.limit_burst,
            concurrency=self.limit_concurrency,
            rows=self.limit_rows,
            cache_bytes=self.limit_cache_bytes,
        )

    @property
    def refuse_skew(self) -> bool:
        """Whether artifacts of another version of their library are refused."""
        return self.version_skew is VersionSkewMode.REFUSE
