"""Mixture estimators, shaped as scikit-learn's."""

import warnings
from numbers import Real
from typing import Any

import numpy as np

from fastem.columns import check_observed
from fastem.conditioning import Conditioning
from fastem.engine.model import MixtureParams
from fastem.estimator import MixtureEstimator
from fastem.families.gaussian import COVARIANCE_TYPES, Gaussian, GaussianParams
from fastem.families.gaussian_missing import GaussianMissing
from fastem.inits import check_init, check_precisions_init, check_weights_init
from fastem.missing import MissingEntries
from fastem.priors import check_prior, learn_prior, recall_prior
from fastem.ranges import check_scale
from fastem.starts import Start, from_centres
from fastem.validation import check_choice, check_numbers, check_reg_covar


class GaussianMixture(Conditioning, MissingEntries, MixtureEstimator):
    """Mixture of Gaussians, fitted by expectation-maximization.

    The parameters, attributes and methods of :class:`sklearn.mixture.GaussianMixture`, plus weights of rows, and an
    E-step and M-step fused into one compiled pass over the data that keeps no responsibilities.

    Parameters
    ----------
    n_components : int, default 1
    covariance_type : {"full", "tied", "diag", "spherical"}, default "full"
    tol : float, default 1e-4
        The fit ends when the predicted remaining gain of the log-likelihood (Aitken's extrapolation) falls below this,
        in nats per unit weight; with `accelerate` also when its last 100 iterations, or the later half of a
        longer fit, gained less, and less and less.
    reg_covar : float, default 1e-6
        Added to the variances, in the squared units of the data.
    max_iter : int, default 1000
    n_init : int, default 1
        Fits from that many starts; the best is kept.
    init_params : {"race", "kmeans", "k-means++", "random", "random_from_data"}, default "race"
        How a start is made, from a sample of the rows (from all of them, where there are few). "race": a dozen k-means
        and k-means++ starts, a few EM steps each on the sample, the worse half dropped after every round; the winner
        is continued on all data.
    weights_init, means_init, precisions_init : array-like, optional
        Starting values (K,), (K, d) and in the shape of `precisions_`, in place of those of `init_params`. With
        `means_init` there is no race: weights and covariances are those of the rows nearest to each mean.
    random_state : int, RandomState or None
    warm_start : bool, default False
        Begin at the parameters of the last fit.
    verbose : int, default 0
        1 prints the first iteration, every `verbose_interval`-th, and how the fit ended; 2 also seconds and speed, and
        of a long pass over a source how far it is.
    verbose_interval : int, default 10
    n_jobs : int or None
        Threads; None for all. The result has the same bits for any number.
    callback : callable, optional
        ``callback(progress)`` after every iteration with a :class:`fastem.engine.monitor.Progress`; True ends the fit.
        If it has a method ``on_rows(done, n_rows)``, that is called after every chunk of a source, here and in
        `predict` and `score`; `n_rows` is None until it is known.
    max_time : float, optional
        Seconds after which the fit ends.
    on_collapse : {"restart", "drop", "raise"}, default "restart"
        What happens to a component that holds no row, or whose covariance is singular in spite of `reg_covar`.
        "restart" moves it to where the data are worst explained, three times at most, then keeps it at the least
        variance.
    accelerate : {"squarem", "anderson"} or None, default "squarem"
        Extrapolate where EM takes more than a few iterations (Varadhan and Roland 2008; Henderson and Varadhan 2019),
        to no lower log-likelihood than a ridge explains; for ``fit(algorithm="batch")``. None is EM as in textbooks.
    prior : None, "default", "data" or dict, default None
        "default" maximises the posterior density under the conjugate prior of Fraley and Raftery (2007), as mclust's
        `priorControl()` does: components of few rows keep the variance of a K-th of the data's volume, and no variance
        becomes 0. "data" is a stronger one, for many columns and few rows: with the scatter of d + 2 rows that spread
        as the data do. A dict has other values of "shrinkage" (0.01), the rows that stand at "mean" (d,), "dof" (d + 2)
        and "scale" (d, d), or a number for diag and spherical covariances, and (d,) for diag. The log-likelihood that
        is monitored then includes the prior's logarithm, but for a constant.
    missing : {"error", "nan"}, default "error"
        With "nan" NaN is an entry that was not observed: the likelihood is that of the others (Ghahramani and Jordan
        1994), in `fit`, `predict`, `score` and the like. Of a row without any the density is 1.
    weight_concentration_prior : float, optional
        Concentration alpha >= 1 of a symmetric Dirichlet prior of the weights: they are those of components with
        alpha - 1 rows more each, and none becomes 0. The fit maximises the posterior density, and the log-likelihood
        that is monitored includes alpha - 1 times the sum of log(K weight). None or 1 is maximum likelihood.

    Attributes
    ----------
    weights_ : (K,) ; means_ : (K, d)
    covariances_, precisions_, precisions_cholesky_ : (K, d, d), (d, d), (K, d) or (K,)
        By `covariance_type`; all in X's float dtype.
    prior_mean_, prior_scale_ : (d,), (d, d), (d,) or number
        Those of the prior, where there is one.
    converged_ : bool
    n_iter_ : int
    stop_reason_ : str
        "converged", "max_iter", "max_time", "callback", "interrupted", "decreased", "not_finite"; or "exhausted", where
        rows could be read only once.
    lower_bound_, lower_bounds_ : float, list of float
        Log-likelihood in nats per unit weight, last and of every iteration.
    history_ : structured array
        Fields log_likelihood (total, nats) and seconds, one entry an iteration.
    diagnostics_ : dict
        Components that were restarted, dropped or floored; iterations after which components that had all become the
        same were parted; how many extrapolations were accepted and refused.
    n_features_in_ : int ; feature_names_in_ : (d,)

    References
    ----------
    Dempster, Laird and Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm, JRSS B 39.
    Fraley and Raftery (2007), Bayesian regularization for normal mixture estimation and model-based clustering,
    Journal of Classification 24.
    Ghahramani and Jordan (1994), Supervised learning from incomplete data via an EM approach, NIPS 6.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(-3, 1, (500, 2)), rng.normal(3, 1, (500, 2))])
    >>> model = fastem.GaussianMixture(2, random_state=0).fit(X)
    >>> np.sort(model.means_[:, 0]).round()
    array([-3.,  3.])
    >>> model.converged_
    True
    """

    def __init__(
        self,
        n_components=1,
        *,
        covariance_type="full",
        tol=1e-4,
        reg_covar=1e-6,
        max_iter=1000,
        n_init=1,
        init_params="race",
        weights_init=None,
        means_init=None,
        precisions_init=None,
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
        missing="error",
        weight_concentration_prior=None,
    ):
        self._store(locals())

    def to_sklearn(self):
        """The fitted model as a :class:`sklearn.mixture.GaussianMixture` with the same parameters and attributes."""
        from fastem.interchange import to_sklearn

        return to_sklearn(self)

    @classmethod
    def from_sklearn(cls, other):
        """A fitted :class:`sklearn.mixture.GaussianMixture` as one of ours."""
        from fastem.interchange import from_sklearn

        return from_sklearn(cls, other)

    def _validate_parameters(self) -> None:
        super()._validate_parameters()
        check_numbers(self, Real, {"reg_covar": 0})
        check_choice("covariance_type", self.covariance_type, COVARIANCE_TYPES)
        check_prior(self.prior)

    def _check_start(self, start: Start) -> None:
        super()._check_start(start)
        learn_prior(self, start)
        names = getattr(self, "feature_names_in_", None)
        check_observed(start.sample.X, names)
        check_scale(start.T.astype(start.sample.X.dtype, copy=False), self)
        if ridge := check_reg_covar(self, start.scale.mean, start.scale.covariance, names):
            warnings.warn(ridge, UserWarning, stacklevel=5)

    @property
    def _holdable(self) -> tuple[str, ...]:
        return GaussianParams._fields

    def _family(self, dtype: Any = np.float64) -> Gaussian:
        kind = GaussianMissing if self.missing == "nan" else Gaussian
        family = kind(self.covariance_type, self.reg_covar, np.finfo(dtype).eps)
        recall_prior(self, family)
        return family

    def _apply_inits(self, params: MixtureParams | None, start: Start) -> MixtureParams | None:
        k, d = start.k, len(start.scale.mean)
        given = self.weights_init, self.means_init, self.precisions_init
        weights = None if given[0] is None else check_weights_init(given[0], k)
        means = None if given[1] is None else check_init("means_init", given[1], (k, d))
        covariances = None if given[2] is None else check_precisions_init(given[2], self.covariance_type, k, d)
        if params is None:
            if weights is not None and means is not None and covariances is not None:
                return MixtureParams(weights, GaussianParams(means, covariances))
            if means is None or self.init_params != "race":
                return None
            params = from_centres(start, means)
        return MixtureParams(
            params.weights if weights is None else weights,
            GaussianParams(
                params.components.means if means is None else means,
                params.components.covariances if covariances is None else covariances,
            ),
        )

    def _set_params_(self, params: MixtureParams, dtype: np.dtype) -> None:
        cholesky = self._family().precisions_cholesky(params.components)
        if self.covariance_type in ("full", "tied"):
            precisions = cholesky @ np.swapaxes(cholesky, -1, -2)
        else:
            precisions = cholesky**2
        self.weights_ = params.weights.astype(dtype)
        self.means_ = params.components.means.astype(dtype)
        self.covariances_ = params.components.covariances.astype(dtype)
        self.precisions_cholesky_ = cholesky.astype(dtype)
        self.precisions_ = precisions.astype(dtype)

    def _fitted_kinds(self) -> list[str]:
        """The covariance types that the fitted attributes may be of; `covariance_type` may have been set since."""
        (k, d), given = np.shape(self.means_), np.shape(self.covariances_)
        shape = {"full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k,)}
        if k == d > 1 and given == (d, d):  # of one and the same shape, but only a triangle has zeros
            factor = getattr(self, "precisions_cholesky_", None)
            return ["tied", "diag"] if factor is None else ["tied" if (np.asarray(factor) == 0).any() else "diag"]
        return [name for name in shape if shape[name] == given]

    def _goes_on(self) -> bool:
        return self.covariance_type in (self._fitted_kinds() or [self.covariance_type])

    def _get_params_(self) -> MixtureParams:
        means = np.asarray(self.means_)
        if means.ndim != 2:
            raise ValueError(f"means_ has shape {means.shape}; one row a component is wanted. Fit again")
        k, d = means.shape  # fewer than n_components where some were dropped
        weights = self._proportions((k,))
        means = check_init("means_", self.means_, (k, d))
        covariances = check_init("covariances_", self.covariances_, np.shape(self.covariances_))
        kind, kinds = self.covariance_type, self._fitted_kinds()
        if kind not in kinds:
            wanted = " or ".join(map(repr, kinds)) or "none"
            raise ValueError(
                f"covariances_ has shape {covariances.shape}, that of covariance_type={wanted}, and covariance_type is "
                f"{kind!r}: set it to that of the fit, or fit again"
            )
        if np.asarray(self.covariances_).dtype == np.float32 and kind in ("full", "tied"):
            # Rounded to float32 a covariance may lose its Cholesky factor; the factor itself does not.
            factor = check_init("precisions_cholesky_", self.precisions_cholesky_, covariances.shape)
            inverse = np.linalg.inv(factor)
            covariances = np.swapaxes(inverse, -1, -2) @ inverse
        return MixtureParams(weights, GaussianParams(means, covariances))
