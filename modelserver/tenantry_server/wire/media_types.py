"""The types in which a table of rows comes and goes, by Content-Type and Accept."""

from enum import StrEnum

from aiohttp import hdrs, web

from tenantry.errors import UnknownMediaType


class Media(StrEnum):
    """Types of bodies."""

    JSON = "application/json"
    NDJSON = "application/x-ndjson"
    ARROW = "application/vnd.apache.arrow.stream"
    PARQUET = "application/vnd.apache.parquet"

    @property
    def is_table(self) -> bool:
        """Whether a library of another language reads it, in a worker."""
        return self in (Media.ARROW, Media.PARQUET)


_ALSO = {
    "application/ndjson": Media.NDJSON,
    "application/jsonl": Media.NDJSON,
    "application/x-jsonlines": Media.NDJSON,
    "application/parquet": Media.PARQUET,
    # What clients say that were not told: curl -d, and aiohttp where a request says nothing.
    "application/x-www-form-urlencoded": Media.JSON,
    "application/octet-stream": Media.JSON,
    "text/json": Media.JSON,
    "text/plain": Media.JSON,
}
_KNOWN = {media.value: media for media in Media} | _ALSO


def of_body(request: web.BaseRequest) -> Media:
    """Return the type of a request's body; JSON where it does not say.

    Raises:
        UnknownMediaType: it is none of these.
    """
    given = request.headers.get(hdrs.CONTENT_TYPE, Media.JSON).partition(";")[0].strip().lower()
    media = _KNOWN.get(given)
    if media is None:
        raise UnknownMediaType(f"Content-Type {given[:40]!r} is not read here; send {', '.join(Media)}")
    return media


def of_answer(request: web.BaseRequest, asked: Media) -> Media:
    """Return the first type that `Accept` names and this server writes, else that of the request."""
    for each in request.headers.get(hdrs.ACCEPT, "").split(","):
        name, _, rest = each.partition(";")
        media = _KNOWN.get(name.strip().lower())
        if media is not None and name.strip().lower() not in _ALSO and rest.replace(" ", "") != "q=0":
            return media
    return asked
