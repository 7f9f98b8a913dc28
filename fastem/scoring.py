"""What a fitted mixture does with rows: labels, densities, criteria, samples, and a file to keep it in."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem.engine.chunks import chunk, total_weight
from fastem.engine.model import Mixture, MixtureParams
from fastem.ranges import check_weight_range
from fastem.validation import check_data, check_seed, check_weights


class FittedMixture:
    """The methods that read a fitted mixture. A subclass gives its family and its parameters."""

    random_state: Any
    n_jobs: int | None
    means_: np.ndarray

    def _family(self, dtype: Any = np.float64) -> Any:
        raise NotImplementedError

    def _get_params_(self) -> MixtureParams:
        raise NotImplementedError

    def _rows(self, X: np.ndarray, wanted: str) -> np.ndarray:
        model = Mixture(self._family(), self.n_jobs)
        return model.rows(self._get_params_(), chunk(X), wanted)[wanted]

    def _checked(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return check_data(self, X, reset=False)

    def predict(self, X):
        """Most probable component of each row, (n,) int64."""
        return self._rows(self._checked(X), "labels")

    def predict_proba(self, X):
        """Probability of each component given the row, (n, K)."""
        return self._rows(self._checked(X), "responsibilities")

    def score_samples(self, X):
        """Log-density log p(x) of each row in nats, (n,)."""
        return self._rows(self._checked(X), "log_prob")

    def score(self, X, y=None, sample_weight=None):
        """Mean log-density of the rows, in nats per unit weight."""
        total, weight = self._log_likelihood(X, sample_weight)
        return total / weight

    def _log_likelihood(self, X: Any, sample_weight: Any) -> tuple[float, float]:
        X = self._checked(X)
        sample_weight = check_weight_range(check_weights(sample_weight, len(X)), np.dtype(np.float64))
        log_prob = self._rows(X, "log_prob").astype(np.float64, copy=False)
        total = log_prob.sum() if sample_weight is None else log_prob @ sample_weight
        return float(total), total_weight([chunk(X, sample_weight)])

    def _n_parameters(self) -> int:
        params = self._get_params_()
        return self._family().n_parameters(params.components) + len(params.weights) - 1

    def bic(self, X, sample_weight=None):
        """Bayesian information criterion, -2 log L + p log n; the lower the better."""
        total, weight = self._log_likelihood(X, sample_weight)
        return -2 * total + self._n_parameters() * np.log(weight)

    def aic(self, X, sample_weight=None):
        """Akaike information criterion, -2 log L + 2 p; the lower the better."""
        return -2 * self._log_likelihood(X, sample_weight)[0] + 2 * self._n_parameters()

    def icl(self, X, sample_weight=None):
        """Integrated completed likelihood: BIC plus twice the entropy of the responsibilities; lower is better.

        Biernacki, Celeux and Govaert (2000), IEEE Transactions on Pattern Analysis and Machine Intelligence 22.
        """
        X = self._checked(X)
        weight = check_weights(sample_weight, len(X))
        entropy = 0.0
        for first in range(0, len(X), 1 << 16):
            rows = slice(first, first + (1 << 16))
            resp = self._rows(X[rows], "responsibilities").astype(np.float64, copy=False)
            terms = -(resp * np.log(np.where(resp > 0, resp, 1.0))).sum(axis=1)
            entropy += float(terms.sum() if weight is None else terms @ weight[rows])
        return self.bic(X, sample_weight) + 2 * entropy

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
        if n_samples < 1:
            raise ValueError(f"n_samples is {n_samples}; at least 1 is wanted")
        if random_state is None:
            if not hasattr(self, "_sampler"):
                seed = check_seed(self.random_state).randint(np.iinfo(np.int32).max)
                self._sampler = np.random.default_rng(seed)
            rng = self._sampler
        elif isinstance(random_state, np.random.Generator):
            rng = random_state
        else:
            rng = np.random.default_rng(check_seed(random_state).randint(np.iinfo(np.int32).max))
        params = self._get_params_()
        counts = rng.multinomial(n_samples, params.weights / params.weights.sum())
        X = self._family().sample(params.components, counts, rng)
        return X.astype(self.means_.dtype, copy=False), np.repeat(np.arange(len(counts)), counts)

    def save(self, path):
        """Write the fitted model to one `.npz` file; `fastem.load` reads it. See `fastem.persistence.save`."""
        from fastem.persistence import save

        save(self, path)
