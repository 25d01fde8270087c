"""`tenantry prune-artifacts`."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import click

from tenantry.registry import RegistryReader
from tenantry.settings import CommonSettings
from tenantry_cli import console, options
from tenantry_cli.declaring import names
from tenantry_server.publishing import versions
from tenantry_server.publishing.versions import Store, Version

_THREADS = 8


@click.command("prune-artifacts")
@click.argument("to")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Newest versions of each user that stay, whether anything names them or not.",
)
@click.option(
    "--manifests",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="File or folder of manifests whose artifacts stay; may be repeated.",
)
@options.registry
@click.option("--no-registry", is_flag=True, help="Read no registry: --manifests name all that is in use.")
@click.option("--yes", is_flag=True, help="Delete. [default: only say what would be deleted]")
@click.option("--s3-endpoint-url", help="S3 server other than Amazon's. [TENANTRY_S3_ENDPOINT_URL]")
def command(
    to: str,
    keep: int,
    manifests: tuple[Path, ...],
    registry_url: str | None,
    s3_endpoint_url: str | None,
    *,
    no_registry: bool,
    yes: bool,
) -> None:
    """Delete versions below TO that nothing names; without --yes, only say which.

    TO is what `publish` was given: a folder, or s3://BUCKET/PREFIX. It considers only what `publish`
    stored: a file in a user's folder whose name has the time and the digest of its bytes, and its card.
    Links and all other files stay.

    A version stays if it is among the newest of its user, younger than an hour, or named: by a manifest in
    --manifests, or by the registry, as what is declared, what answers or what is being loaded. The registry
    and each manifest have to be readable, or nothing is deleted. If several fleets read from TO, give the
    manifests of the others: one registry knows only its own.

    The exit status is 1 if a version could not be deleted.
    """
    if no_registry and not manifests:
        raise click.UsageError("--no-registry needs --manifests, which names the artifacts in use")
    store = versions.store_at(to, s3_endpoint_url)
    with ExitStack() as stack:
        reader: RegistryReader | None = None
        if not no_registry:
            url = options.settings(CommonSettings, registry_url=registry_url).registry_url
            reader = stack.enter_context(RegistryReader.of_existing(url))

        def named() -> set[str]:
            return names.in_manifests(manifests) | (names.in_registry(reader) if reader else set())

        _prune(store, named, keep=keep, delete=yes)


def _prune(store: Store, named: Callable[[], set[str]], *, keep: int, delete: bool) -> None:
    with ThreadPoolExecutor(_THREADS, "prune") as pool:
        chosen = list(_surplus(store, pool, named(), keep))
    since = named()  # somebody may have gone back to one of them meanwhile
    gone = [version for version in chosen if version.stem not in since]
    failed = _delete(store, gone) if delete else 0
    for version in gone:
        console.out.print(store.uri(version), markup=False)
    freed = console.size(sum(version.size_bytes for version in gone))
    did = "deleted" if delete else "would be deleted with --yes"
    console.say(f"{len(gone) - failed} versions, {freed}: {did}" + (f"; {failed} failed" if failed else ""))
    if failed:
        raise click.exceptions.Exit(1)


def _surplus(store: Store, pool: ThreadPoolExecutor, named: set[str], keep: int) -> Iterator[Version]:
    now_s = time.time()
    for of_user in store.users():
        if len(of_user) <= keep:
            continue
        proven: list[Version] = []
        for version, itself in zip(of_user, pool.map(store.is_itself, of_user), strict=True):
            if itself:
                proven.append(version)
            else:
                console.say(f"stays: {store.uri(version)} does not hold the bytes that its name says")
        yield from versions.surplus(proven, named, keep=keep, now_s=now_s)


def _delete(store: Store, gone: list[Version]) -> int:
    """Delete versions, and return how many could not be."""

    def one(version: Version) -> bool:
        try:
            store.delete(version)
        except Exception as error:  # the store's own words; the others are deleted all the same
            console.say(f"failed: {store.uri(version)}: {error}")
            return False
        return True

    with ThreadPoolExecutor(_THREADS, "prune") as pool:
        return sum(not done for done in pool.map(one, gone))
