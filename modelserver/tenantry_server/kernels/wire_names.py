"""The names that kernels on the wire use."""

from typing import Any, TypeAlias

import numpy as np

from tenantry_server.kernels import links
from tenantry_server.kernels.links import Link
from tenantry_server.kernels.steps import Op, fill

Fields: TypeAlias = dict[str, Any]

LINKS: dict[str, Link] = {
    link.__name__: link
    for link in (
        links.positive,
        links.not_negative,
        links.largest,
        links.sigmoid,
        links.steep_sigmoid,
        links.sigmoid_shares,
        links.softmax,
        links.huber,
        links.huber_shares,
        links.exponential,
    )
}
OPS: dict[str, Op] = {
    "subtract": np.subtract,
    "divide": np.divide,
    "multiply": np.multiply,
    "add": np.add,
    "fill": fill,
}
TREE_DTYPES = {
    "counts": np.int64,
    "left": np.int64,
    "right": np.int64,
    "feature": np.int64,
    "threshold": np.float64,
    "missing_left": np.uint8,
    "value": np.float64,
}
