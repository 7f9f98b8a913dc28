"""Mixtures of counts and of categories."""

from typing import Any

import numpy as np

from fastem.columns import check_column
from fastem.domains import check_binary, check_counts
from fastem.families.bernoulli import Bernoulli, BernoulliParams
from fastem.families.linear_missing import BernoulliMissing, PoissonMissing
from fastem.families.multinomial import Multinomial, MultinomialParams
from fastem.families.poisson import Poisson, PoissonParams
from fastem.family_mixture import ColumnMixture, FamilyMixture
from fastem.validation import check_choice


class BernoulliMixture(ColumnMixture):
    """Mixture of rows of independent zeros and ones: latent classes of yes-no answers.

    Parameters
    ----------
    n_components : int, default 1
    tol, max_iter, n_init, init_params, random_state, warm_start, verbose, verbose_interval, n_jobs, callback, \
max_time, on_collapse, accelerate, weight_concentration_prior
        As in :class:`fastem.GaussianMixture`.
    prior : float, default 0
        Rows at the mean of the data (of the sample that starts are made from) that every component gets beside its
        own: the fit maximises the posterior density under the conjugate prior. No probability is then 0 or 1 but those
        of columns that are constant.
    missing : {"error", "nan"}, default "error"
        With "nan" NaN is an answer that was not observed: the likelihood is that of the others, in `fit`, `predict`,
        `score` and the like. Of a row without any the density is 1.
    weights_init : (K,), optional
    params_init : (K, d), optional
        Starting values of `weights_` and `probabilities_`.

    Attributes
    ----------
    weights_ : (K,)
    probabilities_ : (K, d)
        Of a 1.
    converged_, n_iter_, stop_reason_, lower_bound_, lower_bounds_, history_, diagnostics_, n_features_in_
        As in :class:`fastem.GaussianMixture`; with a prior the log-likelihood includes the prior's logarithm, but for
        a constant.

    References
    ----------
    Lazarsfeld and Henry (1968), Latent structure analysis.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.random((500, 4)) < 0.2, rng.random((500, 4)) < 0.9]).astype(float)
    >>> model = fastem.BernoulliMixture(2, random_state=0).fit(X)
    >>> np.sort(model.probabilities_.mean(axis=1)).round(1)
    array([0.2, 0.9])
    """

    params_type = BernoulliParams

    def _family(self, dtype: Any = np.float64) -> Bernoulli:
        return (BernoulliMissing if self.missing == "nan" else Bernoulli)(self.prior)

    def _check_rows(self, X: np.ndarray, reset: bool) -> None:
        check_binary(X, getattr(self, "feature_names_in_", None))


