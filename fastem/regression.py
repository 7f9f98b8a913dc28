"""Mixtures of linear regressions: fit(X, y)."""

import warnings
from numbers import Real
from typing import Any

import numpy as np

from fastem.families.linear_regression import LinearRegression, LinearRegressionParams
from fastem.priors import learn_line_prior, recall_line_prior
from fastem.regression_mixture import RegressionMixture
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
    _learn_prior, _recall_prior = learn_line_prior, recall_line_prior

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
        if ridge := check_reg_covar(self, start.scale.mean[-1:], start.scale.covariance[-1:, -1:], ["y"]):
            warnings.warn(ridge, UserWarning, stacklevel=5)

    def _make_family(self, dtype: Any) -> LinearRegression:
        return LinearRegression(self.fit_intercept, self.reg_covar, self.share_variance, np.finfo(dtype).eps)

    def _check_rows(self, X: np.ndarray, reset: bool) -> None:
        pass
