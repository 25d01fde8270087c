"""What the settings of every process share: the prefix, the registry and the log level."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tenantry.errors import InvalidSetting
from tenantry.tracing.opening import Traces
from tenantry.trust import fleet_secrets
from tenantry.trust.fleet_secrets import FleetSecrets
from tenantry.trust.tls import Mode


class CommonSettings(BaseSettings):
    """Settings from TENANTRY_* in the environment; options of the command take precedence."""

    model_config = SettingsConfigDict(env_prefix="TENANTRY_", extra="forbid", frozen=True)

    @classmethod
    def load(cls, **given: Any) -> Self:
        """Read the settings from the environment; values of `given` that are not None take precedence.

        Raises:
            InvalidSetting: a value breaks its rule.
        """
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = "TENANTRY_" + "_".join(str(part) for part in first["loc"]).upper()
            problem = first["msg"]
            if first["type"] == "string_pattern_mismatch":
                problem = f"must be {cls._form_of(str(first['loc'][0]))}"
            raise InvalidSetting(f"{name}: {problem}, got {first['input']!r}") from None

    def fleet_secrets(self) -> FleetSecrets | None:
        """Return the secrets of the fleet; None: it has none.

        Raises:
            InvalidSetting: the two settings contradict each other, or the file can't be used.
        """
        return fleet_secrets.of_settings(self.fleet_secret, self.fleet_secret_file)

    @classmethod
    def _form_of(cls, name: str) -> str:
        """Return in words what the pattern of this setting asks for."""
        extra = cls.model_fields[name].json_schema_extra
        return str(extra["form"]) if isinstance(extra, dict) else "of another form"

    registry_url: str = Field(
        default="sqlite:///.tenantry/registry.db",
        description="SQL registry: sqlite:///PATH for one machine, postgresql://… for several.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="What is logged: debug, info, warning or error. Requests have a log of their own, "
        "TENANTRY_ACCESS_LOG.",
    )
    traces: Traces = Field(
        default=Traces.OFF,
        description="Whether a server's requests and an operator's changes are traced: off, or otlp, which "
        "sends spans to an OpenTelemetry collector by OTLP over HTTP (`pip install 'tenantry[otel]'`). The "
        "standard variables `OTEL_…` say where (`OTEL_EXPORTER_OTLP_ENDPOINT`) and how many "
        "(`OTEL_TRACES_SAMPLER`).",
    )
    namespace: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        json_schema_extra={"form": "a namespace (lower-case letters, digits and -)"},
        description="On Kubernetes: follow the TenantModels of this namespace only; unset: of all.",
    )
    file_roots: str | None = Field(
        default=None,
        description="Folders, with : between them, that file:// artifacts may lie in; empty: none. Unset: "
        "an operator of a folder of manifests allows the folder that this one is in, an operator of a "
        "cluster none, and a server any, as the operator admits what it reads.",
    )
    max_artifact_bytes: int = Field(
        default=1 << 30, gt=0, description="Largest artifact that is read into memory, or hashed."
    )
    fleet_secret: SecretStr | None = Field(
        default=None,
        description="The same for operator and servers, and known to nobody else: a server gets shards "
        "and requests only after it answered a challenge with it: a row in SQL is not enough. Unset: every "
        "row of the registry is believed.",
    )
    fleet_secret_file: Path | None = Field(
        default=None,
        description="A file with such secrets instead, one a line, at most 4: the first signs, each is "
        "accepted. It is read again within a second of a change, so secrets can be rotated while all runs.",
    )
    s3_endpoint_url: str | None = Field(
        default=None,
        description="S3 server other than Amazon's, also for `publish`; unset: AWS_ENDPOINT_URL_S3, or AWS "
        "itself.",
    )
    tls_cert: Path | None = Field(
        default=None,
        description="Certificate in PEM, with its chain: a server then speaks TLS. Followed with the two "
        "files below: a change holds for the next connection. Unset: plain HTTP.",
    )
    tls_key: Path | None = Field(
        default=None, description="Its private key in PEM, without a passphrase; required with it."
    )
    tls_ca: Path | None = Field(
        default=None,
        description="Certificates in PEM of the CA that signs those of servers: commands, operator and "
        "servers trust these alone when they connect to a server, and servers with TLS required ask other "
        "servers for a certificate that one of these signed. Unset: those of the system, and no "
        "certificate is asked for.",
    )
    tls: Mode = Field(
        default=Mode.REQUIRED,
        description="With a certificate: whether a server takes TLS alone and connects to others by TLS "
        "alone (required), or takes plain HTTP as well and asks others as their addresses say (optional, "
        "for the time of a change-over).",
    )
