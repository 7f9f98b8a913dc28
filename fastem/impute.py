"""Missing entries filled by a mixture of Gaussians."""

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from fastem.data import opened
from fastem.estimator import store
from fastem.families.gaussian_conditional import Completion
from fastem.far_rows import warn_of_fill_values
from fastem.frames import asks_for_frames, check_no_frames, in_container
from fastem.incomplete import check_imputer, completion_of, fit_scaled, refitted
from fastem.mixture import GaussianMixture
from fastem.scoring import generator
from fastem.sources import check_another_file, open_output
from fastem.validation import check_choice, check_number

SHARED = (
    "n_components covariance_type tol reg_covar max_iter n_init init_params random_state verbose n_jobs callback prior "
    "accelerate"
).split()
"""Parameters that are those of the mixture."""


class GaussianImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Fills missing entries (NaN) with their expectation given the observed ones, or with draws.

    A mixture of Gaussians is fitted to the incomplete rows by exact expectation-maximization; nothing is filled before.
    With one component that is a linear regression of the missing columns on the observed ones, whichever they are.

    Parameters
    ----------
    n_components : int or "auto", default 1
        "auto" is a fifth of the root of the rows' number (or weight), from 1 to 10 and at most one a column.
    covariance_type : {"full", "tied", "diag", "spherical"}, default "full"
    tol, max_iter, n_init, init_params, verbose, n_jobs, callback
        Those of :class:`fastem.GaussianMixture`, but that the start is one k-means: others hardly fill better.
    reg_covar : float, default 0.005
        Added to the variances, in units of the variance of each column as a whole (to the nearest power of 4): a ridge
        prior worth half a percent of the rows, by which regressions on many columns, or on some that determine each
        other, stay sound whatever their units (Honaker, King and Blackwell 2011). Columns that are sums of others are
        filled better with less; 0 is maximum likelihood. For "spherical" one unit serves all columns.
    prior : "auto", None, "default", "data" or dict, default "auto"
        That of :class:`fastem.GaussianMixture`. "auto" is None for one component, and "data" for several, in which
        regressions on few rows would follow their noise.
    accelerate : {"squarem", "anderson"} or None, default None
        As in :class:`fastem.GaussianMixture`: for many gaps. With few, or a prior, EM ends in some steps.
    random_state : int, RandomState or None
    add_indicator : bool, default False
        `transform` appends columns of 0 and 1 that say which entries were missing, for columns that miss any in `fit`.

    Attributes
    ----------
    mixture_ : GaussianMixture
        Fitted, in the units of X.
    indicator_features_ : (m,) int
        Columns with missing entries in `fit`.
    scaled_ : bool
        Whether `reg_covar` is in units of the variances: not so after :meth:`from_mixture`.
    n_iter_ : int ; converged_ : bool
    n_features_in_ : int ; feature_names_in_ : (d,)

    References
    ----------
    Ghahramani and Jordan (1994), Supervised learning from incomplete data via an EM approach, NIPS 6.
    Little and Rubin (2002), Statistical Analysis with Missing Data.
    Honaker, King and Blackwell (2011), Amelia II: a program for missing data, Journal of Statistical Software 45(7).

    Examples
    --------
    >>> import numpy as np, fastem
    >>> X = np.array([[1.0, 2.0], [2.0, 4.1], [3.0, 5.9], [4.0, np.nan], [np.nan, 10.0]])
    >>> fastem.GaussianImputer().fit_transform(X).round(1)
    array([[ 1. ,  2. ],
           [ 2. ,  4.1],
           [ 3. ,  5.9],
           [ 4. ,  8. ],
           [ 4.9, 10. ]])
    """

    def __init__(
        self,
        n_components=1,
        *,
        covariance_type="full",
        tol=1e-4,
        reg_covar=5e-3,
        max_iter=1000,
        n_init=1,
        init_params="kmeans",
        random_state=None,
        verbose=0,
        n_jobs=None,
        callback=None,
        add_indicator=False,
        prior="auto",
        accelerate=None,
    ):
        store(self, locals())

    @classmethod
    def from_mixture(cls, mixture, *, add_indicator=False):
        """An imputer that fills with a fitted :class:`fastem.GaussianMixture`.

        Its `reg_covar` stays in squares of X's units, but for a later `fit`.
        """
        if not isinstance(mixture, GaussianMixture):
            raise ValueError(f"mixture is a {type(mixture).__name__}; a fitted fastem.GaussianMixture is wanted")
        check_is_fitted(mixture)
        imputer = cls(**{name: getattr(mixture, name) for name in SHARED}, add_indicator=add_indicator)
        imputer.n_features_in_ = mixture.n_features_in_
        if hasattr(mixture, "feature_names_in_"):
            imputer.feature_names_in_ = mixture.feature_names_in_
        return imputer._with(mixture, np.arange(mixture.n_features_in_), scaled=False)

    def fit(self, X, y=None, sample_weight=None):
        """Fit the mixture to rows with missing entries.

        Parameters
        ----------
        X : array-like (n, d), or a source
            Rows, with NaN where an entry is missing; all that `GaussianMixture.fit` takes.
        y : ignored
        sample_weight : array-like (n,), optional
            Weight 2 counts a row twice, weight 0 leaves it out.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a column has no observed entry, or X, weights or parameters are not what they should be.
        """
        check_choice("add_indicator", self.add_indicator, (True, False))
        check_imputer(self._mixture())
        with self._opened(X, sample_weight, reset=True) as data:
            warn_of_fill_values(self, next(iter(data.pieces())), data.rows is None)
            mixture, missing = fit_scaled(self._mixture(), data, getattr(self, "feature_names_in_", None))
        return self._with(mixture, np.flatnonzero(missing), scaled=True)

    def transform(self, X, out=None):
        """X with the expectation of every missing entry given the observed ones in its place.

        A row with nothing observed gets the mean. Observed entries stay as they are, to the last bit.

        Parameters
        ----------
        X : array-like (n, d), or a source
        out : array, or path to a .npy, .csv or .parquet file, optional
            Where the rows go, chunk by chunk; nothing of the data's size is then held in memory.

        Returns
        -------
        (n, d), with `add_indicator` (n, d + m), or `out`
        """
        check_no_frames(self, out)
        return self._written(X, self._completion().filled, out, self.add_indicator)

    def sample(self, X, random_state=None, out=None):
        """X with a draw from the density of the missing entries given the observed ones in their place.

        Parameters
        ----------
        X : array-like (n, d), or a source
        random_state : int, Generator, RandomState or None
            None goes on in one stream that began at the estimator's own `random_state`: two calls differ.
        out : as in :meth:`transform`

        Returns
        -------
        (n, d), a frame where `set_output` asks for one, or `out`
        """
        check_no_frames(self, out)
        filled = self._written(X, self._drawing(random_state), out)
        return filled if out is not None else in_container(self, filled, X)

    def multiple_impute(self, X, m=5, *, random_state=None, bootstrap=False, sample_weight=None):
        """Several draws of the missing entries, for what depends on how uncertain they are (Rubin 1987).

        Parameters
        ----------
        X : array-like (n, d)
        m : int, default 5
            How many.
        random_state : as in :meth:`sample`
        bootstrap : bool, default False
            Each draw is from a mixture of its own, fitted to X with its rows resampled, which adds the uncertainty of
            the parameters; else all are from `mixture_`.
        sample_weight : array-like (n,), optional
            Weights of the rows, for `bootstrap`: rows are drawn alike, and keep their weights.

        Returns
        -------
        (m, n, d), or a list of m frames where `set_output` asks for them
        """
        check_number("m", m, Integral, 1, 5)
        check_choice("bootstrap", bootstrap, (True, False))
        completion = self._completion()
        with self._opened(X, sample_weight) as data:
            if data.rows is not None:
                raise ValueError("multiple_impute takes rows in memory; call sample(X, out=...) several times instead")
            (whole,) = data.chunks
        filled, scaled = np.empty((m, *whole.X.shape), whole.X.dtype), getattr(self, "scaled_", True)
        for i, rng in enumerate(generator(self, random_state).spawn(m)):
            if bootstrap:
                completion = completion_of(refitted(self._mixture(), self.mixture_, whole, rng, scaled))
            filled[i] = completion.drawn(whole.X, *rng.spawn(2))
        return [in_container(self, one, X) for one in filled] if asks_for_frames(self) else filled

    def missing_indicator(self, X):
        """Which entries of X are missing, (n, d) bool."""
        check_is_fitted(self)
        with self._opened(X) as data:
            return np.concatenate([np.isnan(piece.X) for piece in data.pieces()])

    def get_feature_names_out(self, input_features=None):
        """Names of the columns of `transform`."""
        names = super().get_feature_names_out(input_features)
        if not self.add_indicator:
            return names
        indicators = [f"missingindicator_{names[j]}" for j in self.indicator_features_]
        return np.array([*names, *indicators], dtype=object)

    def save(self, path):
        """Write the fitted imputer to one `.npz` file; `fastem.load` reads it. See `fastem.persistence.save`."""
        from fastem.persistence import save

        save(self, path)

    def __sklearn_tags__(self):
        """Tags for scikit-learn: NaN is data here."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # Data in, data out.

    missing = "nan"

    def _encode(self, X: Any, reset: bool, sample_weight: Any = None) -> Any:
        return X

    def _coding(self, X: Any, sample_weight: Any, reset: bool) -> None:
        """A Gaussian's columns are numbers."""

    def _check_rows(self, X: np.ndarray, reset: bool) -> None:
        """A Gaussian has a density for every number."""

    def _opened(self, X: Any, sample_weight: Any = None, *, reset: bool = False) -> Any:
        on_rows = None if reset else getattr(self.callback, "on_rows", None)  # of a fit, the mixture tells
        return opened(self, X, sample_weight, reset=reset, on_rows=on_rows)

    def _completion(self) -> Completion:
        check_is_fitted(self)
        return completion_of(self.mixture_)

    def _drawing(self, random_state: Any) -> Callable:
        completion, streams = self._completion(), generator(self, random_state).spawn(2)
        return lambda X: completion.drawn(X, *streams)

    def _written(self, X: Any, complete: Callable, out: Any, indicator=False) -> Any:
        """The rows of X, completed, as an array, or written to `out` chunk by chunk."""
        with self._opened(X) as data:
            blocks = (self._block(piece.X, complete, indicator) for piece in data.pieces())
            if out is None:
                return np.concatenate(list(blocks))
            check_another_file(X, out)
            names = self.get_feature_names_out()[: None if indicator else data.n_features]
            with open_output(out, data.n_rows, len(names), data.dtype, list(names)) as output:
                for block in blocks:
                    output.write(block)
        return out

    def _block(self, X: np.ndarray, complete: Callable, indicator: bool) -> np.ndarray:
        filled = complete(X)
        if not indicator:
            return filled
        return np.hstack([filled, np.isnan(X[:, self.indicator_features_]).astype(X.dtype)])

    # Mixtures.

    def _mixture(self) -> GaussianMixture:
        return GaussianMixture(**{name: getattr(self, name) for name in SHARED}, missing="nan")

    def _with(self, mixture: GaussianMixture, indicated: np.ndarray, scaled: bool) -> Any:
        self.mixture_, self.indicator_features_, self.scaled_ = mixture, indicated, scaled
        self.n_iter_, self.converged_ = mixture.n_iter_, mixture.converged_
        return self
