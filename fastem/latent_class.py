"""Mixtures of categories: latent class analysis."""

from typing import Any

import numpy as np

from fastem.categories import decoded, encoded
from fastem.domains import check_levels
from fastem.families.categorical import Categorical, CategoricalParams
from fastem.family_mixture import FamilyMixture


class CategoricalMixture(FamilyMixture):
    """Mixture of rows of independent categories: latent class analysis.

    Categories may be numbers or texts, in an array or a frame; columns may have different numbers of them. In a source
    they are numbered 0, 1, ... already.

    Parameters
    ----------
    n_components : int, default 1
    tol, max_iter, n_init, init_params, random_state, warm_start, verbose, verbose_interval, n_jobs, callback, \
max_time, on_collapse, accelerate
        As in :class:`fastem.GaussianMixture`.
    prior : float, default 0
        Rows at the mean of the data that every component gets beside its own: the fit maximises the posterior density
        under Dirichlet priors of the probabilities.
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
        return Categorical([len(known) for known in self.categories_], self.prior)

    def _encode(self, X: Any, reset: bool) -> Any:
        if not reset and not hasattr(self, "categories_"):
            return X  # held out from a source that is not read yet, in which categories are numbers
        X, categories = encoded(X, None if reset else self.categories_)
        if reset:
            self.categories_ = categories
        return X

    def _check_rows(self, X: np.ndarray, reset: bool) -> None:
        names, known = getattr(self, "feature_names_in_", None), getattr(self, "categories_", None)
        if not reset:
            if known:  # else rows are held out from a source that is not read yet, and looked at when it is
                check_levels(X, names, np.array([len(c) for c in known]))
            return
        check_levels(X, names)  # of a source: how many there are is known when all rows were seen once
        most = X.max(axis=0, initial=0).astype(int) + 1
        before = [len(c) for c in known] if known else [0] * X.shape[1]
        if (most > before).any():
            self.categories_ = [list(range(max(a, b))) for a, b in zip(most.tolist(), before, strict=True)]
