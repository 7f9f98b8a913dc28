"""Mixtures whose components have heavy tails."""

import warnings
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from fastem.columns import check_observed
from fastem.engine.initialize import race
from fastem.engine.model import MixtureParams
from fastem.families.student_t import COVARIANCE_TYPES, LEAST_DF, MOST_DF, StudentT, StudentTParams
from fastem.families.student_t_missing import StudentTMissing
from fastem.family_mixture import FamilyMixture
from fastem.inits import check_init
from fastem.missing import MissingEntries
from fastem.priors import check_prior, learn_prior, recall_prior
from fastem.ranges import check_scale
from fastem.starts import Start
from fastem.validation import check_choice, check_numbers, check_reg_covar

FENCE = 3.0
"""Interquartile ranges beyond the quartiles of a column where outliers begin (Tukey 1977: "far out")."""

ROUNDS = (30,)
"""EM steps after which the start without outliers is compared with the other: it must first learn of their weight."""


def _inside(X: np.ndarray) -> np.ndarray:
    """Mask (n,) of the rows that are outliers in no column; columns of which half are equal have none, nor NaN."""
    low, high = np.nanquantile(X, (0.25, 0.75), axis=0)
    reach = np.where(high > low, FENCE * (high - low), np.inf)
    return ~np.asarray(((X < low - reach) | (X > high + reach)).any(axis=1))


