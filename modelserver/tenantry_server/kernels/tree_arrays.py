"""The nodes of tree ensembles as arrays, and whether C code may follow them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class TreeArrays:
    """The nodes of all trees, one tree after another, each from its root on.

    Attributes:
        counts: nodes of each tree, int64, shape (trees,); the arrays below have their sum.
        left: position in the same tree of the child for ``value <= threshold``, int64; -1: a leaf.
        right: of the other child, int64; -1: a leaf.
        feature: the column that a node compares, int64.
        threshold: float64.
        missing_left: 1 where a missing value goes to the left, uint8.
        value: of each leaf, float64, shape (nodes, outputs).
    """

    counts: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float64]
    missing_left: npt.NDArray[np.uint8]
    value: npt.NDArray[np.float64]

    def problem(self, features: int) -> str | None:
        """Return what makes these arrays unsafe for C code, which follows them unchecked; None: nothing.

        Args:
            features: columns of the rows.
        """
        nodes = len(self.left)
        per_node = (self.right, self.feature, self.threshold, self.missing_left, self.value)
        each_fits = bool(
            ((self.counts >= 1) & (self.counts <= nodes)).all()
        )  # so that the sum can't overflow
        if (
            not len(self.counts)
            or not each_fits
            or self.counts.sum() != nodes
            or any(len(each) != nodes for each in per_node)
        ):
            return "the numbers of nodes don't fit together"
        first = np.repeat(np.cumsum(self.counts) - self.counts, self.counts)
        own = np.arange(nodes) - first
        size = np.repeat(self.counts, self.counts)
        leaf = (self.left == -1) & (self.right == -1)
        inner = ~leaf
        for child in (self.left, self.right):
            if not (leaf | ((child > own) & (child < size))).all():
                return "a node's child does not lie behind it in its tree"
        children = np.concatenate([(first + self.left)[inner], (first + self.right)[inner]])
        parents = np.bincount(children, minlength=nodes)
        if not (parents == (own != 0)).all():
            return "a node has not exactly one parent"
        if not (leaf | ((self.feature >= 0) & (self.feature < features))).all():
            return f"a node compares a column that is not one of {features}"
        if np.isnan(self.threshold[inner]).any():
            return "a threshold is not a number"
        return None
