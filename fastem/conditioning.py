"""What a fitted Gaussian mixture says of some columns: alone, or given others."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem.columns import check_numeric, nan_for_missing, unmasked
from fastem.data import PIECE, in_memory
from fastem.engine.model import MixtureParams
from fastem.families.gaussian_conditional import Completion, conditional, marginal
from fastem.inits import check_init
from fastem.validation import check_finite


class Conditioning:
    """Methods of a fitted Gaussian mixture that look at some of its columns."""

    covariance_type: str
    n_features_in_: int
    get_params: Any
    _get_params_: Any

    def marginal(self, columns):
        """The mixture of some of the columns, whatever the others are.

        Parameters
        ----------
        columns : sequence of int or str
            Numbers of columns, or their names in the fit, in the order wanted.

        Returns
        -------
        fitted mixture of the same class, with the same number of components

        Raises
        ------
        ValueError
            If there is no such column, or one is named twice.

        Examples
        --------
        >>> import numpy as np, fastem
        >>> X = np.random.default_rng(0).normal([[1.0, 5.0, 9.0]], 1.0, (2000, 3))
        >>> fastem.GaussianMixture().fit(X).marginal([2, 0]).means_.round()
        array([[9., 1.]])
        """
        check_is_fitted(self)
        chosen = column_numbers(self, "columns", columns)
        weights, components = self._get_params_()
        return self._of_columns(weights, marginal(components, self.covariance_type, chosen), chosen)

    def conditional(self, given):
        """The mixture of the other columns where some have known values.

        The weights are p(k | given), the means and covariances those of each component given these values.

        Parameters
        ----------
        given : mapping of columns to numbers
            Columns by number or name, such as ``{"waiting": 80.0}``.

        Returns
        -------
        fitted mixture of the same class over the columns that are not given, in their order

        Raises
        ------
        ValueError
            If there is no such column, no other one is left, or a value is not finite.

        Examples
        --------
        >>> import numpy as np, fastem
        >>> x = np.random.default_rng(0).normal(size=(5000, 1))
        >>> model = fastem.GaussianMixture().fit(np.hstack([x, 3 * x + 0.1 * x**3]))
        >>> model.conditional({0: 2.0}).means_.round()
        array([[7.]])
        """
        check_is_fitted(self)
        if not isinstance(given, Mapping):
            raise ValueError(f"given is {given!r}; a dict is wanted: try given={{0: 1.5}}")
        chosen = column_numbers(self, "given", given)
        row = np.full(self.n_features_in_, np.nan)
        row[chosen] = check_init("given", list(given.values()), (len(chosen),), "one number a column")
        rest = _others(self, chosen, "given")
        weights, components = self._get_params_()
        return self._of_columns(*conditional(weights, components, self.covariance_type, row), rest)

    def predict_columns(self, X, *, given=None, targets=None, return_var=False, return_cov=False):
        """Gaussian mixture regression: the expectation of some columns given others, of every row.

        Parameters
        ----------
        X : array-like (n, g), (n, d)
            Rows of the columns `given` in their order, or of all columns of the fit; a frame may have any columns, and
            those of the names `given` are taken. With ``missing="nan"`` NaN is not known: what is expected is given the
            others of its row.
        given, targets : sequence of int or str, optional
            Columns by number or name. One of the two may be left out: it is then all other columns.
        return_var, return_cov : bool
            Return variances, or covariance matrices, of the targets too; one of the two.

        Returns
        -------
        (n, t) : E[targets | given]; with `return_var` and the variances (n, t), or with `return_cov` and (n, t, t)

        Raises
        ------
        ValueError
            If columns are unknown, named twice, or both given and targets; or X has others, or infinity, or NaN
            without ``missing="nan"``.

        References
        ----------
        Ghahramani and Jordan (1994), Supervised learning from incomplete data via an EM approach, NIPS 6.

        Examples
        --------
        >>> import numpy as np, fastem
        >>> rng = np.random.default_rng(0)
        >>> x = rng.uniform(-3, 3, 3000)
        >>> model = fastem.GaussianMixture(8, random_state=0).fit(np.c_[x, x**2 + rng.normal(0, 0.1, 3000)])
        >>> model.predict_columns([[0.0], [2.0]], given=[0]).round(0).ravel() + 0
        array([0., 4.])
        """
        check_is_fitted(self)
        if given is None and targets is None:
            raise ValueError("given and targets are both None; name the columns of one: try given=[0]")
        if return_var and return_cov:
            raise ValueError("return_var and return_cov are both True; the covariances hold the variances: choose one")
        known = _others(self, column_numbers(self, "targets", targets), "targets") if given is None else None
        known = column_numbers(self, "given", given) if known is None else known
        wanted = _others(self, known, "given") if targets is None else column_numbers(self, "targets", targets)
        if both := sorted(set(known.tolist()) & set(wanted.tolist())):
            raise ValueError(f"column {both[0]} is in given and in targets; leave it out of one")
        rows = _rows_of(self, X, known)
        weights, components = self._get_params_()
        columns = np.concatenate([known, wanted])
        completion = Completion(weights, marginal(components, self.covariance_type, columns), self.covariance_type)
        n, t = len(rows), len(wanted)
        spread = (n, t, t) if return_cov else (n, t) if return_var else (0,)
        expected, variances = np.empty((n, t), rows.dtype), np.empty(spread, rows.dtype)
        step = max(1, PIECE // len(columns))
        for first in range(0, n, step):
            piece = rows[first : first + step]
            for part in completion.parts(np.hstack([piece, np.full((len(piece), t), np.nan)])):
                rows_of_part = first + part.rows  # whose last missing entries are the targets
                expected[rows_of_part] = part.expected()[:, -t:]
                if return_cov:
                    variances[rows_of_part] = part.covariance()[:, -t:, -t:]
                elif return_var:
                    variances[rows_of_part] = part.variance()[:, -t:]
        return (expected, variances) if return_var or return_cov else expected

    def _of_columns(self: Any, weights: np.ndarray, components: Any, columns: np.ndarray) -> Any:
        """A fitted mixture of these columns."""
        arguments = self.get_params(deep=False)
        inits = dict.fromkeys(("weights_init", "means_init", "precisions_init", "callback"))
        if isinstance(self.prior, dict):
            inits["prior"] = {name: _cut(value, columns) for name, value in self.prior.items()}
        other = type(self)(**arguments | inits | {"n_components": len(weights)})
        other.n_features_in_ = len(columns)
        if hasattr(self, "feature_names_in_"):
            other.feature_names_in_ = self.feature_names_in_[columns]
        other._set_params_(MixtureParams(weights, components), self.means_.dtype)
        other.converged_, other.n_iter_, other.stop_reason_ = self.converged_, self.n_iter_, self.stop_reason_
        # Of other rows than these columns there is no likelihood.
        other.lower_bound_, other.lower_bounds_, other.history_ = np.nan, [], self.history_[:0]
        other.diagnostics_ = {"start": "columns of a fitted mixture", "restarted": [], "dropped": [], "floored": []}
        return other


def _cut(value: Any, columns: np.ndarray) -> Any:
    """Of a number of the prior's, or an array over the columns, what these columns have."""
    array = np.asarray(value)
    return array[np.ix_(*[columns] * array.ndim)] if array.ndim else value


