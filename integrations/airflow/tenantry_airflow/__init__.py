"""Tenantry in Airflow: tasks that publish models, and tasks that wait until they serve.

Owns what is Airflow's alone: operators, sensors, triggers, the metadata of a provider, and the few words
that one task hands to the next. Refuses to know how a model is stored or how a status is decided:
`tenantry_server.publishing` and `tenantry.manifest.readiness` do.

`operators`, `sensors` and `triggers` need Airflow 3.2 or newer; the other modules don't import it.
"""
