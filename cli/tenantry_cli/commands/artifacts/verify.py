"""`tenantry verify`."""

from pathlib import Path

import click

from tenantry import TenantryError
from tenantry_cli import console, options, signers

_FILES = click.Path(exists=True, path_type=Path)


@click.command("verify")
@click.argument("artifacts", nargs=-1, required=True, metavar="ARTIFACT...")
@click.option(
    "--key", "keys", type=_FILES, multiple=True, help="Trusted public key (PEM), or a folder; repeatable."
)
@click.option(
    "--certificates",
    type=_FILES,
    multiple=True,
    help="Certificate (PEM) at which a chain may end, or a folder; repeatable.",
)
@click.option("--sigstore", type=_FILES, help="Client trust config of Sigstore (JSON).")
@click.option("--identity", "identities", multiple=True, help="'IDENTITY ISSUER' of Sigstore; repeatable.")
@click.option("--s3-endpoint-url", help="S3 server other than Amazon's. [TENANTRY_S3_ENDPOINT_URL]")
def command(
    artifacts: tuple[str, ...],
    keys: tuple[Path, ...],
    certificates: tuple[Path, ...],
    sigstore: Path | None,
    identities: tuple[str, ...],
    s3_endpoint_url: str | None,
) -> int:
    """Verify the signature beside every ARTIFACT, a file or an s3:// or file:// URI.

    Without an option that says whom to trust, TENANTRY_SIGNATURE_KEYS and the settings beside it do, as for
    a server. Says who signed. The exit status is 1 where one artifact has no signature that is accepted.
    """
    from tenantry_server.publishing import signatures  # noqa: PLC0415 - for which no help or error waits
    from tenantry_server.signing.trust import TrustSource  # noqa: PLC0415 - as above

    if keys or certificates or sigstore or identities:
        source = TrustSource(_joined(keys), _joined(certificates), sigstore, ",".join(identities))
    else:
        from tenantry_server.signing.settings import SignatureSettings  # noqa: PLC0415 - another extra

        source = options.settings(SignatureSettings).trust
    trust = source.read()
    failed = False
    for artifact in artifacts:
        try:
            signer = signatures.verify(signers.uri_of(artifact), trust, s3_endpoint_url)
        except TenantryError as error:
            console.say(f"{artifact}: {error.reason}: {error}")
            failed = True
        else:
            console.say(f"{artifact}: signed by {signer}")
    return int(failed)


def _joined(paths: tuple[Path, ...]) -> str:
    return ":".join(map(str, paths))
