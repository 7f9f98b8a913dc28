"""Mixtures over tables of columns of several types."""

import re
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.base import clone

from fastem.categories import decoded
from fastem.data import Data
from fastem.engine.chunks import chunk
from fastem.engine.model import MixtureParams
from fastem.families.gaussian import GaussianParams
from fastem.families.product import Product as ProductFamily
from fastem.families.product import ProductParams
from fastem.family_mixture import FamilyMixture, given_params
from fastem.grouped_columns import GroupedColumns
from fastem.missing import MissingEntries
from fastem.mixed_tables import assembled
from fastem.persistence import attributes_of
from fastem.product import FAMILIES, Product
from fastem.starts import Start
from fastem.validation import ALGORITHMS

COMPLETE = {"multinomial": "whose rows have no known number of trials where an entry is missing"}
"""Families whose entries may not be missing, and why."""


class ProductMixture(GroupedColumns, MissingEntries, FamilyMixture):
    """Mixture over a table whose columns are of several types: numbers, counts, categories, amounts.

    Given the component, the groups of columns of the `product` are independent, each with its own family. Columns that
    it does not name are not used.

    Parameters
    ----------
    product : Product, or the dict that one is made of
        Which columns have which family, such as ``{"age": "gaussian", ("job", "town"): "categorical"}``; see
        :class:`fastem.Product`.
    n_components : int, default 1
    tol, max_iter, n_init, init_params, random_state, warm_start, verbose, verbose_interval, n_jobs, callback, \
max_time, on_collapse, accelerate, weight_concentration_prior
        As in :class:`fastem.GaussianMixture`. A component that collapses in any group has collapsed.
    missing : {"error", "nan"}, default "error"
        With "nan" NaN, and in categories also None, NaT and pandas' NA, are entries that were not observed, in all
        groups: the likelihood is that of the others, in `fit`, `predict`, `score` and the like. A group may have them
        by itself: ``{"age": fastem.GaussianMixture(missing="nan"), "visits": "poisson"}``. "multinomial" and an
        exposure have none.
    weights_init : (K,), optional
    params_init : dict, optional
        For each key of the product the starting values of its group: what `params_init` of its family's mixture takes;
        of "gaussian" a dict of "means" and "covariances".

    Attributes
    ----------
    weights_ : (K,)
    components_ : dict
        For each key of the product a fitted mixture of its family, whose attributes are the parameters of its columns:
        ``model.components_["age"].means_``. It is the marginal density of these columns, with all methods of such a
        mixture.
    n_features_in_ : int
        Columns that are used.
    feature_names_in_ : (n_features_in_,)
        Their names in the order of the product, where they have names.
    converged_, n_iter_, stop_reason_, lower_bound_, lower_bounds_, history_, diagnostics_
        As in :class:`fastem.BernoulliMixture`.

    Notes
    -----
    X is a pandas or polars frame, or an array whose columns are numbered, or a source; methods of the fitted model find
    the columns anew in what they are given. A frame or array is copied, its columns in the order of the product. In a
    source categories are numbered 0, 1, ... already.

    References
    ----------
    Hunt and Jorgensen (2011), Clustering mixed data, WIREs Data Mining and Knowledge Discovery 1. Moustaki and
    Papageorgiou (2005), Latent class models for mixed variables, Computational Statistics and Data Analysis 48.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> old = rng.random(1000) < 0.4
    >>> X = np.column_stack([rng.normal(np.where(old, 70, 25), 5), rng.poisson(np.where(old, 9, 1))])
    >>> model = fastem.ProductMixture({0: "gaussian", 1: "poisson"}, 2, random_state=0).fit(X)
    >>> np.sort(model.components_[0].means_[:, 0]).round(), np.sort(model.components_[1].rates_[:, 0]).round()
    (array([25., 70.]), array([1., 9.]))
    """

    def __init__(
        self,
        product,
        n_components=1,
        *,
        tol=1e-4,
        max_iter=1000,
        n_init=1,
        init_params="race",
        weights_init=None,
        params_init=None,
        random_state=None,
        warm_start=False,
        verbose=0,
        verbose_interval=10,
        n_jobs=None,
        callback=None,
        max_time=None,
        on_collapse="restart",
        accelerate="squarem",
        missing="error",
        weight_concentration_prior=None,
    ):
        self._store(locals())

    @property
    def _algorithms(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those that all families have."""
        known = [set(part.estimator._algorithms) for part in self._product.parts]
        return tuple(name for name in ALGORITHMS if all(name in algorithms for algorithms in known))

    @property
    def _holdable(self) -> tuple[Any, ...]:
        return tuple(part.key for part in self._product.parts)

    def _told(self, name: Any) -> str:
        """A column may be called as the mixture's weights are."""
        return {part.key: repr(part.key) for part in self._product.parts if part.key != "weights"}.get(name, str(name))

    @property
    def _has_prior(self) -> bool:
        return super()._has_prior or any(part.estimator._has_prior for part in self._product.parts)

    def _validate_parameters(self) -> None:
        super()._validate_parameters()
        for part in self._product.parts:
            try:
                part.estimator._validate_parameters()
            except ValueError as error:
                raise ValueError(f"product has {part.estimator!r} for {part.key!r}, where {error}") from error
        if self.missing == "nan":
            self._check_gaps()

    def _check_gaps(self) -> None:
        """`ValueError` where a family has no density of rows with missing entries."""
        for part in self._product.parts:
            for name, reason in COMPLETE.items():
                if type(part.estimator) is FAMILIES[name]:
                    raise ValueError(
                        f"missing is 'nan', and product has {name!r} for {part.key!r}, {reason}. Choose another family "
                        "there; or leave missing at 'error', and give it to the other groups alone, as in "
                        "fastem.GaussianMixture(missing='nan')"
                    )

    # Parameters: those of the groups' mixtures.

    def _family(self, dtype: Any = np.float64) -> ProductFamily:
        families = [(mixture._family(dtype), len(part.columns)) for part, mixture, _ in self._cut]
        return ProductFamily(families, [repr(part.key) for part in self._product.parts])

    def _starts(self, start: Start) -> Iterator[tuple[Any, Any, Start]]:
        """Key and mixture of each group, and the start of its columns."""
        X, weight = start.sample
        for (part, mixture, _), group in zip(self._cut, start.model.family.groups, strict=True):
            model, sample = SimpleNamespace(family=group.family), chunk(group.of(X), weight)
            T, scale = group.of_statistic(start.T), group.of_scale(start.scale)
            yield part, mixture, Start(model, start.k, sample, T, scale, start.stop)

    def _check_start(self, start: Start) -> None:
        self.prior_mean_ = start.scale.mean
        for part, mixture, of_group in self._starts(start):
            named = hasattr(mixture, "feature_names_in_")
            if not named:  # what warnings call the columns
                mixture.feature_names_in_ = np.array(part.columns, dtype=object)
            try:
                mixture._check_start(of_group)
            finally:
                if not named:
                    del mixture.feature_names_in_

    def _given(self, start: Start) -> ProductParams:
        keys, given = [part.key for part in self._product.parts], self.params_init
        if not isinstance(given, Mapping) or set(given) != set(keys):
            raise ValueError(
                f"params_init has {', '.join(map(repr, given)) if isinstance(given, Mapping) else repr(given)}; a dict "
                f"with the keys of the product, {', '.join(map(repr, keys))}, is wanted"
            )
        found = []
        for part, mixture, of_group in self._starts(start):
            mine = given[part.key]
            if isinstance(mixture, FamilyMixture):
                found.append(clone(mixture).set_params(params_init=mine)._given(of_group))
            else:
                found.append(given_params(mine, GaussianParams, of_group))
        return ProductParams(tuple(found))

    def _set_params_(self, params: MixtureParams, dtype: np.dtype) -> None:
        self.weights_ = params.weights.astype(dtype)
        for (_, mixture, _), group in zip(self._cut, params.components.groups, strict=True):
            mixture._set_params_(MixtureParams(params.weights, group), dtype)

    def _get_params_(self) -> MixtureParams:
        groups = tuple(mixture._get_params_().components for _, mixture, _ in self._cut)
        return MixtureParams(self._proportions(), ProductParams(groups))

    def _settings(self, data: Data, plan: Any) -> dict[str, Any]:
        given = self.params_init
        plain = list(given.items()) if isinstance(given, Mapping) else given  # keys of JSON are texts
        return super()._settings(data, plan) | {"product": repr(self._product), "params_init": plain}

    def _to_file(self, parameters: dict[str, Any], attributes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        given, groups = self.params_init, [attributes_of(mixture) for _, mixture, _ in self._cut]
        of_columns = "n_features_in_", "feature_names_in_"
        attributes = {name: value for name, value in attributes.items() if name != "components_"}
        for g, group in enumerate(groups):
            attributes |= {f"group{g}_{name}": value for name, value in group.items() if name not in of_columns}
        plain = None if given is None else [given[part.key] for part in self._product.parts]
        return parameters | {"product": self._product.to_plain(), "params_init": plain}, attributes

    @classmethod
    def _from_file(cls, parameters: dict[str, Any], attributes: dict[str, Any]) -> Any:
        product = Product.of_plain(parameters["product"])
        keys, given = [part.key for part in product.parts], parameters.get("params_init")
        given = None if given is None else dict(zip(keys, given, strict=True))
        own = {name: value for name, value in attributes.items() if not re.match(r"group\d+_", name)}
        model: Any = cls(**parameters | {"product": product, "params_init": given})
        vars(model).update(own)
        model._begin()
        for g, (_, mixture, where) in enumerate(model._cut):
            mixture.n_features_in_ = where.stop - where.start
            if hasattr(model, "feature_names_in_"):
                mixture.feature_names_in_ = model.feature_names_in_[where]
            begin = f"group{g}_"
            found = {n.removeprefix(begin): value for n, value in attributes.items() if n.startswith(begin)}
            vars(mixture).update(found)
        return model

    def sample(self, n_samples=1, random_state=None):
        """Rows drawn from the fitted density, in the form that `fit` takes, and the component of each.

        Parameters
        ----------
        n_samples : int
        random_state : int, Generator, RandomState or None
            As in :meth:`GaussianMixture.sample`.

        Returns
        -------
        X, labels (n_samples,) : rows ordered by component.
            Where columns have names, X is a pandas frame, or one of polars where there is no pandas; else an array
            with each column in its place, and NaN in those that the product does not use.
        """
        X, labels = super().sample(n_samples, random_state)
        columns: list[np.ndarray] = []
        for _, mixture, where in self._cut:
            known = getattr(mixture, "categories_", None)
            block = X[:, where].T
            columns += list(block) if known is None else [decoded(c[:, None], [n])[:, 0] for c, n in zip(block, known)]
        return assembled(columns, self._product.columns, getattr(self, "feature_names_in_", None)), labels