def column_numbers(estimator: Any, parameter: str, columns: Any) -> np.ndarray:
    """Numbers of the columns of the fit that are given by number or name."""
    d = estimator.n_features_in_
    names = [str(name) for name in getattr(estimator, "feature_names_in_", [])]
    listed = list(columns) if isinstance(columns, Iterable) and not isinstance(columns, str) else [columns]
    found: list[int] = []
    for column in listed:
        if isinstance(column, str) and column in names:
            j = names.index(column)
        elif isinstance(column, int | np.integer) and not isinstance(column, bool) and -d <= column < d:
            j = int(column) % d
        else:
            known = f"0 to {d - 1}" + (f", or {', '.join(map(repr, names))}" if names else "")
            raise ValueError(f"{parameter} has {column!r}; columns of the fit are wanted: choose of {known}")
        if j in found:
            raise ValueError(f"{parameter} has the column {column!r} twice; leave one out")
        found.append(j)
    if not found:
        raise ValueError(f"{parameter} is empty; at least one column is wanted")
    return np.array(found)


def _others(estimator: Any, columns: np.ndarray, parameter: str) -> np.ndarray:
    rest = np.setdiff1d(np.arange(estimator.n_features_in_), columns)
    if not len(rest):
        raise ValueError(f"{parameter} has all {len(columns)} columns of the fit; leave at least one out")
    return rest


def _rows_of(estimator: Any, X: Any, columns: np.ndarray) -> np.ndarray:
    """The rows of X in these columns of the fit, as float32 or float64."""
    if not (in_memory(X) or (hasattr(X, "shape") and hasattr(X, "dtype"))):
        raise ValueError(
            f"X is a {type(X).__name__}, which is read in chunks, and here rows in memory are wanted: read them first, "
            "e.g. with numpy.load or pandas.read_parquet"
        )
    names = getattr(estimator, "feature_names_in_", None)
    if hasattr(X, "columns") and names is not None:
        if absent := [names[j] for j in columns if names[j] not in X.columns]:
            raise ValueError(f"X has no column {absent[0]!r}; a frame with the columns that are given is wanted")
        X = X[[names[j] for j in columns]]
    check_numeric(X)
    rows = np.asarray(unmasked("X", X, estimator.missing))
    rows = nan_for_missing(rows) if rows.dtype == object else rows
    try:
        rows = rows if rows.dtype == np.float32 else rows.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"X is no array of numbers ({error}). Give an array, a list of rows or a frame") from error
    d = estimator.n_features_in_
    if rows.ndim != 2 or rows.shape[1] not in (len(columns), d):
        raise ValueError(
            f"X has shape {rows.shape}; (n, {len(columns)}) is wanted, the columns that are given in their order, or "
            f"(n, {d}), all columns of the fit"
        )
    rows = rows if rows.shape[1] == len(columns) else rows[:, columns]
    check_finite(rows, None if names is None else names[columns], estimator.missing)
    return rows
