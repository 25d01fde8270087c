"""What the settings of every process share: the prefix, the registry and the log level."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class CommonSettings(BaseSettings):
    """Read from TENANTRY_* in the environment; the command's options go before them."""

    model_config = SettingsConfigDict(env_prefix="TENANTRY_", extra="forbid", frozen=True)

    registry_url: str = Field(
        default="sqlite:///.tenantry/registry.db",
        description="SQL registry: sqlite:///PATH for one machine, postgresql://… for several.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Requests are logged at debug, one line each."
    )
    s3_endpoint_url: str | None = Field(
        default=None,
        description="S3 server other than Amazon's; unset: AWS_ENDPOINT_URL_S3, or AWS itself.",
    )
