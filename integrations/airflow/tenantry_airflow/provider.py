"""What Airflow asks an installed package for: which operators, sensors and triggers it brings.

The entry point ``apache_airflow_provider`` names it. Airflow calls it in each of its processes, so it
imports nothing.
"""

from typing import Any

_NAME = "Tenantry"


def get_provider_info() -> dict[str, Any]:
    """Return the metadata in the form of Airflow's ``provider_info.schema.json``.

    Example:
        >>> get_provider_info()["sensors"]
        [{'integration-name': 'Tenantry', 'python-modules': ['tenantry_airflow.sensors']}]
    """
    return {
        "package-name": "tenantry",
        "name": _NAME,
        "description": "Publish a model for every tenant, and wait until servers answer with it.",
        "integrations": [{"integration-name": _NAME, "external-doc-url": "", "tags": ["software"]}],
        **{
            kind: [{"integration-name": _NAME, "python-modules": [f"tenantry_airflow.{kind}"]}]
            for kind in ("operators", "sensors", "triggers")
        },
    }