class PoissonMixture(ColumnMixture):
    """Mixture of rows of independent Poisson counts.

    Parameters
    ----------
    n_components : int, default 1
    exposure : int, str or None
        Number or name of the column of X that says how long, or over how much, the counts of a row were taken.
    tol, max_iter, n_init, init_params, random_state, warm_start, verbose, verbose_interval, n_jobs, callback, \
max_time, on_collapse, accelerate, weight_concentration_prior
        As in :class:`fastem.GaussianMixture`.
    prior : float, default 0
        Rows at the mean of the data that every component gets beside its own: the fit maximises the posterior density
        under gamma priors of the rates. No rate is then 0 but those of columns that are 0.
    missing : {"error", "nan"}, default "error"
        As in :class:`fastem.BernoulliMixture`; the exposure may not be missing.
    weights_init : (K,), optional
    params_init : (K, d), optional
        Starting values of `weights_` and `rates_`.

    Attributes
    ----------
    weights_ : (K,)
    rates_ : (K, d)
        Expected counts of one unit of exposure; without the column of the exposure.
    converged_, n_iter_, stop_reason_, lower_bound_, lower_bounds_, history_, diagnostics_, n_features_in_
        As in :class:`fastem.BernoulliMixture`.

    References
    ----------
    Hasselblad (1969), Estimation of finite mixtures of distributions from the exponential family, JASA 64.

    Examples
    --------
    Days with 0 ... 9 deaths of women over 80 in The Times, 1910 to 1912.

    >>> import numpy as np, fastem
    >>> days = [162, 267, 271, 185, 111, 61, 27, 8, 3, 1]
    >>> model = fastem.PoissonMixture(2, tol=1e-9, max_iter=10_000, accelerate="squarem", random_state=0)
    >>> _ = model.fit(np.arange(10.0).reshape(-1, 1), sample_weight=days)
    >>> np.sort(model.rates_[:, 0]).round(2)
    array([1.26, 2.66])
    """

    params_type = PoissonParams

    def __init__(
        self,
        n_components=1,
        *,
        exposure=None,
        tol=1e-4,
        prior=0.0,
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
        missing="error",
        weight_concentration_prior=None,
    ):
        self._store(locals())

    def _exposure(self) -> int | None:
        return check_column(self, "exposure", " beside those of the counts", least=2)

    def _family(self, dtype: Any = np.float64) -> Poisson:
        return (PoissonMissing if self.missing == "nan" else Poisson)(self._exposure(), self.prior)

    def _check_rows(self, X: np.ndarray, reset: bool) -> None:
        check_counts(X, getattr(self, "feature_names_in_", None), exposure=self._exposure())


class MultinomialMixture(FamilyMixture):
    """Mixture of rows that count what kinds their trials had, such as the words of documents.

    Rows may differ in their number of trials, given which they are scored. Where it is 1 in all of them, this is a
    mixture of one categorical variable.

    Parameters
    ----------
    n_components : int, default 1
    tol, max_iter, n_init, init_params, random_state, warm_start, verbose, verbose_interval, n_jobs, callback, \
max_time, on_collapse, accelerate, weight_concentration_prior
        As in :class:`fastem.GaussianMixture`.
    prior : float, default 0
        Rows at the mean of the data that every component gets beside its own: the fit maximises the posterior density
        under Dirichlet priors of the probabilities. None is then 0 but those of kinds that never occur.
    missing : "error"
        No count may be missing, for then the number of trials is not known; the parameter is there to say so.
    weights_init : (K,), optional
    params_init : (K, d), optional
        Starting values of `weights_` and `probabilities_`.

    Attributes
    ----------
    weights_ : (K,)
    probabilities_ : (K, d)
        Of the kinds; those of a component sum to 1.
    trials_ : int
        Of the rows that `sample` draws: the mean of the data's, rounded.
    converged_, n_iter_, stop_reason_, lower_bound_, lower_bounds_, history_, diagnostics_, n_features_in_
        As in :class:`fastem.BernoulliMixture`.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.multinomial(20, p, 300) for p in ([0.7, 0.2, 0.1], [0.1, 0.2, 0.7])]).astype(float)
    >>> model = fastem.MultinomialMixture(2, random_state=0).fit(X)
    >>> np.sort(model.probabilities_[:, 0]).round(1)
    array([0.1, 0.7])
    """

    params_type = MultinomialParams
    _may_miss = False
    __init__ = ColumnMixture.__init__  # the same arguments

    def _validate_parameters(self) -> None:
        super()._validate_parameters()
        if self.missing == "nan":
            raise ValueError(
                "missing is 'nan', and nobody knows the number of trials of a row with a missing count: leave such "
                "rows out or fill them in, or use fastem.PoissonMixture(missing='nan'), which needs no such number"
            )
        check_choice("missing", self.missing, ("error",))

    def _family(self, dtype: Any = np.float64) -> Multinomial:
        return Multinomial(getattr(self, "trials_", 1), self.prior)

    def _check_rows(self, X: np.ndarray, reset: bool) -> None:
        check_counts(X, getattr(self, "feature_names_in_", None))

    def _check_start(self, start: Any) -> None:
        super()._check_start(start)
        self.trials_ = max(1, int(round(float(start.scale.mean.sum()))))
