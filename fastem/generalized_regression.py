"""Mixtures of regressions of counts, and of successes: fit(X, y)."""

from typing import Any

import numpy as np

from fastem.families.logistic_regression import LogisticRegression
from fastem.families.poisson_regression import PoissonRegression
from fastem.families.regression import RegressionParams
from fastem.fitting import Outcome
from fastem.priors import learn_rows_prior, recall_rows_prior
from fastem.regression_mixture import RegressionMixture
from fastem.responses import check_counts_of, names_of
from fastem.separation import warn_of_separation


class _GeneralizedMixture(RegressionMixture):
    """Regressions whose M-step is a Newton step, from sums that hold at the current parameters alone."""

    params_type = RegressionParams
    _algorithms = ("batch",)
    _learn_prior, _recall_prior = learn_rows_prior, recall_rows_prior


class PoissonRegressionMixture(_GeneralizedMixture):
    """Mixture of Poisson regressions, y ~ Poisson(exposure exp(intercept_k + coef_k . x)) with probability weight_k.

    Inside, X and y are copied once to one table [X, y] in X's dtype. Means above exp(600) of unit exposure (exp(60) in
    float32) are taken for that.

    Parameters
    ----------
    n_components : int, default 1
    fit_intercept : bool, default True
    exposure : int, str or None
        Number or name of the column of X that says how long, or over how much, the counts were taken.
    prior : float, default 0
        Above 0 the fit maximises the posterior density under priors worth so many rows in each component, by which y
        does not depend on x: the mean at the centre of the features has the gamma distribution to which such rows of
        the mean of y, and of the mean exposure, lead (Diaconis and Ylvisaker 1979), and ``coef_ * sd(x)`` the mean 0
        and the variance ``1 / (prior * mean(y))``. All are finite then, also where a component has no counts, or none
        for some x. The log-likelihood that is monitored then includes the prior's logarithm, but for a constant.
    tol, max_iter, n_init, random_state, warm_start, verbose, verbose_interval, n_jobs, callback, max_time, \
on_collapse, accelerate, weight_concentration_prior
        As in :class:`fastem.GaussianMixture`.
    init_params, weights_init, params_init
        As in :class:`fastem.LinearRegressionMixture`; there are no variances.

    Attributes
    ----------
    weights_ : (K,)
    coef_ : (K, p)
        0 in the column of the `exposure`.
    intercept_ : (K,)
        As `coef_` in float64, on the scale of log y.
    prior_mean_ : float
        Mean of y of the prior's rows, where there is one.
    centre_, converged_, n_iter_, stop_reason_, lower_bound_, lower_bounds_, history_, diagnostics_, n_features_in_
        As in :class:`fastem.LinearRegressionMixture`.

    References
    ----------
    Wang, Puterman, Cockburn and Le (1996), Mixed Poisson regression models with covariate dependent rates, Biometrics
    52. Diaconis and Ylvisaker (1979), Conjugate priors for exponential families, Annals of Statistics 7. Chen and
    Ibrahim (2003), Conjugate priors for generalized linear models, Statistica Sinica 13.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(0, 3, 2000)
    >>> y = rng.poisson(np.exp(np.where(rng.random(2000) < 0.5, 1 + x, 3 - x)))
    >>> model = fastem.PoissonRegressionMixture(2, random_state=0).fit(x[:, None], y)
    >>> np.sort(model.coef_[:, 0]).round(1)
    array([-1.,  1.])
    """

    size_name = "exposure"

    def __init__(
        self,
        n_components=1,
        *,
        fit_intercept=True,
        exposure=None,
        prior=0.0,
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
        weight_concentration_prior=None,
    ):
        self._store(locals())

    def _make_family(self, dtype: Any) -> PoissonRegression:
        return PoissonRegression(self.fit_intercept, self._size(), np.finfo(dtype).eps)

    def _check_rows(self, X: np.ndarray, reset: bool) -> None:
        check_counts_of(X, names_of(self, X.shape[1]), self._size(), trials=False)


class LogisticRegressionMixture(_GeneralizedMixture):
    """Mixture of logistic regressions: y successes of some trials, with log-odds intercept_k + coef_k . x.

    With one trial a row, several components are identified only weakly: give rows of several trials where there are.
    Inside, X and y are copied once to one table [X, y] in X's dtype.

    Parameters
    ----------
    n_components : int, default 1
    fit_intercept : bool, default True
    trials : int, str or None
        Number or name of the column of X that holds the number of trials, of which y are successes; None for 1.
    prior : float, default 0
        Above 0 the fit maximises the posterior density under priors worth so many rows in each component, by which y
        does not depend on x: the probability at the centre of the features has the beta distribution to which such rows
        of the mean of y lead (Diaconis and Ylvisaker 1979), and ``coef_ * sd(x)`` the mean 0 and the variance
        ``1 / (prior * v)``, where v is that of a y of the mean of all (Gelman et al. 2008). All are finite then, also
        where x separates successes from failures. The log-likelihood that is monitored then includes the prior's
        logarithm, but for a constant.
    tol, max_iter, n_init, random_state, warm_start, verbose, verbose_interval, n_jobs, callback, max_time, \
on_collapse, accelerate, weight_concentration_prior
        As in :class:`fastem.GaussianMixture`.
    init_params, weights_init, params_init
        As in :class:`fastem.LinearRegressionMixture`; there are no variances.

    Attributes
    ----------
    weights_ : (K,)
    coef_ : (K, p)
        0 in the column of the `trials`.
    intercept_ : (K,)
        As `coef_` in float64, in log-odds.
    prior_mean_ : float
        Mean of y of the prior's rows, where there is one.
    centre_, converged_, n_iter_, stop_reason_, lower_bound_, lower_bounds_, history_, diagnostics_, n_features_in_
        As in :class:`fastem.LinearRegressionMixture`.

    References
    ----------
    Follmann and Lambert (1989), Generalizing logistic regression by nonparametric mixing, JASA 84. Diaconis and
    Ylvisaker (1979), Conjugate priors for exponential families, Annals of Statistics 7. Gelman, Jakulin, Pittau and Su
    (2008), A weakly informative default prior distribution for logistic and other regression models, Annals of Applied
    Statistics 2.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(-2, 2, 2000)
    >>> y = rng.binomial(20, 1 / (1 + np.exp(np.where(rng.random(2000) < 0.5, -2 * x, 2 * x))))
    >>> X = np.column_stack([x, np.full(2000, 20)])
    >>> model = fastem.LogisticRegressionMixture(2, trials=1, random_state=0).fit(X, y)
    >>> np.sort(model.coef_[:, 0]).round(1)
    array([-2.,  2.])
    """

    size_name = "trials"

    def __init__(
        self,
        n_components=1,
        *,
        fit_intercept=True,
        trials=None,
        prior=0.0,
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
        weight_concentration_prior=None,
    ):
        self._store(locals())

    def _make_family(self, dtype: Any) -> LogisticRegression:
        return LogisticRegression(self.fit_intercept, self._size(), np.finfo(dtype).eps)

    def _record(self, outcome: Outcome, dtype: np.dtype, start: str) -> None:
        super()._record(outcome, dtype, start)
        warn_of_separation(self, outcome.collapse.scale.deviation[:-1])

    def _check_rows(self, X: np.ndarray, reset: bool) -> None:
        check_counts_of(X, names_of(self, X.shape[1]), self._size(), trials=True)
