"""What the mixtures of regressions share: X and y as one table, starting lines, predictions."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem.columns import check_column
from fastem.engine.model import MixtureParams
from fastem.families.regression import RegressionFamily
from fastem.family_mixture import FamilyMixture
from fastem.inits import check_init
from fastem.labels import start_from
from fastem.ranges import check_scale
from fastem.responses import Labelled, both, opened_with_response
from fastem.start_lines import starting_lines
from fastem.starts import Start, spread
from fastem.validation import check_choice, check_data, check_seed


class RegressionMixture(FamilyMixture):
    """Base of the mixtures of regressions. A subclass names its family and its size column."""

    fields: tuple[str, ...] = ("coef", "intercept")
    size_name: str | None = None
    _responds = True
    _learn_prior: Callable
    _recall_prior: Callable
    fit_intercept: bool
    coef_: np.ndarray
    intercept_: np.ndarray
    centre_: np.ndarray
    spread_: np.ndarray
    """(p + 1, p + 2): mean and covariance of the rows [x, y] that the start was made from."""

    # Fitting.

    def _opened(self, X: Any, sample_weight: Any = None, y: Any = None, *, reset: bool = False, **options: Any) -> Any:
        if isinstance(X, Labelled):
            X, y = X
        options = options or {"on_rows": getattr(self.callback, "on_rows", None)}
        return opened_with_response(self, X, y, sample_weight, reset=reset, **options)

    def _validate_parameters(self) -> None:
        super()._validate_parameters()
        check_choice("fit_intercept", self.fit_intercept, (True, False))

    @property
    def _holdable(self) -> tuple[str, ...]:
        return self.fields

    def _check_algorithm(self, algorithm: str, held_out: Any = None) -> None:
        super()._check_algorithm(algorithm, held_out)
        if held_out is not None:
            raise ValueError("held_out is given; mixtures of regressions do not score held-out rows: leave it out")

    def _size(self) -> int | None:
        """The column of X that holds exposures or trials."""
        return None if self.size_name is None else check_column(self, self.size_name)

    def _make_family(self, dtype: Any) -> RegressionFamily:
        raise NotImplementedError

    def _family(self, dtype: Any = np.float64) -> RegressionFamily:
        family = self._make_family(dtype)
        family.centre = np.asarray(getattr(self, "centre_", np.zeros(0)), float)
        if family.centre.size != getattr(self, "n_features_in_", -1) + 1:
            family.centre = np.zeros(0)  # that of an earlier fit
        elif hasattr(self, "spread_"):
            family.scale = spread(self.spread_[:, 0], self.spread_[:, 1:])
            self._recall_prior(family)
        return family

    def _check_start(self, start: Start) -> None:
        check_scale(start.sample.X, self)
        family = start.model.family
        family.scale = start.scale
        self.spread_ = np.column_stack([start.scale.mean, start.scale.covariance])
        self.centre_ = family.centre = family.centred_at(start.scale.mean)
        self._learn_prior(start)

    def _start(self, start: Start, random_state: np.random.RandomState, known: Any = None) -> MixtureParams:
        if known:
            params = start_from(start, known, random_state)
        else:
            params = starting_lines(self.init_params, start, random_state)
        return start.floored(self._apply_inits(params, start) or params)

    def _given(self, start: Start) -> Any:
        given, k, p = self.params_init, start.k, start.T.shape[1] - 1
        shapes = {name: (k, p) if name == "coef" else (k,) for name in self.fields}
        if not isinstance(given, Mapping) or set(given) != set(self.fields):
            raise ValueError(
                f"params_init is {', '.join(map(repr, given)) if isinstance(given, Mapping) else type(given).__name__};"
                f" a dict with {', '.join(map(repr, self.fields))} is wanted, of what the fitted attributes hold"
            )
        arrays = {name: check_init(f"params_init[{name!r}]", given[name], shape) for name, shape in shapes.items()}
        components = self._of_attributes(arrays)
        start.model.family.prepare(components, np.dtype(float), np.full(k, 1.0 / k))
        return components

    # Parameters about the centre of the data, and attributes about 0.

    def _of_attributes(self, arrays: Mapping[str, np.ndarray]) -> Any:
        coef, intercept = arrays["coef"], arrays["intercept"]
        if self._size() is not None and coef[:, self._size()].any():
            raise ValueError(f"coef is not 0 in the column that holds the {self.size_name}. Give 0 there")
        centre = self._family().centre
        if not self.fit_intercept and np.any(intercept):
            raise ValueError("intercept is not 0, and fit_intercept=False. Give 0, or fit_intercept=True")
        if centre.size:
            intercept = intercept + coef @ centre[:-1] - centre[-1]
        rest = (arrays[name] for name in self.fields[2:])
        return self.params_type(coef, intercept, *rest)

    def _set_params_(self, params: MixtureParams, dtype: np.dtype) -> None:
        self.weights_ = params.weights.astype(dtype)
        coef, levels, *rest = params.components
        centre = self._family().centre
        self.coef_ = np.array(coef)
        self.intercept_ = levels + centre[-1] - coef @ centre[:-1] if centre.size else np.array(levels)
        for name, array in zip(self.fields[2:], rest, strict=True):
            setattr(self, f"{name}_", np.array(array))

    def _get_params_(self) -> MixtureParams:
        arrays = {name: np.array(getattr(self, f"{name}_"), np.float64, order="C") for name in self.fields}
        return MixtureParams(self._proportions(), self._of_attributes(arrays))

    # What a fitted model says.

    def predict_components(self, X):
        """Mean of y in each component, (n, K), for rows X (n, p) in memory."""
        check_is_fitted(self)
        X = check_data(self, X, reset=False).astype(np.float64, copy=False)
        family, params = self._family(), self._get_params_().components
        centre = family.centre[:-1] if family.centre.size else 0.0
        size = self._size()
        m = np.ones((len(X), 1)) if size is None else X[:, [size]]
        return family.mean((X - centre) @ params.coef.T + params.levels, m)

    def predict(self, X):  # type: ignore[override]
        """Mean of y under the mixture, (n,), for rows X (n, p) in memory; of trials, the expected successes."""
        return self.predict_components(X) @ np.asarray(self.weights_, float)

    def predict_labels(self, X, y=None, out=None):
        """Most probable component of each row, (n,), or `out`; see :meth:`GaussianMixture.predict`."""
        return super().predict(both("predict_labels", X, y), out)

    def fit_predict(self, X, y=None, sample_weight=None):
        """Fit, then the most probable component of each row."""
        return self.fit(X, y, sample_weight=sample_weight).predict_labels(X, y)

    def predict_proba(self, X, y=None, out=None):  # type: ignore[override]
        """Probability of each component given x and y, (n, K), or `out`."""
        return super().predict_proba(both("predict_proba", X, y), out)

    def score_samples(self, X, y=None, out=None):  # type: ignore[override]
        """Log p(y | x) of each row in nats, (n,), or `out`."""
        return super().score_samples(both("score_samples", X, y), out)

    def score(self, X, y=None, sample_weight=None):
        """Mean of log p(y | x), in nats per unit weight; not R^2."""
        return super().score(both("score", X, y), sample_weight=sample_weight)

    def bic(self, X, y=None, sample_weight=None):  # type: ignore[override]
        """Bayesian information criterion, -2 log L + p log n; the lower the better."""
        return super().bic(both("bic", X, y), sample_weight)

    def aic(self, X, y=None, sample_weight=None):  # type: ignore[override]
        """Akaike information criterion, -2 log L + 2 p; the lower the better."""
        return super().aic(both("aic", X, y), sample_weight)

    def icl(self, X, y=None, sample_weight=None):  # type: ignore[override]
        """Integrated completed likelihood: BIC plus twice the entropy of the responsibilities; lower is better."""
        return super().icl(both("icl", X, y), sample_weight)

    def sample(self, X, random_state=None):  # type: ignore[override]
        """Y drawn for each row of X (n, p), and the component that it came from.

        Parameters
        ----------
        X : array-like (n, p)
        random_state : int, Generator, RandomState or None

        Returns
        -------
        y (n,), labels (n,)
        """
        means, params = self.predict_components(X), self._get_params_()
        rng = random_state
        if not isinstance(rng, np.random.Generator):
            rng = np.random.default_rng(check_seed(random_state).randint(np.iinfo(np.int32).max))
        labels = rng.choice(len(params.weights), len(means), p=params.weights / params.weights.sum())
        size = self._size()
        m = np.ones(len(means)) if size is None else np.asarray(X, float)[:, size]
        y = self._family().draw(means[np.arange(len(means)), labels], m, labels, params.components, rng)
        return y, labels
