"""Options of what artifacts are signed with, and where an artifact lies that a person names."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from tenantry_server.signing.making import Signer

_F = TypeVar("_F", bound=Callable[..., Any])
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def options(command: _F) -> _F:
    """--sign-key, --sign-certificate and --sign-chain."""
    key = click.option("--sign-key", type=_FILE, help="Private key (PEM) that the artifact is signed with.")
    certificate = click.option("--sign-certificate", type=_FILE, help="Certificate (PEM) of that key.")
    chain = click.option(
        "--sign-chain",
        type=_FILE,
        multiple=True,
        help="Certificates (PEM) between that one and a trusted one; may be repeated.",
    )
    return key(certificate(chain(command)))


def signer(key: Path | None, certificate: Path | None, chain: tuple[Path, ...]) -> "Signer | None":
    """Return what the options name; None: nothing is to be signed.

    Raises:
        click.UsageError: a certificate without its key.
    """
    from tenantry_server.signing.making import Signer  # noqa: PLC0415 - for which no help waits

    if key is None and (certificate is not None or chain):
        raise click.UsageError("a certificate signs with its private key: give that too")
    return None if key is None else Signer(key, certificate, chain)


def uri_of(artifact: str) -> str:
    """Return the URI of what a person names: a URI, or the path of a file."""
    return artifact if "://" in artifact else Path(artifact).absolute().as_uri()
