"""The columns of a product's groups, side by side: what a mixture over a table of several types reads as rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.base import clone

from fastem.columns import check_finite
from fastem.data import Check, Data, check_columns, in_memory
from fastem.engine.chunks import chunk
from fastem.mixed_tables import Table, open_product, positions, told_of
from fastem.persistence import attributes_of
from fastem.product import Part, Product, check_once
from fastem.ranges import check_weight_range
from fastem.validation import check_data, check_weights, missing_of


class GroupedColumns:
    """Rows in, for an estimator whose `product` says which columns are of which family.

    Each group has a mixture of its own in `components_`, which numbers categories and checks values.
    """

    product: Any
    n_components: int
    n_jobs: int | None
    callback: Any
    warm_start: bool
    missing: str
    weights_: np.ndarray
    components_: dict[Any, Any]

    @property
    def _product(self) -> Product:
        return Product.of(self.product)

    @property
    def _cut(self) -> list[tuple[Part, Any, slice]]:
        """Each group, its mixture, and where its columns are among those of all."""
        parts = self._product.parts
        ends = np.cumsum([len(part.columns) for part in parts]).tolist()
        return [(p, self._mixture_of(p), slice(z - len(p.columns), z)) for p, z in zip(parts, ends, strict=True)]

    def _mixture_of(self, part: Part) -> Any:
        """The mixture of a group, which has holes where the product or the group says so: now, not as of the fit."""
        mixture = self.components_[part.key]
        if hasattr(mixture, "missing"):
            mixture.missing = "nan" if self.missing == "nan" else part.estimator.missing
        return mixture

    @contextmanager
    def _opened(
        self, X: Any, sample_weight: Any = None, y: Any = None, *, reset: bool = False, **options: Any
    ) -> Iterator[Data]:
        options = options or {"on_rows": getattr(self.callback, "on_rows", None)}
        weights, components = vars(self).get("weights_"), vars(self).get("components_", {})
        try:
            if reset:
                self._begin()
            if in_memory(X):
                table = self._table(X, reset, sample_weight)
                weight = check_weight_range(check_weights(sample_weight, len(table)), table.dtype)
                yield Data([chunk(table, weight)], table.shape[1], table.dtype, len(table))
                return
            with open_product(self._product, X, sample_weight, **options) as rows:
                self._learn_columns(rows.source, reset)
                rows.check = Check(self, reset)
                rows.columns = self._product.columns
                rows.missing = "nan" if self._has_holes else "error"
                yield Data(rows, rows.source.n_features, rows.source.dtype, None, rows)
        except BaseException:
            if weights is not None and self.weights_ is weights:
                self.components_ = components  # a model that was fitted stays so where a new fit fails
            raise

    def _begin(self) -> None:
        """Mixtures of the groups, unfitted; with a warm start those of the last fit, with the settings of now."""
        before = getattr(self, "components_", {}) if self.warm_start else {}
        self.components_ = {}
        for part in self._product.parts:
            mixture: Any = clone(part.estimator)
            if type(mixture) is type(old := before.get(part.key)):
                vars(mixture).update(attributes_of(old))
            self.components_[part.key] = mixture.set_params(n_components=self.n_components, n_jobs=self.n_jobs)

    def _table(self, X: Any, reset: bool, sample_weight: Any = None) -> np.ndarray:
        """The columns of the groups as numbers of one dtype, C-contiguous."""
        table, columns, blocks = Table(X), self._product.columns, []
        numbers = positions(columns, table.names, table.width)
        check_once(numbers if table.names is None else [table.names[j] for j in numbers])
        for part, mixture, where in self._cut:
            with told_of(part.columns):
                block = mixture._encode(table.take(numbers[where]), reset, sample_weight)
                block = check_data(mixture, block, reset=reset)
                mixture._check_rows(block, reset)
            blocks.append(block)
        if reset:
            names = None if table.names is None else [table.names[j] for j in numbers]
            check_columns(self, SimpleNamespace(name="X", n_features=len(columns), feature_names=names), True)
        # Numbers of categories are as exact in float32, and must not widen the rest.
        wide = [b.dtype for b, cut in zip(blocks, self._cut, strict=True) if not hasattr(cut[1], "categories_")]
        return np.concatenate(blocks, axis=1, dtype=np.result_type(*wide) if wide else np.float64)

    def _learn_columns(self, source: Any, reset: bool) -> None:
        check_columns(self, source, reset)
        for _, mixture, where in self._cut if reset else ():
            names = None if source.feature_names is None else source.feature_names[where]
            of_group = SimpleNamespace(name=source.name, n_features=where.stop - where.start, feature_names=names)
            check_columns(mixture, of_group, True)
            vars(mixture).pop("categories_", None)

    def _covarying(self, d: int) -> np.ndarray | None:
        """Pairs within the groups."""
        pairs = np.zeros((d, d), bool)
        for _, mixture, where in self._cut:
            within = mixture._covarying(where.stop - where.start) if hasattr(mixture, "_covarying") else None
            pairs[where, where] = False if within is None else within
        return pairs if pairs.any() else None

    @property
    def _has_holes(self) -> bool:
        """Whether entries of any group may be missing."""
        return any(getattr(mixture, "missing", None) == "nan" for _, mixture, _ in self._cut)

    def _check_rows(self, X: np.ndarray, reset: bool) -> None:
        for part, mixture, where in self._cut:
            with told_of(part.columns):
                if self._has_holes:  # else there were none in any group
                    check_finite(X[:, where], None, missing_of(mixture))
                mixture._check_rows(X[:, where], reset)
