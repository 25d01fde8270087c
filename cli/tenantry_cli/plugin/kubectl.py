"""kubectl, as the person who called has set it up."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

import click

TENANT_MODELS = "tenantmodels.tenantry.dev"
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Kubectl:
    """Runs kubectl with the person's own configuration.

    Attributes:
        context: of the kubeconfig; None: the current one.
        namespace: where Tenantry itself runs.
    """

    context: str | None
    namespace: str

    def ok(self, *args: str) -> str:
        """Return what `kubectl ARGS` prints.

        Raises:
            click.ClickException: kubectl is not there or refused; has its words.
        """
        done = self.run(*args)
        if done.returncode != 0:
            said = done.stderr.strip() or f"exit status {done.returncode}"
            raise click.ClickException(f"kubectl {' '.join(args[:3])}: {said}")
        return done.stdout

    def run(self, *args: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run `kubectl ARGS` to its end, whatever its exit status is.

        Raises:
            click.ClickException: kubectl is not there, or gave no answer in time.
        """
        binary = shutil.which("kubectl")
        if binary is None:
            raise click.ClickException("kubectl is not on PATH; install it, or call `kubectl tenantry`")
        context = [] if self.context is None else ["--context", self.context]
        try:
            return subprocess.run(  # noqa: S603 - kubectl, as the person who called could
                [binary, *context, *args],
                input=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            words = f"kubectl {' '.join(args[:3])} gave no answer within {_TIMEOUT_S:.0f} s"
            raise click.ClickException(words) from None

    def items(self, kind: str, *args: str) -> list[dict[str, Any]]:
        """Return the objects of a kind: `kubectl get KIND ARGS -o json`."""
        return list(json.loads(self.ok("get", kind, *args, "-o", "json"))["items"])

    def own(self, kind: str) -> list[dict[str, Any]]:
        """Return Tenantry's own objects of a kind."""
        return self.items(
            kind, "--namespace", self.namespace, "--selector", "app.kubernetes.io/name=tenantry"
        )

    def tenant_models(self) -> list[dict[str, Any]]:
        """Return the TenantModels of all namespaces."""
        return self.items(TENANT_MODELS, "--all-namespaces")

    def tenant_models_of(self, user_id: str, *args: str) -> list[dict[str, Any]]:
        """Return the TenantModels of one user.

        Raises:
            click.ClickException: there is none.
        """
        everywhere = (TENANT_MODELS, "--all-namespaces", *args)
        try:
            found = self.items(*everywhere, "--field-selector", f"spec.userId={user_id}")
        except click.ClickException as error:
            if "field label not supported" not in error.message:  # before 1.30, or with an older CRD
                raise
            found = [each for each in self.items(*everywhere) if each["spec"]["userId"] == user_id]
        if not found:
            raise click.ClickException(f"no TenantModel has the userId {user_id!r}")
        return found
