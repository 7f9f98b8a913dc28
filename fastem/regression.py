"""Mixtures of regressions: fit(X, y)."""

import warnings
from numbers import Real
from typing import Any

import numpy as np

from fastem.families.linear_regression import LinearRegression, LinearRegressionParams
from fastem.families.logistic_regression import LogisticRegression
from fastem.families.poisson_regression import PoissonRegression
from fastem.families.regression import RegressionParams
from fastem.fitting import Outcome
from fastem.regression_mixture import RegressionMixture
from fastem.responses import check_counts_of, names_of
from fastem.separation import warn_of_separation
from fastem.starts import Start
from fastem.validation import check_choice, check_numbers, check_reg_covar


class LinearRegressionMixture(RegressionMixture):
    """Mixture of linear regressions, y ~ N(intercept_k + coef_k . x, variance_k) with probability weight_k.

    Inside, X and y are copied once to one table [X, y] in X's dtype.

    Parameters
    ----------
    n_components : int, default 1
    fit_intercept : bool, default True
    share_variance : bool, default False
        One variance for all components.
    reg_covar : float, default 1e-6
        Added to the variances, in the squared unit of y.
    prior : float, default 0
        Above 0 the fit maximises the posterior density under conjugate priors: ``coef_ * sd(x)`` has the mean 0 and the
        variance ``variances_ / prior``, as if each component had so many rows more by which y does not depend on x;
        intercepts are free; and `variances_`, which then never become 0, have the inverse gamma prior of Fraley and
        Raftery (2007) with 3 degrees of freedom and scale ``var(y) / K**2``. 0.01 is nearly this floor alone. The
        log-likelihood that is monitored then includes the prior's logarithm, but for a constant.
    tol, max_iter, n_init, random_state, warm_start, verbose, verbose_interval, n_jobs, callback, max_time, \
on_collapse, accelerate, weight_concentration_prior
        As in :class:`fastem.GaussianMixture`.
    init_params : {"race", "kmeans", "k-means++", "random", "random_from_data"}, default "race"
        "race": lines through a few random rows each, a few EM steps on a sample, the worse half dropped after every
        round. The others are those of :class:`fastem.GaussianMixture` on the rows (x, y), and mostly worse.
    weights_init : (K,), optional
    params_init : dict, optional
        Starting values of `coef_`, `intercept_` and `variances_`, without the underscores.

    Attributes
    ----------
    weights_ : (K,)
    coef_ : (K, p)
    intercept_ : (K,)
        Where x is 0; 0 without intercepts. As `coef_` in float64, in the unit of y.
    variances_ : (K,)
        Of y about the lines.
    centre_ : (p + 1,)
        What is subtracted from x and y inside, so that an offset costs no digits.
    prior_scale_ : float
        Scale of the variances' prior, where there is one.
    converged_, n_iter_, stop_reason_, lower_bound_, lower_bounds_, history_, diagnostics_, n_features_in_
        As in :class:`fastem.GaussianMixture`; the log-likelihood is that of y given x.

    Raises
    ------
    ValueError
        In `fit`, if X or y are not what they should be. Of a source that is read in chunks, y names a column.

    References
    ----------
    DeSarbo and Cron (1988), A maximum likelihood methodology for clusterwise linear regression, Journal of
    Classification 5. Fraley and Raftery (2007), Bayesian regularization for normal mixture estimation and model-based
    clustering, ibid. 24.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(0, 10, 1000)
    >>> y = np.where(rng.random(1000) < 0.4, 3 * x, 20 - x) + rng.normal(0, 0.5, 1000)
    >>> model = fastem.LinearRegressionMixture(2, random_state=0).fit(x[:, None], y)
    >>> np.sort(model.coef_[:, 0]).round(1)
    array([-1.,  3.])
    """

    params_type = LinearRegressionParams
    fields = "coef", "intercept", "variances"

    def __init__(
        self,
        n_components=1,
        *,
        fit_intercept=True,
        share_variance=False,
        reg_covar=1e-6,
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

    def _validate_parameters(self) -> None:
        super()._validate_parameters()
        check_numbers(self, Real, {"reg_covar": 0})
        check_choice("share_variance", self.share_variance, (True, False))

    def _check_start(self, start: Start) -> None:
        super()._check_start(start)
        if ridge := check_reg_covar(self.reg_covar, start.scale.mean[-1:], start.scale.covariance[-1:, -1:], ["y"]):
            warnings.warn(ridge, UserWarning, stacklevel=5)

    def _make_family(self, dtype: Any) -> LinearRegression:
        return LinearRegression(self.fit_intercept, self.reg_covar, self.share_variance, np.finfo(dtype).eps)

    def _check_rows(self, X: np.ndarray, reset: bool) -> None:
        pass


class _GeneralizedMixture(RegressionMixture):
    """Regressions whose M-step is a Newton step, from sums that hold at the current parameters alone."""

    params_type = RegressionParams
    _algorithms = ("batch",)


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
    centre_, converged_, n_iter_, stop_reason_, lower_bound_, lower_bounds_, history_, diagnostics_, n_features_in_
        As in :class:`fastem.LinearRegressionMixture`.

    References
    ----------
    Wang, Puterman, Cockburn and Le (1996), Mixed Poisson regression models with covariate dependent rates, Biometrics
    52.

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
    centre_, converged_, n_iter_, stop_reason_, lower_bound_, lower_bounds_, history_, diagnostics_, n_features_in_
        As in :class:`fastem.LinearRegressionMixture`.

    References
    ----------
    Follmann and Lambert (1989), Generalizing logistic regression by nonparametric mixing, JASA 84.

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
