"""When a fit ends, and what it says about that: convergence, caps, callbacks, warm starts, collapse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cases
import numpy as np
import pytest
import reference
from cases import OVERLAPPING, SEPARATED, fit, fitted, starting_from
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

import fastem


def test_converged_is_honest_at_the_cap() -> None:
    X, _, start = cases.problem(OVERLAPPING, "full")
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        estimator = starting_from(start, "full", max_iter=3).fit(X)
    assert (estimator.converged_, estimator.stop_reason_, estimator.n_iter_) == (False, "max_iter", 3)
    assert estimator.lower_bound_ == pytest.approx(estimator.lower_bounds_[-1], rel=1e-2)


def test_a_converged_fit_is_within_tol_of_its_limit() -> None:
    """`tol` is the gain still to come, not the last one: on overlapping data the two differ a hundredfold."""
    X, _, start = cases.problem(OVERLAPPING, "full")
    limit = fit(starting_from(start, "full", max_iter=1000, n_jobs=1), X)
    best = reference.log_likelihood(X, fitted(limit), "full") / len(X)
    for tol in (1e-3, 1e-4):
        estimator = fit(starting_from(start, "full", tol=tol), X, converges=True)
        assert (estimator.converged_, estimator.stop_reason_) == (True, "converged")
        # Aitken's prediction is good to a factor, not exact.
        assert best - estimator.score(X) < 10 * tol


def test_history_holds_every_iteration() -> None:
    X, sample_weight, start = cases.problem(cases.WEIGHTED, "full")
    assert sample_weight is not None
    estimator = fit(starting_from(start, "full", max_iter=7), X, sample_weight)
    assert estimator.history_.dtype.names == ("log_likelihood", "seconds")
    assert len(estimator.history_) == estimator.n_iter_ == 7
    _, expected = reference.em(X, start, "full", 7, sample_weight)
    np.testing.assert_allclose(estimator.history_["log_likelihood"], expected, rtol=1e-10)
    np.testing.assert_allclose(estimator.lower_bounds_, np.array(expected) / sample_weight.sum(), rtol=1e-10)
    seconds = estimator.history_["seconds"]
    assert seconds[0] > 0 and (np.diff(seconds) >= 0).all()


def test_a_callback_sees_every_iteration_and_can_stop() -> None:
    X, _, start = cases.problem(OVERLAPPING, "full")
    seen = []

    def callback(progress) -> bool:  # noqa: ANN001
        seen.append(progress)
        return progress.n_iter == 4

    with pytest.warns(ConvergenceWarning):
        estimator = starting_from(start, "full", callback=callback, max_iter=50).fit(X)
    assert [progress.n_iter for progress in seen] == [1, 2, 3, 4]
    assert (estimator.n_iter_, estimator.stop_reason_, estimator.converged_) == (4, "callback", False)
    assert [progress.log_likelihood for progress in seen] == estimator.history_["log_likelihood"].tolist()
    assert all(progress.weight == len(X) and progress.rows_per_second > 0 for progress in seen)
    assert np.isinf(seen[0].remaining) and seen[-1].remaining > 0
    gains = np.diff(estimator.history_["log_likelihood"]) / len(X)
    np.testing.assert_allclose([progress.gain for progress in seen[1:]], gains, rtol=1e-6, atol=1e-12)


def test_an_error_in_a_callback_comes_out() -> None:
    X, _, start = cases.problem(OVERLAPPING, "full")

    def callback(progress) -> bool:  # noqa: ANN001
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        starting_from(start, "full", callback=callback).fit(X)


def test_max_time_ends_a_fit() -> None:
    X, _, start = cases.problem(OVERLAPPING, "full")
    with pytest.warns(ConvergenceWarning, match="max_time"):
        estimator = starting_from(start, "full", max_time=0.0, max_iter=10**6).fit(X)
    assert estimator.stop_reason_ == "max_time" and not estimator.converged_
    assert 1 <= estimator.n_iter_ < 10**6


def test_warm_start_goes_on_where_the_last_fit_ended() -> None:
    X, _, start = cases.problem(OVERLAPPING, "full")
    whole = fit(starting_from(start, "full", max_iter=6), X)
    parts = fit(starting_from(start, "full", max_iter=3, warm_start=True), X)
    parts = fit(parts, X)
    cases.assert_same(fitted(parts), fitted(whole), 1e-9)
    plain = fastem.GaussianMixture(4, random_state=0, warm_start=True)
    first = fit(plain, X).lower_bound_
    assert fit(plain, X).lower_bound_ >= first - 1e-12


def test_a_warm_start_in_more_digits_does_not_fall() -> None:
    """Weights of float32 sum to 1 but for 3e-8 a component, by which the first log-likelihood was too high."""
    X, _, _ = cases.problem(SEPARATED, "full")
    model = fit(fastem.GaussianMixture(3, random_state=0, warm_start=True), X.astype(np.float32))
    model.weights_ = model.weights_ * np.float32(1 + 1e-6)
    assert fit(model, X, converges=True).converged_ and model.means_.dtype == np.float64


def test_the_kind_of_fitted_covariances_is_known_where_shapes_are_alike() -> None:
    X = cases.problem(SEPARATED, "full")[0][:, :2]
    for kind, other in (("tied", "diag"), ("diag", "tied")):
        model = fit(fastem.GaussianMixture(2, covariance_type=kind, random_state=0, warm_start=True), X)
        model.set_params(covariance_type=other)
        with pytest.raises(
            ValueError, match=rf"that of covariance_type='{kind}', and covariance_type is '{other}': set"
        ):
            model.predict(X)
        fresh = fit(fastem.GaussianMixture(2, covariance_type=other, random_state=0), X)
        assert fit(model, X).lower_bound_ == pytest.approx(fresh.lower_bound_, abs=1e-4)


def test_a_second_fit_without_warm_start_forgets_the_first() -> None:
    X, _, start = cases.problem(OVERLAPPING, "full")
    estimator = starting_from(start, "full", max_iter=3)
    first = fitted(fit(estimator, X))
    fit(estimator, X[:100])
    again = fitted(fit(estimator, X))
    for a, b in zip(first, again):
        np.testing.assert_array_equal(a, b)


def test_more_inits_are_never_worse() -> None:
    X, _, _ = cases.problem(OVERLAPPING, "full")
    one, five = (
        fit(fastem.GaussianMixture(4, init_params="random_from_data", n_init=n, random_state=0), X) for n in (1, 5)
    )
    assert five.score(X) >= one.score(X) - 1e-9
    assert five.n_iter_ == len(five.history_)


def collapsing() -> tuple[np.ndarray, fastem.GaussianMixture]:
    """Return rows of which forty are equal, and an estimator with a component that starts on them."""
    rng = np.random.default_rng(4)
    X = np.vstack([rng.standard_normal((200, 2)), np.full((40, 2), 8.0)])
    start = reference.Parameters(
        np.array([0.8, 0.2]), np.array([[0.0, 0.0], [8.0, 8.0]]), np.stack([np.eye(2), 1e-2 * np.eye(2)])
    )
    return X, starting_from(start, "full", max_iter=100, tol=1e-6)


@pytest.mark.parametrize("on_collapse", ["restart", "drop"])
def test_a_collapse_is_survived_and_told(on_collapse: str) -> None:
    X, estimator = collapsing()
    estimator.set_params(on_collapse=on_collapse)
    with pytest.warns(ConvergenceWarning) as caught:
        estimator.fit(X)
    assert len(caught) == 1, [str(w.message) for w in caught]
    told = estimator.diagnostics_
    assert told["restarted"] or told["floored"] if on_collapse == "restart" else told["dropped"]
    assert np.isfinite(estimator.means_).all() and np.isfinite(estimator.covariances_).all()
    assert estimator.weights_.sum() == pytest.approx(1)
    assert np.isfinite(estimator.score_samples(X)).all()
    assert len(estimator.weights_) == (1 if on_collapse == "drop" else 2)
    assert estimator.predict_proba(X).shape == (len(X), len(estimator.weights_))


def test_a_collapse_can_be_an_error() -> None:
    X, estimator = collapsing()
    with pytest.raises(ValueError, match=r"(?is)component.*1.*reg_covar"):
        estimator.set_params(on_collapse="raise").fit(X)


def test_no_collapse_is_told_where_none_was() -> None:
    X, _, _ = cases.problem(SEPARATED, "full")
    estimator = fit(fastem.GaussianMixture(3, random_state=0), X, converges=True)
    for what in ("restarted", "dropped", "floored"):
        assert not estimator.diagnostics_[what]


@pytest.mark.parametrize(("accelerate", "seed"), [("anderson", 0), ("squarem", 2)])
def test_a_flat_top_ends_an_accelerated_fit(accelerate: str, seed: int, tmp_path: Path) -> None:
    """Four components for one: plain steps predict nothing there, but the fit as a whole does."""
    X = np.random.default_rng(seed).standard_normal((2000, 1))
    seen, path = [], tmp_path / "checkpoint.npz"

    def flat(**options) -> fastem.GaussianMixture:  # noqa: ANN003
        return fastem.GaussianMixture(4, random_state=seed, accelerate=accelerate, n_jobs=1, **options)

    whole = fit(flat(max_iter=400, callback=lambda progress: seen.append(progress.remaining)), X, converges=True)
    assert whole.n_iter_ > 100
    assert np.isfinite(seen[10:]).all() and seen[-1] < whole.tol
    cases.quietly(flat(max_iter=60).fit, X, checkpoint=path)
    again = flat(max_iter=400).fit(X, checkpoint=path, resume=True)
    np.testing.assert_array_equal(again.history_["log_likelihood"], whole.history_["log_likelihood"])
    assert again.converged_
    score = whole.score(X)
    limit = fit(whole.set_params(warm_start=True, tol=1e-9, max_iter=2000, callback=None), X)
    assert limit.score(X) - score < 2 * 1e-4


@pytest.mark.parametrize("accelerate", ["squarem", "anderson"])
def test_an_accelerated_fit_leaves_no_more_than_tol(accelerate: str, table: Callable[[str], NDArray]) -> None:
    """Two Poissons of which one is seldom seen: more than a thousand steps of plain EM."""
    counts, days = table("deaths").T
    start = {"weights_init": [0.3, 0.7], "params_init": [[1.0], [2.5]], "max_iter": 500, "accelerate": accelerate}

    def score(tol: float) -> float:
        model = fastem.PoissonMixture(2, tol=tol, **start)
        return fit(model, counts[:, None], days, converges=True).score(counts[:, None], sample_weight=days)

    best = score(1e-13)
    for tol in (1e-4, 1e-6, 1e-8):
        assert best - score(tol) < 2 * tol


def test_leaps_are_taken_under_a_ridge_from_above_too() -> None:
    """The ridge keeps covariances from where the log-likelihood is highest, and a start may be there."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, (300, 2)), rng.normal(1.5, 0.7, (300, 2))])
    high = fastem.GaussianMixture(2, reg_covar=0.0, tol=1e-9, random_state=0, n_jobs=1).fit(X)
    start = {"weights_init": high.weights_, "means_init": high.means_, "precisions_init": high.precisions_}

    def run(accelerate: str | None) -> fastem.GaussianMixture:
        options = {"reg_covar": 0.05, "tol": 1e-9, "max_iter": 3000, "n_jobs": 1}
        return fastem.GaussianMixture(2, accelerate=accelerate, **options, **start).fit(X)

    plain, quick = run(None), run("squarem")
    assert (np.diff(plain.history_["log_likelihood"]) < 0).all()
    assert plain.converged_ and quick.converged_ and quick.n_iter_ < 0.7 * plain.n_iter_
    assert quick.diagnostics_["extrapolated"]["accepted"] > 0
    np.testing.assert_allclose(quick.means_, plain.means_, atol=1e-4)