def _without_outliers(start: Start) -> Start | None:
    """A start from the rows that are outliers in no column; None where that are all, or too few."""
    inside = _inside(start.sample.X.astype(np.float64, copy=False))
    if inside.all() or inside.sum() < max(start.k, len(inside) // 2):
        return None
    weight = start.sample.sample_weight
    unseen = np.isnan(start.sample.X[inside]).all(axis=0).any()
    if unseen or (weight.size and not weight[inside].any()):
        return None
    return start.part(inside, start.k)


class StudentTMixture(MissingEntries, FamilyMixture):
    """Mixture of multivariate Student's t distributions: clusters whose outliers do not move them.

    A row far from a component, in units of its scale, weighs little in its location and scale. The fewer degrees of
    freedom, the heavier the tails; with infinitely many it is the Gaussian mixture.

    Parameters
    ----------
    n_components : int, default 1
    covariance_type : {"full", "diag"}, default "full"
        Shape of `scales_`.
    df : float or None
        Degrees of freedom of all components, above 0; `numpy.inf` for Gaussians. None estimates them, between 1 and
        1,000,000: data without heavy tails give large numbers, among which the likelihood hardly chooses.
    share_df : bool, default False
        Estimate one number for all components together.
    tol, max_iter, n_init, init_params, random_state, warm_start, verbose, verbose_interval, n_jobs, callback, \
max_time, on_collapse, accelerate, weight_concentration_prior
        As in :class:`fastem.GaussianMixture`; where there are outliers, the race is also run without them. Large
        degrees of freedom converge slowly: ``accelerate="anderson"`` helps most.
    reg_covar : float, default 1e-6
        Added to the diagonals of `scales_`, in the squared units of the data.
    weights_init : (K,), optional
    params_init : dict, optional
        Starting values ``{"means": (K, d), "scales": (K, d, d) or (K, d), "df": (K,)}``; "df" may be left out where
        `df` is given.
    prior : None, "default", "data" or dict, default None
        That of :class:`fastem.GaussianMixture`, of `means_` and `scales_`, where mean and spread of the data are those
        of the rows that are outliers in no column; degrees of freedom have none. No scale becomes 0, also where a
        component has few rows, or equal ones. The log-likelihood that is monitored then includes the prior's logarithm,
        but for a constant.
    missing : {"error", "nan"}, default "error"
        With "nan" NaN is an entry that was not observed: the likelihood is that of the others (Liu and Rubin 1995), in
        `fit`, `predict`, `score` and the like. Of a row without any the density is 1.

    Attributes
    ----------
    weights_ : (K,) ; means_ : (K, d)
        Locations of the components; the means where `df_` is above 1.
    scales_ : (K, d, d) or (K, d), float64
        Scale matrices or, with "diag", their diagonals. They are no covariances: see `covariances_`.
    df_ : (K,)
        Degrees of freedom.
    covariances_ : as `scales_`
        ``scales_ * df_ / (df_ - 2)``, infinite where `df_` is at most 2.
    prior_mean_, prior_scale_ : (d,), (d, d), (d,) or number
        Those of the prior, where there is one.
    converged_, n_iter_, stop_reason_, lower_bound_, lower_bounds_, history_, diagnostics_, n_features_in_
        As in :class:`fastem.GaussianMixture`.

    References
    ----------
    Peel and McLachlan (2000), Robust mixture modelling using the t distribution, Statistics and Computing 10. Lange,
    Little and Taylor (1989), Robust statistical modeling using the t distribution, JASA 84. Liu and Rubin (1995), ML
    estimation of the t distribution using EM and its extensions, ECM and ECME, Statistica Sinica 5. Wang, Zhang, Luo
    and Wei (2004), Estimation of mixtures of t distributions in the presence of missing data, Pattern Recognition
    Letters 25. Fraley and Raftery (2007), Bayesian regularization for normal mixture estimation and model-based
    clustering, Journal of Classification 24.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.standard_t(3, (2000, 2)) - 8, rng.standard_t(3, (2000, 2)) + 8])
    >>> X[0] = 1e6
    >>> model = fastem.StudentTMixture(2, df=3, random_state=0).fit(X)
    >>> np.sort(model.means_[:, 0]).round()
    array([-8.,  8.])
    """

    params_type = StudentTParams
    means_: np.ndarray
    scales_: np.ndarray
    df_: np.ndarray

    def __init__(
        self,
        n_components=1,
        *,
        covariance_type="full",
        df=None,
        share_df=False,
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
        missing="error",
        weight_concentration_prior=None,
    ):
        self._store(locals())

    @property
    def covariances_(self) -> np.ndarray:
        """Covariances of the components, infinite where there are none."""
        df = np.asarray(self.df_, dtype=np.float64)
        with np.errstate(divide="ignore"):
            ratio = np.where(df > 2, 1 / (1 - 2 / np.maximum(df, 2)), np.inf)
        scales = np.asarray(self.scales_)
        ratio = ratio.reshape(-1, *(1,) * (scales.ndim - 1))
        return np.where(np.isinf(ratio), np.inf, scales * np.where(np.isinf(ratio), 1.0, ratio))

    @property
    def _fields(self) -> tuple[str, ...]:
        return "means", "scales", "df"

    def _validate_parameters(self) -> None:
        super()._validate_parameters()
        check_numbers(self, Real, {"reg_covar": 0})
        check_choice("covariance_type", self.covariance_type, COVARIANCE_TYPES)
        check_choice("share_df", self.share_df, (False, True))
        if self.df is not None and (
            not isinstance(self.df, Real) or isinstance(self.df, bool) or not float(self.df) > 0
        ):
            raise ValueError(
                f"df is {self.df!r}; one number above 0 for all components is wanted, infinity for Gaussians, or None "
                "to estimate one a component (share_df=True: one for all): try df=4.0"
            )

    def _check_prior(self) -> None:
        check_prior(self.prior)

    def _check_start(self, start: Start) -> None:
        names = getattr(self, "feature_names_in_", None)
        check_observed(start.sample.X, names)
        check_scale(start.T.astype(start.sample.X.dtype, copy=False), self)
        learn_prior(self, _without_outliers(start) or start)
        if ridge := check_reg_covar(self, start.scale.mean, start.scale.covariance, names):
            warnings.warn(ridge, UserWarning, stacklevel=5)

    def _family(self, dtype: Any = np.float64) -> StudentT:
        df = None if self.df is None else float(self.df)
        kind = StudentTMissing if self.missing == "nan" else StudentT
        family = kind(self.covariance_type, self.reg_covar, np.finfo(dtype).eps, df, bool(self.share_df))
        recall_prior(self, family)
        return family

    def _given(self, start: Start) -> StudentTParams:
        given = self.params_init
        needed = [name for name in self._fields if name != "df" or self.df is None]
        if not isinstance(given, Mapping) or not set(needed) <= set(given) <= set(self._fields):
            what = ", ".join(map(repr, given)) if isinstance(given, Mapping) else f"a {type(given).__name__}"
            raise ValueError(
                f"params_init has {what or 'nothing'}; a dict of {', '.join(map(repr, needed))} is wanted, with what "
                "the fitted attributes of these names hold"
            )
        k, d = start.k, len(start.scale.mean)
        shape = (k, d, d) if self.covariance_type == "full" else (k, d)
        means = check_init("params_init['means']", given["means"], (k, d))
        scales = check_init("params_init['scales']", given["scales"], shape, "one scale matrix a component")
        return StudentTParams(means, scales, self._given_tails(given.get("df"), start))

    def _given_tails(self, df: Any, start: Start) -> np.ndarray:
        """1 / degrees of freedom of a start; the estimator's own `df` where that is fixed."""
        k = start.k
        if df is None:
            return self._settled(np.zeros(k), start, False)
        df = np.array(df, dtype=np.float64)
        if df.shape != (k,) or not (df > 0).all() or (self.df is not None and not np.allclose(df, self.df, rtol=1e-6)):
            wanted = "numbers above 0" if self.df is None else f"{self.df!r}, which df fixes, or no 'df' at all,"
            raise ValueError(f"params_init['df'] is {df}; {k} times {wanted} in shape ({k},) is wanted")
        return self._settled(1.0 / df, start, True)

    def _settled(self, tails: np.ndarray, start: Start, told: bool) -> np.ndarray:
        """Tails as the family may have them; `ValueError` where others were `told` and are held."""
        found = start.model.family.settled(tails)
        if told and "df" in getattr(start.model, "fixed", ()) and not np.allclose(found, tails, rtol=1e-6):
            raise ValueError(
                f"fixed has 'df', and it is {1.0 / tails}; numbers from {LEAST_DF:g} to {MOST_DF:g} are wanted, all "
                "equal with share_df=True: for another in all components use df=number instead"
            )
        return found

    def _beginning(self, name: Any) -> tuple[str, Any]:
        argument, value = super()._beginning(name)
        return argument, self.df if name == "df" and value is None else value

    def _start(self, start: Start, random_state: np.random.RandomState, known: Any = None) -> MixtureParams:
        """The better of two races: on the sample, and on its rows that lie far outside the quartiles of no column.

        Outliers draw the centres of k-means, whose distances are squared.
        """
        params = super()._start(start, random_state, known)
        core = None if known or self.init_params != "race" else _without_outliers(start)
        if core is None:
            return params
        runners = [params, super()._start(core, random_state)]
        return race(start.model, runners, start.sample, start.floored, start.stop, ROUNDS)

    def _fixed_start(self, start: Start, fixed: tuple[Any, ...] = ()) -> MixtureParams | None:
        params = super()._fixed_start(start, fixed)
        if params is None:
            return None
        tails = self._settled(params.components.tails, start, self.df is None)  # a warm start may be one of another df
        return params._replace(components=params.components._replace(tails=tails))

    def _set_params_(self, params: MixtureParams, dtype: np.dtype) -> None:
        means, scales, tails = params.components
        self.weights_, self.means_ = params.weights.astype(dtype), means.astype(dtype)
        # Rounded to float32 a scale matrix may lose its Cholesky factor.
        self.scales_ = np.array(scales)
        with np.errstate(divide="ignore"):
            df = 1.0 / tails if self.df is None else np.full(len(tails), float(self.df))
        self.df_ = df.astype(dtype)

    def _goes_on(self) -> bool:
        return self.covariance_type == self._fitted_kind

    @property
    def _fitted_kind(self) -> str:
        """Of the fitted attributes; `covariance_type` may have been set since."""
        return "full" if np.ndim(self.scales_) == 3 else "diag"

    def _get_params_(self) -> MixtureParams:
        if self.covariance_type != self._fitted_kind:
            raise ValueError(
                f"scales_ has shape {np.shape(self.scales_)}, that of covariance_type={self._fitted_kind!r}, and "
                f"covariance_type is {self.covariance_type!r}: set it to that of the fit, or fit again"
            )
        k, d = np.shape(self.means_) if np.ndim(self.means_) == 2 else (len(self.weights_), self.n_features_in_)
        shape = (k, d, d) if np.ndim(self.scales_) == 3 else (k, d)
        means, scales = check_init("means_", self.means_, (k, d)), check_init("scales_", self.scales_, shape)
        tails = check_init("1 / df_", 1.0 / np.asarray(self.df_, dtype=np.float64), (k,))
        return MixtureParams(self._proportions((k,)), StudentTParams(means, scales, tails))
