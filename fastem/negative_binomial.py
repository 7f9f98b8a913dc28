"""Mixtures of counts that vary more than Poisson ones."""

from typing import Any

import numpy as np

from fastem.domains import check_counts
from fastem.families.negative_binomial import NegativeBinomial, NegativeBinomialParams
from fastem.families.negative_binomial_missing import NegativeBinomialMissing
from fastem.family_mixture import ColumnMixture


class NegativeBinomialMixture(ColumnMixture):
    """Mixture of rows of independent negative binomial counts.

    Parameters
    ----------
    n_components : int, default 1
    tol, max_iter, n_init, init_params, random_state, warm_start, verbose, verbose_interval, n_jobs, callback, \
max_time, on_collapse, accelerate, weight_concentration_prior
        As in :class:`fastem.GaussianMixture`.
    prior : float, default 0
        Rows at the mean of the data that every component gets beside its own: the fit maximises the posterior density
        whose prior is the likelihood of these.
    missing : {"error", "nan"}, default "error"
        As in :class:`fastem.BernoulliMixture`.
    weights_init : (K,), optional
    params_init : dict of "sizes" (K, d) and "means" (K, d), or the two in a sequence, optional
        Starting values of `weights_`, `sizes_` and `means_`.

    Attributes
    ----------
    weights_ : (K,)
    sizes_ : (K, d)
        SciPy's `n`, R's `size`: the smaller, the more the counts vary. At most 1e8, or 1e8 times the mean where that
        is above 1, which columns reach that vary no more than Poisson counts.
    means_ : (K, d)
        The variances are ``means_ + means_**2 / sizes_``; SciPy's `p` is ``sizes_ / (sizes_ + means_)``.
    converged_, n_iter_, stop_reason_, lower_bound_, lower_bounds_, history_, diagnostics_, n_features_in_
        As in :class:`fastem.BernoulliMixture`.

    Notes
    -----
    Counts below 4096 / d, and in any case those below 16 and none from 512 on, are looked up in tables; an iteration
    over larger ones takes several times as long, and many times with float32 data. Where most counts are larger and
    `sizes_**2` is many times `means_`, EM also takes more iterations.

    References
    ----------
    Bliss and Fisher (1953), Fitting the negative binomial distribution to biological data, Biometrics 9.

    Examples
    --------
    Red mites on 150 apple leaves.

    >>> import numpy as np, fastem
    >>> leaves = [70, 38, 17, 10, 9, 3, 2, 1]
    >>> model = fastem.NegativeBinomialMixture().fit(np.arange(8.0)[:, None], sample_weight=leaves)
    >>> model.means_.round(4), model.sizes_.round(4)
    (array([[1.1467]]), array([[1.0246]]))
    """

    params_type = NegativeBinomialParams

    def _family(self, dtype: Any = np.float64) -> NegativeBinomial:
        return (NegativeBinomialMissing if self.missing == "nan" else NegativeBinomial)(self.prior)

    def _check_rows(self, X: np.ndarray, reset: bool) -> None:
        check_counts(X, getattr(self, "feature_names_in_", None))
