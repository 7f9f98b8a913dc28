"""Mixtures of waiting times and other amounts."""

from typing import Any

import numpy as np

from fastem.domains import check_positive
from fastem.families.exponential import Exponential, ExponentialParams
from fastem.families.gamma import Gamma, GammaParams
from fastem.families.gamma_missing import GammaMissing
from fastem.families.linear_missing import ExponentialMissing
from fastem.family_mixture import ColumnMixture


class ExponentialMixture(ColumnMixture):
    """Mixture of rows of independent exponential waiting times.

    Parameters
    ----------
    n_components : int, default 1
    tol, max_iter, n_init, init_params, random_state, warm_start, verbose, verbose_interval, n_jobs, callback, \
max_time, on_collapse, accelerate, weight_concentration_prior
        As in :class:`fastem.GaussianMixture`.
    prior : float, default 0
        Rows at the mean of the data that every component gets beside its own: the fit maximises the posterior density
        under gamma priors of the rates 1 / means.
    missing : {"error", "nan"}, default "error"
        As in :class:`fastem.BernoulliMixture`.
    weights_init : (K,), optional
    params_init : (K, d), optional
        Starting values of `weights_` and `means_`.

    Attributes
    ----------
    weights_ : (K,)
    means_ : (K, d)
        In the unit of the data.
    converged_, n_iter_, stop_reason_, lower_bound_, lower_bounds_, history_, diagnostics_, n_features_in_
        As in :class:`fastem.BernoulliMixture`.

    References
    ----------
    McLachlan and Peel (2000), Finite mixture models, Wiley.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.exponential(1.0, 3000), rng.exponential(20.0, 3000)])[:, None]
    >>> model = fastem.ExponentialMixture(2, random_state=0).fit(X)
    >>> np.sort(model.means_[:, 0]).round()
    array([ 1., 20.])
    """

    params_type = ExponentialParams

    def _family(self, dtype: Any = np.float64) -> Exponential:
        return (ExponentialMissing if self.missing == "nan" else Exponential)(self.prior)

    def _check_rows(self, X: np.ndarray, reset: bool) -> None:
        check_positive(X, getattr(self, "feature_names_in_", None), zero=True)


class GammaMixture(ColumnMixture):
    """Mixture of rows of independent gamma amounts: durations, sums of money, rainfall.

    Parameters
    ----------
    n_components : int, default 1
    tol, max_iter, n_init, init_params, random_state, warm_start, verbose, verbose_interval, n_jobs, callback, \
max_time, on_collapse, accelerate, weight_concentration_prior
        As in :class:`fastem.GaussianMixture`. A component whose shape would exceed 1e10 (1e6 for float32 data), being
        all but constant in a column, counts as collapsed.
    prior : float, default 0
        Rows that every component gets beside its own, with the mean of the data and of their logarithms: the fit
        maximises the posterior density under the conjugate priors.
    missing : {"error", "nan"}, default "error"
        As in :class:`fastem.BernoulliMixture`.
    weights_init : (K,), optional
    params_init : dict of "shapes" (K, d) and "scales" (K, d), or the two in a sequence, optional
        Starting values of `weights_`, `shapes_` and `scales_`.

    Attributes
    ----------
    weights_ : (K,)
    shapes_ : (K, d)
    scales_ : (K, d)
        In the unit of the data. Means are `shapes_ * scales_`, variances `shapes_ * scales_**2`, rates `1 / scales_`.
    converged_, n_iter_, stop_reason_, lower_bound_, lower_bounds_, history_, diagnostics_, n_features_in_
        As in :class:`fastem.BernoulliMixture`.

    References
    ----------
    Wiper, Rios Insua and Ruggeri (2001), Mixtures of gamma distributions with applications, Journal of Computational
    and Graphical Statistics 10.
    Choi and Wette (1969), Maximum likelihood estimation of the parameters of the gamma distribution and their bias,
    Technometrics 11: the M-step.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.gamma(2.0, 1.0, 3000), rng.gamma(9.0, 3.0, 3000)])[:, None]
    >>> model = fastem.GammaMixture(2, random_state=0).fit(X)
    >>> np.sort(model.shapes_[:, 0]).round()
    array([2., 9.])
    """

    params_type = GammaParams

    def _family(self, dtype: Any = np.float64) -> Gamma:
        return (GammaMissing if self.missing == "nan" else Gamma)(self.prior, dtype)

    def _check_rows(self, X: np.ndarray, reset: bool) -> None:
        check_positive(X, getattr(self, "feature_names_in_", None))
