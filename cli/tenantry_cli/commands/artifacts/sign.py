"""`tenantry sign`."""

from pathlib import Path

import click

from tenantry import TenantryError
from tenantry_cli import console, signers

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("sign")
@click.argument("artifacts", nargs=-1, required=True, metavar="ARTIFACT...")
@click.option("--key", type=_FILE, required=True, help="Private key: PEM, of P-256, P-384 or P-521.")
@click.option("--certificate", type=_FILE, help="Certificate of the key (PEM). [default: the key alone]")
@click.option(
    "--chain",
    type=_FILE,
    multiple=True,
    help="Certificates (PEM) between that one and a trusted one; may be repeated.",
)
@click.option("--s3-endpoint-url", help="S3 server other than Amazon's. [TENANTRY_S3_ENDPOINT_URL]")
def command(
    artifacts: tuple[str, ...],
    key: Path,
    certificate: Path | None,
    chain: tuple[Path, ...],
    s3_endpoint_url: str | None,
) -> int:
    """Sign every ARTIFACT, a file or an s3:// or file:// URI, and store the signature beside it.

    The signature is ARTIFACT.sig, a Sigstore bundle of OpenSSF model signing, and takes the place of one
    that lies there. No TenantModel has to change: servers look again for signatures of what they refused.
    The exit status is 1 where one artifact could not be signed.
    """
    from tenantry_server.publishing import signatures  # noqa: PLC0415 - no help waits for it

    signer = signers.signer(key, certificate, chain)
    assert signer is not None  # noqa: S101 - for the type checker: there is a key
    failed = False
    for artifact in artifacts:
        try:
            uri = signatures.sign(signers.uri_of(artifact), signer, s3_endpoint_url)
        except (TenantryError, OSError) as error:
            console.say(f"{artifact}: {error}")
            failed = True
        else:
            console.say(f"signed {uri}")
    return int(failed)
