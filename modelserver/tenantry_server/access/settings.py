"""Of a server's settings, those of its callers: who may ask, for whom, and how much."""

from pydantic import Field

from tenantry.manifest.limits import Limits
from tenantry.settings import CommonSettings
from tenantry_server.access.gate import Auth


class CallerSettings(CommonSettings):
    """Keys and tokens of callers, what is open to everybody, and limits of users."""

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
