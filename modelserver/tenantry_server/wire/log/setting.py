"""How TENANTRY_ACCESS_LOG is written; apart, as settings are read without what serves HTTP."""

from collections.abc import Mapping
from typing import Any

FORM: Mapping[str, Any] = {
    "pattern": r"^(off|errors|all|sample:(0\.\d{1,6}|1))$",
    "json_schema_extra": {"form": "off, errors, all, or sample: and a share such as sample:0.01"},
}
"""What TENANTRY_ACCESS_LOG may be, for its field."""
