"""The `tenantry` command group; each subcommand is imported only when it is asked for."""

import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec

import click

from tenantry import TenantryError, __version__
from tenantry.errors import InvalidSetting, RegistryMismatch
from tenantry_cli import console
from tenantry_cli.supervisor import MISCONFIGURED

_COMMANDS = {
    "up": "Serve a folder of TenantModels on this machine: operator, registry and servers.",
    "get": "Show tenants with their status, one in full, the servers, or their shards.",
    "top": "Show which tenants ask, fail, compute or fill memory most, over all servers.",
    "cost": "Show what each tenant has cost, by day or month.",
    "predict": "Ask for a prediction, as a client would.",
    "forecast": "Ask for a forecast, as a client would.",
    "score": "Predict for every row of a table, each with its own user's model.",
    "publish": "Store a model file and declare it for a user.",
    "sign": "Sign artifacts with a key or a certificate; the signature goes beside each.",
    "verify": "Verify the signatures of artifacts as a server would.",
    "validate": "Check manifests as an operator would, and store nothing.",
    "prune-artifacts": "Delete versions of artifacts that nothing names; dry-run first.",
    "doctor": "Load every model with the libraries here, and list those that would not; --fix some.",
    "serve": "Run one model server.",
    "operator": "Run the operator over a folder of manifests, or over a cluster.",
    "users": "Show which namespace each user belongs to, or release users.",
    "keys": "Make, list and revoke API keys of callers.",
    "registry": "Check the SQL registry, after a restore, a failover or an upgrade.",
}
_ROOMS = {
    "artifacts": ("publish", "sign", "verify", "validate", "prune-artifacts"),
    "looking": ("get", "top", "cost", "users"),
    "processes": ("up", "serve", "operator"),
}
_EXTRAS = {
    "aiohttp": "server",
    "alembic": "registry",
    "cachetools": "server",
    "kubernetes": "kubernetes",
    "prometheus_client": "server",
    "pydantic_settings": "registry",
    "sklearn": "server",
    "sqlalchemy": "registry",
    "watchfiles": "operator",
}
_INSTALL = {
    "kubernetes": "the Kubernetes client: pip install 'tenantry[cli,kubernetes]', or 'tenantry[all]'",
    "operator": "the operator: pip install 'tenantry[all]'",
    "registry": "the SQL registry: pip install 'tenantry[cli,registry]', or 'tenantry[all]'",
    "server": "the server: pip install 'tenantry[all]'",
}


# What a command imports late, or only in its children: a missing one is reported at once.
_SERVERS = tuple(module for module, extra in _EXTRAS.items() if extra == "server")
_NEEDS = {"up": tuple(_EXTRAS), "serve": _SERVERS, "doctor": _SERVERS, "operator": ("watchfiles",)}


class _LazyGroup(click.Group):
    """Loads the module of a command on use: `--help` stays quick, and works without the extras."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        try:
            _find(_NEEDS.get(cmd_name, ()))
            module = import_module(_module_of(cmd_name))
        except ModuleNotFoundError as error:
            extra = extra_of(error)
            if extra is None:
                raise
            raise click.ClickException(f"`tenantry {cmd_name}` needs {_INSTALL[extra]}") from None
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


def _module_of(name: str) -> str:
    room = "".join(f"{room}." for room, names in _ROOMS.items() if name in names)
    return f"tenantry_cli.commands.{room}{name.replace('-', '_')}"


def extra_of(error: ModuleNotFoundError) -> str | None:
    """Return the extra that brings a module; None: none does."""
    return _EXTRAS.get((error.name or "").partition(".")[0])


def _find(modules: Iterable[str]) -> None:
    """Raise ModuleNotFoundError for the first module that is not installed; import none."""
    for name in modules:
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@click.group(
    cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="tenantry")
def cli() -> None:
    """Serve a separate machine-learning model for every user.

    A TenantModel manifest says which artifact answers for which user. `tenantry up FOLDER` serves a folder
    of them and follows every change; `tenantry publish` is the last line of a training job.

    Every setting can also be given in the environment, as TENANTRY_ and its name.
    """


def main() -> None:
    """Run `tenantry`."""
    run(cli, "tenantry")


def run(command: click.Command, name: str) -> None:
    """Run a command; every error is one line on standard error, and the exit status says so."""
    try:
        status = command.main(prog_name=name, standalone_mode=False)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        _show(error)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:  # a command imports some libraries when it needs them
        extra = extra_of(error)
        if extra is None:
            raise
        console.fail(f"this needs {_INSTALL[extra]}")
        sys.exit(1)
    except TenantryError as error:
        console.fail(str(error))
        sys.exit(MISCONFIGURED if isinstance(error, RegistryMismatch | InvalidSetting) else 1)
    except OSError as error:
        console.fail(f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)


def _show(error: click.ClickException) -> None:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    elif isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"see `{error.ctx.command_path} --help`"
        console.fail(f"{error.format_message().rstrip('.')}; {hint}")
    else:
        console.fail(error.format_message())
