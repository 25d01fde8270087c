"""`tenantry users`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from tenantry.registry import RegistryReader
from tenantry.settings import CommonSettings
from tenantry_cli import options


@click.group("users")
def command() -> None:
    """Look after which namespace each user belongs to.

    A user belongs to the namespace that declared it first, also after its TenantModel is gone.
    docs/security.md says why.
    """


@command.command("list")
@click.option("--namespace", metavar="NAME", help="Only the users of this namespace.")
@options.registry
def listed(namespace: str | None, **given: Any) -> None:
    """List users with their namespace."""
    with _registry(given) as registry:
        for user_id, owner in registry.bindings().all().items():
            if namespace in (None, owner):
                click.echo(f"{user_id}\t{owner}")


@command.command("release")
@click.argument("users", nargs=-1, required=True, metavar="USER...")
@options.registry
def released(users: tuple[str, ...], **given: Any) -> int:
    """Let any namespace declare these users again.

    The operator does it within about a second. A TenantModel that has the user keeps it: delete that first.
    The exit status is 1 where a user belongs to no namespace.
    """
    with _registry(given) as registry:
        bindings = registry.bindings()
        bound = bindings.all()
        known = [user_id for user_id in users if user_id in bound]
        bindings.release(known)
        for user_id in users:
            click.echo(_said(registry, user_id, bound.get(user_id)))
    return int(len(known) < len(users))


def _said(registry: RegistryReader, user_id: str, namespace: str | None) -> str:
    """Return what became of a user."""
    if namespace is None:
        return f"{user_id}: belongs to no namespace"
    holders = [
        f"{claim.namespace}/{claim.name}"
        for claim in registry.claims(named=user_id)
        if claim.user_id == user_id and claim.namespace == namespace
    ]
    if holders:
        return f"{user_id}: TenantModel {holders[0]} declares it and so keeps it; delete that first"
    return f"{user_id}: released from namespace {namespace}; the next one to declare it has it"


@contextmanager
def _registry(given: dict[str, Any]) -> Iterator[RegistryReader]:
    settings = options.settings(CommonSettings, **given)
    with RegistryReader.of_existing(settings.registry_url) as registry:
        yield registry
