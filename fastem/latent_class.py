"""Mixtures of categories: latent class analysis."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from fastem.categories import NOT_WHOLE, decoded, encoded, numbered
from fastem.coding import Coding
from fastem.domains import check_levels, check_values
from fastem.families.categorical import Categorical, CategoricalParams
from fastem.families.categorical_missing import CategoricalMissing
from fastem.family_mixture import ColumnMixture
from fastem.sources import Chunks, open_rows
from fastem.validation import check_names


class CategoricalMixture(ColumnMixture):
    """Mixture of rows of independent categories: latent class analysis.

    Categories may be whole numbers or texts, in an array, a frame or a source; columns may have different numbers of
    them. Those of a source are found by one more pass, before the fit; in one that can be read only once they are
    numbered 0, 1, ... already. A category that only rows of weight 0 have is none.

    Parameters
    ----------
    n_components : int, default 1
    tol, max_iter, n_init, init_params, random_state, warm_start, verbose, verbose_interval, n_jobs, callback, \
max_time, on_collapse, accelerate, weight_concentration_prior
        As in :class:`fastem.GaussianMixture`.
    prior : float, default 0
        Rows at the mean of the data (of the sample that starts are made from) that every component gets beside its
        own: the fit maximises the posterior density under Dirichlet priors of the probabilities. None is then 0 but
        those of categories that the sample missed.
    missing : {"error", "nan"}, default "error"
        As in :class:`fastem.BernoulliMixture`; of texts and other objects None, NaT and pandas' NA are missing, too.
    weights_init : (K,), optional
    params_init : (K, m), optional
        Starting values of `weights_` and `probabilities_`.

    Attributes
    ----------
    weights_ : (K,)
    probabilities_ : (K, m)
        Of the categories of the first column, then of those of the second, and so on.
    categories_ : list of list
        The categories of each column, in the order of `probabilities_`.
    converged_, n_iter_, stop_reason_, lower_bound_, lower_bounds_, history_, diagnostics_, n_features_in_
        As in :class:`fastem.BernoulliMixture`.

    References
    ----------
    Goodman (1974), Exploratory latent structure analysis using both identifiable and unidentifiable models,
    Biometrika 61.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> X = np.array([["yes", "red"], ["yes", "blue"], ["no", "green"], ["no", "green"]] * 50)
    >>> model = fastem.CategoricalMixture(2, random_state=0).fit(X)
    >>> model.categories_
    [['no', 'yes'], ['blue', 'green', 'red']]
    >>> [p.shape for p in model.probabilities_by_column()]
    [(2, 2), (2, 3)]
    """

    params_type = CategoricalParams
    categories_: list[list]

    def probabilities_by_column(self):
        """`probabilities_` cut by column: a list of arrays (K, number of categories)."""
        ends = np.cumsum([len(known) for known in self.categories_])[:-1]
        return np.split(self.probabilities_, ends, axis=1)

    def sample(self, n_samples=1, random_state=None):
        """Rows drawn from the fitted density, as categories, and their components; see `GaussianMixture.sample`."""
        X, labels = super().sample(n_samples, random_state)
        return decoded(X, self.categories_), labels

    def _family(self, dtype: Any = np.float64) -> Categorical:
        family = CategoricalMissing if self.missing == "nan" else Categorical
        return family([len(known) for known in self.categories_], self.prior)

    def _encode(self, X: Any, reset: bool, sample_weight: Any = None) -> Any:
        if not reset and not hasattr(self, "categories_"):
            return X  # held out from a source that is not read yet, in which categories are numbers
        if not reset:
            check_names(self, X)
        X, categories = encoded(X, None if reset else self.categories_, sample_weight, self.missing)
        if reset:
            self.categories_ = categories
        return X

    def _coding(self, X: Any, sample_weight: Any, reset: bool) -> Coding | None:
        """Of a fit's source the categories are found by a pass of its own, unless it can be read only once."""
        if not reset:
            return None if numbered(self.categories_) else Coding(self.categories_)
        self.__dict__.pop("categories_", None)
        if isinstance(X.source if isinstance(X, Chunks) else X, Iterator):
            return Coding(once=True)
        coding = Coding()
        with open_rows(X, sample_weight=sample_weight, coding=coding) as rows:
            rows.check = partial(_check_whole, names=rows.source.feature_names)
            rows.missing = self.missing
            self.categories_ = coding.learn(rows, rows.source.feature_names)
        return coding if coding.codes_differ else None

    def _check_rows(self, X: np.ndarray, reset: bool) -> None:
        names, known = getattr(self, "feature_names_in_", None), getattr(self, "categories_", None)
        if not reset:
            if known:  # else rows are held out from a source that is not read yet, and looked at when it is
                check_levels(X, names, np.array([len(c) for c in known]))
            return
        check_levels(X, names)
        most = np.fmax.reduce(X, axis=0, initial=0).astype(int) + 1
        before = [len(c) for c in known] if known else [0] * X.shape[1]
        if (most > before).any():
            self.categories_ = [list(range(max(a, b))) for a, b in zip(most.tolist(), before, strict=True)]


def _check_whole(X: np.ndarray, names: Any) -> None:
    check_values(X, lambda block: block != np.floor(block), NOT_WHOLE, names)
