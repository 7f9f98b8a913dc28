"""What a fitted mixture does with rows: labels, densities, criteria, samples, and a file to keep it in."""

from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from scipy.special import entr
from sklearn.utils.validation import check_is_fitted

from fastem.data import opened
from fastem.engine.model import Mixture, MixtureParams
from fastem.inits import check_init
from fastem.sources import check_another_file, open_output
from fastem.validation import check_number, check_seed


class Totals(NamedTuple):
    """Sums over rows: log-likelihood, weight, number, and entropy of the responsibilities where it was asked for."""

    log_likelihood: float
    weight: float
    n_rows: int
    entropy: float


class FittedMixture:
    """The methods that read a fitted mixture. A subclass gives its family and its parameters."""

    random_state: Any
    n_jobs: int | None
    weights_: np.ndarray

    def _family(self, dtype: Any = np.float64) -> Any:
        raise NotImplementedError

    def _get_params_(self) -> MixtureParams:
        raise NotImplementedError

    def _known_family(self, dtype: Any = np.float64) -> Any:
        """The family, with what it learned of the data."""
        family = self._family(dtype)
        if hasattr(self, "prior_mean_"):
            family.prior_mean = self.prior_mean_
        return family

    def _proportions(self, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """`weights_` (K,) in float64. Those of float32 sum to 1 but for 1e-7, by which a warm start would fall."""
        weights = check_init("weights_", self.weights_, np.shape(self.weights_) if shape is None else shape)
        total = weights.sum() if np.asarray(self.weights_).dtype == np.float32 else 1.0
        return weights / total if total > 0 else weights

    def _encode(self, X: Any, reset: bool, sample_weight: Any = None) -> Any:
        """X as numbers; `reset` where they are those of a new fit."""
        return X

    def _coding(self, X: Any, sample_weight: Any, reset: bool) -> Any:
        """What makes numbers of the columns of a source; None where they hold the numbers that are wanted."""
        return None

    def _check_rows(self, X: np.ndarray, reset: bool) -> None:
        """`RowError` where the family has no density for a value; the Gaussian has one for all.

        With `reset` they are the first rows of a fit, and of a source that can be read only once.
        """

    def _opened(self, X: Any, sample_weight: Any = None, y: Any = None, *, reset: bool = False, **options: Any) -> Any:
        options = options or {"on_rows": getattr(getattr(self, "callback", None), "on_rows", None)}
        return opened(self, X, sample_weight, reset=reset, **options)

    def _rows(self, X: Any, wanted: str, out: Any, column: str, spread: Callable[[Iterator], Iterator] = iter) -> Any:
        """What is `wanted` of each row, as an array, or written to `out` chunk by chunk, as `spread` gives it."""
        check_is_fitted(self)
        model, params = Mixture(self._known_family(), self.n_jobs), self._get_params_()
        with self._opened(X) as data:
            if out is None and data.rows is None:
                return model.rows(params, data.chunks[0], wanted)[wanted]
            blocks = (model.rows(params, piece, wanted)[wanted] for piece in data.pieces())
            if out is None:
                return np.concatenate(list(blocks))
            check_another_file(X, out)
            width = len(params.weights) if wanted == "responsibilities" else None
            dtype = np.int64 if wanted == "labels" else data.dtype
            with open_output(out, data.n_rows, width, dtype, column) as output:
                for block in spread(blocks):
                    output.write(block)
        return out

    def predict(self, X, out=None):
        """Most probable component of each row.

        Parameters
        ----------
        X : array-like (n, d), or a source
            Rows; all that `fit` takes.
        out : array (n,), or path to a .npy, .csv or .parquet file, optional
            Where the labels go, chunk by chunk; nothing of the data's size is then held in memory.

        Returns
        -------
        (n,) int64, or `out`
        """
        return self._rows(X, "labels", out, "label")

    def predict_proba(self, X, out=None):
        """Probability of each component given the row, (n, K), or `out`, as in :meth:`predict`."""
        return self._rows(X, "responsibilities", out, "proba")

    def score_samples(self, X, out=None):
        """Log-density log p(x) of each row in nats, (n,), or `out`, as in :meth:`predict`."""
        return self._rows(X, "log_prob", out, "log_density")

    def score(self, X, y=None, sample_weight=None):
        """Mean log-density of the rows, in nats per unit weight."""
        sums = self._totals(X, sample_weight)
        return sums.log_likelihood / sums.weight

    def _totals(self, X: Any, sample_weight: Any, entropy: bool = False) -> Totals:
        """Sums over the rows, in one pass."""
        check_is_fitted(self)
        model, params = Mixture(self._known_family(), self.n_jobs), self._get_params_()
        total = weight = spread = 0.0
        n_rows = 0
        wanted = ("log_prob", "responsibilities") if entropy else ("log_prob",)
        with self._opened(X, sample_weight) as data:
            for piece in data.pieces():
                found = model.rows(params, piece, *wanted)
                log_prob, w = found["log_prob"], piece.sample_weight
                if w.size:
                    live = w > 0  # 0 times the -inf of an impossible row is not a number
                    total += float(log_prob[live].astype(np.float64, copy=False) @ w[live])
                else:
                    total += float(log_prob.sum(dtype=np.float64))
                weight, n_rows = weight + float(w.sum() if w.size else len(log_prob)), n_rows + len(log_prob)
                if entropy:
                    each = entr(found["responsibilities"].astype(np.float64, copy=False)).sum(axis=1)
                    spread += float(each @ w if w.size else each.sum())
        return Totals(total, weight, n_rows, spread)

    def _n_parameters(self) -> int:
        params, family, fixed = self._get_params_(), self._family(), getattr(self, "fixed_", ())
        weights = 0 if "weights" in fixed else len(params.weights) - 1
        held = family.n_held(params.components, fixed) if set(fixed) - {"weights"} else 0
        return family.n_parameters(params.components) + weights - held

    def bic(self, X, sample_weight=None):
        """Bayesian information criterion, -2 log L + p log n; the lower the better."""
        return self._bic(self._totals(X, sample_weight))

    def _bic(self, sums: Totals) -> float:
        return -2 * sums.log_likelihood + self._n_parameters() * np.log(sums.weight)

    def aic(self, X, sample_weight=None):
        """Akaike information criterion, -2 log L + 2 p; the lower the better."""
        return self._aic(self._totals(X, sample_weight))

    def _aic(self, sums: Totals) -> float:
        return -2 * sums.log_likelihood + 2 * self._n_parameters()

    def icl(self, X, sample_weight=None):
        """Integrated completed likelihood: BIC plus twice the entropy of the responsibilities; lower is better.

        Biernacki, Celeux and Govaert (2000), IEEE Transactions on Pattern Analysis and Machine Intelligence 22.
        """
        sums = self._totals(X, sample_weight, entropy=True)
        return self._bic(sums) + 2 * sums.entropy

    def sample(self, n_samples=1, random_state=None):
        """Rows drawn from the fitted density, and the component of each.

        Parameters
        ----------
        n_samples : int
        random_state : int, Generator, RandomState or None
            None goes on in one stream that began at the estimator's own `random_state`: two calls differ.

        Returns
        -------
        X (n_samples, d), labels (n_samples,) : rows ordered by component.
        """
        check_is_fitted(self)
        check_number("n_samples", n_samples, Integral, 1, 100)
        rng = generator(self, random_state)
        params = self._get_params_()
        counts = rng.multinomial(n_samples, params.weights / params.weights.sum())
        X = self._family().sample(params.components, counts, rng)
        return X.astype(self.weights_.dtype, copy=False), np.repeat(np.arange(len(counts)), counts)

    def save(self, path):
        """Write the fitted model to one `.npz` file; `fastem.load` reads it. See `fastem.persistence.save`."""
        from fastem.persistence import save

        save(self, path)


def generator(estimator: Any, random_state: Any) -> np.random.Generator:
    """Random numbers by `random_state`; None goes on in one stream that began at the estimator's own."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    if random_state is not None:
        return np.random.default_rng(check_seed(random_state).randint(np.iinfo(np.int32).max))
    if not hasattr(estimator, "_sampler"):
        estimator._sampler = np.random.default_rng(check_seed(estimator.random_state).randint(np.iinfo(np.int32).max))
    return estimator._sampler
