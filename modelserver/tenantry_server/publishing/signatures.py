"""Signs and verifies artifacts that lie in a store: what `tenantry sign` and `tenantry verify` do."""

import hashlib
from pathlib import Path
from urllib.parse import unquote

from tenantry import ModelId
from tenantry.errors import ArtifactInvalid
from tenantry_server.artifacts.repositories import ArtifactRepository, FileSystemModelRepository
from tenantry_server.publishing.stores import Place, client_for
from tenantry_server.signing.making import Signer
from tenantry_server.signing.trust import Trust


def sign(uri: str, signer: Signer, s3_endpoint_url: str | None) -> str:
    """Sign an artifact, and store the signature beside it.

    Args:
        uri: ``s3://`` or ``file://``.
        s3_endpoint_url: None: TENANTRY_S3_ENDPOINT_URL, else as boto3 finds it.

    Returns:
        the URI of the signature.

    Raises:
        NotPublished: nothing can be signed with this key.
        ArtifactError: the artifact can't be read, or its signature not be written.
        OSError: the folder can't be written to.
    """
    exact = ModelId(uri)
    signature = signer.sign(_store_of(exact, s3_endpoint_url).read(exact))
    beside = exact.signature_id.uri
    path = Path(unquote(beside.removeprefix("file://"))) if exact.scheme == "file" else None
    Place(beside, path).store(signature, s3_endpoint_url=s3_endpoint_url)
    return beside


def verify(uri: str, trust: Trust, s3_endpoint_url: str | None) -> str:
    """Verify the signature of an artifact as a server would; return who signed.

    Raises:
        SignatureRefused: one of its kinds says what is wrong.
        ArtifactError: the artifact can't be read.
    """
    from tenantry_server.signing import checking  # noqa: PLC0415 - who signs need not be able to verify

    exact = ModelId(uri)
    store = _store_of(exact, s3_endpoint_url)
    signature = store.get_signature(exact)
    return checking.check(uri, hashlib.sha256(store.read(exact)).hexdigest(), signature, trust)


def _store_of(exact: ModelId, s3_endpoint_url: str | None) -> ArtifactRepository:
    """Return what reads this artifact.

    Raises:
        ArtifactInvalid: it lies neither in a file nor in S3.
    """
    if exact.scheme == "file":
        return FileSystemModelRepository()
    if exact.scheme == "s3":
        from tenantry_server.artifacts.s3 import S3ModelRepository  # noqa: PLC0415 - boto3 takes 0.5 s

        return S3ModelRepository(client_for(s3_endpoint_url))
    raise ArtifactInvalid(exact.uri, "name a file, or s3://BUCKET/KEY")
