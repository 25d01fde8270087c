"""Switches traces on: by one setting, and the standard variables of OpenTelemetry."""

import enum
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import structlog

from tenantry.errors import InvalidSetting
from tenantry.tracing import sampling
from tenantry.tracing.sampling import Sampler

if TYPE_CHECKING:
    from tenantry.tracing.exporting import Export

log = structlog.get_logger(__name__)

_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN = "http/protobuf"


class Traces(enum.StrEnum):
    """Whether spans are made."""

    OFF = "off"
    OTLP = "otlp"


class Tracing(NamedTuple):
    """What traces need: what begins spans, and where they go."""

    sampler: Sampler
    export: "Export"


def opened(
    traces: Traces, service: str, instance: str, environ: Mapping[str, str] = os.environ
) -> Tracing | None:
    """Return what traces; None: nothing is traced, and OpenTelemetry is not imported.

    Args:
        service: what kind of process this is, such as ``tenantry-server``.
        instance: this process's name among them.

    Raises:
        InvalidSetting: it is not installed, or a variable asks for what Tenantry does not do.
    """
    if traces is Traces.OFF or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() or "otlp"
    if exporter == "none":
        return None
    if exporter != "otlp":
        raise InvalidSetting(f"OTEL_TRACES_EXPORTER is {exporter!r}; Tenantry knows otlp and none")
    for name in _PROTOCOLS:
        spoken = environ.get(name, "").strip().lower() or _SPOKEN
        if spoken != _SPOKEN:
            raise InvalidSetting(f"{name} is {spoken!r}; Tenantry sends spans by {_SPOKEN} alone")
    ratio, follows = sampling.of_environment(environ)
    try:
        from tenantry.tracing.exporting import Export  # noqa: PLC0415 - 0.2 s, and an extra
    except ModuleNotFoundError as error:
        raise InvalidSetting(
            f"TENANTRY_TRACES is otlp and needs {error.name}: pip install 'tenantry[otel]'"
        ) from None
    export = Export(service, instance, environ)
    sampler = Sampler(ratio, follows=follows, ended=export.ended, may_leave=export.may_leave)
    log.info("traces are on", ratio=ratio, follows_callers=follows)
    return Tracing(sampler, export)
