"""Model subclasses of installed packages, named in a small TOML file."""

from tenantry_server.formats.descriptor import Format

FORMAT = Format(
    name="python",
    suffixes=(".toml",),
    holds="the import path of your own `Model` class, and its parameters",
    kind="a description of a Python class",
    rank=6,
)
