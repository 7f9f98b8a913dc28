"""Mixtures of factor analysers: Gaussian components in many columns that covary through a few factors."""

import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem.engine.model import MixtureParams
from fastem.families.factor_analyzer import FactorAnalyzer
from fastem.families.factor_moments import FactorParams, covariances
from fastem.families.factor_prior import FactorPrior
from fastem.family_mixture import FamilyMixture
from fastem.priors import check_prior, learn_factor_prior, recall_prior
from fastem.ranges import check_scale
from fastem.starts import Start
from fastem.validation import check_numbers, check_reg_covar
from fastem.wording import plural


class FactorAnalyzerMixture(FamilyMixture):
    """Mixture of factor analysers: Gaussians with covariances L L^T + diag(psi), L with a few columns.

    Each row of component k is ``mean + L f + e`` with independent standard normal factors f and noise e. Between
    diagonal and full covariances: d (m + 1) numbers a component instead of d (d + 1) / 2, and an iteration costs in
    proportion to them, so that hundreds of columns are no obstacle.

    Parameters
    ----------
    n_components : int, default 1
    n_factors : int, default 1
        Factors m of a component, at most the number of columns.
    reg_covar : float, default 1e-6
        Least noise variance, in the squared units of the data.
    prior : None, "default" or dict, default None
        "default" maximises the posterior density under a conjugate prior: no noise variance becomes 0 (a Heywood case),
        also where a component has few rows, or equal ones. `noise_variances_` have inverse gamma priors of 3 degrees of
        freedom and the scale of a column's variance over ``K**(2 / d)`` (Fraley and Raftery 2007), `loadings_` of a
        column the mean 0 and the covariance ``noise_variances_ / 0.01`` I (Akaike 1987), `means_` that of the prior of
        :class:`fastem.GaussianMixture`, as if 0.01 rows stood at the mean of the data. A dict has other values of
        "shrinkage" (0.01) and "mean" (d,), "dof" (3) and "scale", a number or (d,), and "loadings" (0.01). The
        log-likelihood that is monitored then includes the prior's logarithm, but for a constant.
    tol, max_iter, n_init, init_params, random_state, warm_start, verbose, verbose_interval, n_jobs, callback, \
max_time, on_collapse, accelerate, weight_concentration_prior
        As in :class:`fastem.GaussianMixture`. EM of factors is slow where the noise is small beside them.
    weights_init : (K,), optional
    params_init : dict, optional
        Starting values ``{"means": (K, d), "loadings": (K, d, m), "noise_variances": (K, d)}``.

    Attributes
    ----------
    weights_ : (K,)
    means_ : (K, d)
    loadings_ : (K, d, m)
        L of each component, in the units of the data; rotations and signs of its columns are arbitrary.
    noise_variances_ : (K, d)
        psi of each component.
    prior_mean_, prior_scale_ : (d,), (d,) or number
        Those of the prior, where there is one.
    converged_, n_iter_, stop_reason_, lower_bound_, lower_bounds_, history_, diagnostics_, n_features_in_
        As in :class:`fastem.GaussianMixture`.

    Notes
    -----
    ``fit(algorithm="batch")`` alone: the sums of an iteration are taken under its parameters, and cannot be moved to
    others without the rows, as online algorithms would need it. `bic` and `aic` count no more parameters than a full
    covariance has.

    References
    ----------
    Ghahramani and Hinton (1996), The EM algorithm for mixtures of factor analyzers, CRG-TR-96-1, University of Toronto.
    McLachlan and Peel (2000), Finite mixture models, Wiley, chapter 8.
    Liu, Rubin and Wu (1998), Parameter expansion to accelerate EM: the PX-EM algorithm, Biometrika 85.
    Akaike (1987), Factor analysis and AIC, Psychometrika 52. Fraley and Raftery (2007), Bayesian regularization for
    normal mixture estimation and model-based clustering, Journal of Classification 24.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> L = np.array([[1.0, 1.0, 1.0, 1.0], [2.0, -2.0, 2.0, -2.0]])
    >>> k = rng.integers(2, size=4000)
    >>> X = 10.0 * k[:, None] + rng.normal(size=(4000, 1)) * L[k] + rng.normal(size=(4000, 4))
    >>> model = fastem.FactorAnalyzerMixture(2, n_factors=1, random_state=0).fit(X)
    >>> order = np.argsort(model.means_[:, 0])
    >>> model.covariances()[order][:, 0].round()
    array([[ 2.,  1.,  1.,  1.],
           [ 5., -4.,  4., -4.]])
    """

    params_type = FactorParams
    _algorithms = ("batch",)

    def __init__(
        self,
        n_components=1,
        *,
        n_factors=1,
        tol=1e-4,
        reg_covar=1e-6,
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
        prior=None,
        weight_concentration_prior=None,
    ):
        self._store(locals())

    def covariances(self):
        """Covariances L L^T + diag(psi) of the components.

        Returns
        -------
        (K, d, d), in the squared units of the data

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the model is not fitted (a ValueError).
        """
        check_is_fitted(self)
        return covariances(FactorParams(self.means_, self.loadings_, self.noise_variances_))

    def _validate_parameters(self) -> None:
        super()._validate_parameters()
        check_numbers(self, Integral, {"n_factors": 1})
        check_numbers(self, Real, {"reg_covar": 0})

    def _check_prior(self) -> None:
        check_prior(self.prior, ("default",), FactorPrior)

    def _check_start(self, start: Start) -> None:
        d = start.sample.X.shape[1]
        if self.n_factors > d:
            raise ValueError(
                f"n_factors is {self.n_factors} and X has {plural(d, 'column')}; at most as many factors as columns "
                f"are wanted, and fewer say more. Use n_factors <= {d}, or fastem.GaussianMixture"
            )
        check_scale(start.sample.X, self)
        learn_factor_prior(self, start)
        names = getattr(self, "feature_names_in_", None)
        if ridge := check_reg_covar(self, start.scale.mean, start.scale.covariance, names):
            warnings.warn(ridge, UserWarning, stacklevel=5)

    def _get_params_(self) -> MixtureParams:
        params = super()._get_params_()
        noise = params.components.noise_variances
        # Rounded to float32 the least noise may lie below its floor by the rounding.
        rounded = (noise < self.reg_covar) & (noise >= self.reg_covar * (1 - np.finfo(np.float32).eps))
        noise[rounded] = self.reg_covar
        return params

    def _family(self, dtype: Any = np.float64) -> FactorAnalyzer:
        family = FactorAnalyzer(self.n_factors, self.reg_covar, np.finfo(dtype).eps)
        recall_prior(self, family, FactorPrior)
        return family

    def _known_family(self, dtype: Any = np.float64) -> FactorAnalyzer:
        family = self._family(dtype)
        family.n_factors = self.loadings_.shape[2]
        return family
