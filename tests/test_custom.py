"""EM of the user's own functions, and mixtures of families of the user's own: promises and messages."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import fastem

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(-2, 1, 400), RNG.normal(2, 1, 600)])


class Two(NamedTuple):
    """Two Gaussians of variance 1."""

    share: float
    means: np.ndarray


def e_step(params: Two, x: np.ndarray) -> tuple[Any, float]:
    joint = np.stack(
        [
            params.share * np.exp(-((x - params.means[0]) ** 2) / 2),
            (1 - params.share) * np.exp(-((x - params.means[1]) ** 2) / 2),
        ]
    )
    total = joint.sum(axis=0)
    resp = joint / total
    return {"n": resp.sum(axis=1), "x": resp @ x}, float(np.log(total / np.sqrt(2 * np.pi)).sum())


def m_step(statistics: Any, params: Two) -> Two:
    n, x = statistics["n"], statistics["x"]
    return Two(n[0] / n.sum(), x / n)


START = Two(0.3, np.array([-0.5, 0.7]))


@pytest.mark.parametrize("accelerate", [None, "squarem", "anderson"])
def test_any_form_of_parameters_and_statistics(accelerate: str | None) -> None:
    result = fastem.em(e_step, m_step, START, X, accelerate=accelerate)
    assert result.converged and result.stop_reason == "converged" and isinstance(result.params, Two)
    assert (np.diff(result.history["log_likelihood"]) > -1e-9).all()
    assert len(result.history) == result.n_iter and result.runs[0].params is result.params
    gradient = [(e_step(result.params._replace(share=result.params.share + h), X)[1]) for h in (-1e-4, 1e-4)]
    assert abs(gradient[1] - gradient[0]) / 2e-4 < 1e-1  # of a curvature of some thousands


def test_a_saddle_ends_an_accelerated_run_as_it_does_a_plain_one() -> None:
    """On one normal sample two are too many, and the leaps end where no plain step predicts anything."""
    x = np.random.default_rng(3).standard_normal(500)
    plain = fastem.em(e_step, m_step, START, x, tol=1e-4)
    leapt = fastem.em(e_step, m_step, START, x, tol=1e-4, accelerate="anderson", max_iter=1000)
    assert plain.converged and leapt.converged and leapt.n_iter < plain.n_iter
    assert leapt.log_likelihood > plain.log_likelihood


def test_chunks_are_added() -> None:
    whole = fastem.em(e_step, m_step, START, X)
    for data in (list(np.split(X, 4)), lambda: iter(np.split(X, 5)), [X[:1], X[1:]]):
        cut = fastem.em(e_step, m_step, START, data)
        np.testing.assert_allclose(cut.params.means, whole.params.means, rtol=1e-8)
    rows = fastem.em(lambda p, x: e_step(p, x[:, 0]), m_step, START, fastem.Chunks(X[:, None], rows_per_chunk=128))
    np.testing.assert_allclose(rows.params.means, whole.params.means, rtol=1e-8)


def test_the_best_of_several_starts() -> None:
    result = fastem.em(e_step, m_step, [Two(0.5, np.array([0.1, 0.1])), START], X)
    assert result.log_likelihood == max(run.log_likelihood for run in result.runs) and len(result.runs) == 2
    assert result.params is result.runs[1].params


def test_an_m_step_that_lowers_the_objective_is_told() -> None:
    def bad(statistics: Any, params: Two) -> Two:
        after = m_step(statistics, params)
        return after._replace(means=after.means * 1.5) if abs(after.means[0]) > 1.8 else after

    with pytest.warns(ConvergenceWarning, match=r"fell by [0-9.e+]+ in iteration \d+, and the parameters before it"):
        result = fastem.em(e_step, bad, START, X)
    assert result.stop_reason == "decreased" and not result.converged
    assert result.log_likelihood == pytest.approx(result.history["log_likelihood"].max())


def test_statistics_may_be_written_into_one_buffer() -> None:
    sums = np.zeros((2, 2))

    def buffered(params: Two, x: np.ndarray) -> tuple[Any, float]:
        statistics, log_likelihood = e_step(params, x)
        sums[:] = statistics["n"], statistics["x"]
        return sums, log_likelihood

    def of_buffer(statistics: np.ndarray, params: Two) -> Two:
        return m_step({"n": statistics[0], "x": statistics[1]}, params)

    chunked, whole = fastem.em(buffered, of_buffer, START, [X[:300], X[300:]]), fastem.em(e_step, m_step, START, X)
    np.testing.assert_allclose(chunked.params.means, whole.params.means, rtol=1e-10)


@pytest.mark.parametrize("of_a_mixture", [False, True])
def test_parameters_that_were_changed_in_place_are_returned_to(of_a_mixture: bool) -> None:
    steps: list[int] = []

    def spoiled(statistics: Any, params: Any) -> Any:
        params[:] = statistics[1] / statistics[0] * (1 if len(steps) < 5 else 3)
        steps.append(1)
        return params

    def spoiling(self: Any, statistics: Any, params: Any) -> Any:
        return statistics[1] / statistics[0] if params is None else spoiled(statistics, params)

    def tuples(means: np.ndarray, x: np.ndarray) -> tuple[Any, float]:
        statistics, log_likelihood = e_step(Two(0.4, means), x)
        return (statistics["n"], statistics["x"]), log_likelihood

    with pytest.warns(ConvergenceWarning, match=r"fell by|iteration \d+ had a log-likelihood a row lower by [0-9.]+;"):
        if of_a_mixture:
            start = {"params_init": [-0.5, 0.7], "accelerate": None}
            model = fastem.Mixture(broken(m_step=spoiling), 2, **start).fit(X[:, None])
            assert model.score(X[:, None]) == pytest.approx(max(model.lower_bounds_), rel=1e-12)
        else:
            result = fastem.em(tuples, spoiled, START.means, X)
            assert result.log_likelihood == pytest.approx(max(result.history["log_likelihood"]), rel=1e-12)
    np.testing.assert_array_equal(START.means, [-0.5, 0.7])


def test_dicts_are_of_one_order() -> None:
    def as_dict(statistics: Any, params: Any) -> dict[str, Any]:
        after = m_step(statistics, Two(**params))
        return {"means": after.means, "share": after.share}

    result = fastem.em(lambda p, x: e_step(Two(**p), x), as_dict, START._asdict(), X, accelerate="squarem")
    assert list(result.params) == ["share", "means"]
    assert result.n_iter == fastem.em(e_step, m_step, START, X, accelerate="squarem").n_iter


def test_generalized_em_may_only_improve() -> None:
    def half(statistics: Any, params: Two) -> Two:
        after = m_step(statistics, params)
        return Two((params.share + after.share) / 2, (params.means + after.means) / 2)

    whole, lazy = fastem.em(e_step, m_step, START, X), fastem.em(e_step, half, START, X)
    np.testing.assert_allclose(lazy.params.means, whole.params.means, rtol=1e-4)
    assert lazy.n_iter > whole.n_iter


@pytest.mark.parametrize(
    ("e", "m", "start", "message"),
    [
        (lambda p, x: 1.0, m_step, START, "the pair"),
        (lambda p, x: ({}, np.ones(3)), m_step, START, "one number is wanted"),
        (e_step, lambda s, p: (1.0, np.ones(2)), START, "a Two of shapes"),
        (e_step, lambda s, p: Two(0.5, np.ones(3)), START, r"shapes \[\(\), \(3,\)\]"),
        (e_step, m_step, Two("a", np.ones(2)), "params holds 'a'"),
        (e_step, m_step, [], "at least one start"),
        (e_step, m_step, None, "params is None"),
        (e_step, lambda s, p: None, START, "m_step gave None; the new parameters are wanted: return them"),
        (lambda p, x: (0.0, 0.0), lambda s, p: {"c": 1.0}, {"a": 1.0}, "gave a dict with 'c' of .* a dict with 'a' of"),
        (lambda p, x: (0.0, None), m_step, 1.0, "e_step gave a NoneType .* as log-likelihood; one number is wanted"),
        (lambda p, x: ({"text": "a"}, 0.0), m_step, 1.0, "e_step gave statistics that are no numbers"),
        (e_step, m_step(e_step(START, X)[0], START), START, "m_step is Two.*a function is wanted"),
    ],
)
def test_functions_of_the_wrong_form(e: Any, m: Any, start: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fastem.em(e, m, start, X)


def test_an_e_step_without_a_log_likelihood_is_a_note_to_the_error_of_the_m_step() -> None:
    with pytest.raises(IndexError) as caught:
        fastem.em(lambda p, x: (x.sum(), len(x)), lambda s, p: s[0] / s[1], 1.0, X)
    assert "the pair (statistics, log_likelihood)" in caught.value.__notes__[0]


def test_a_list_is_of_starts() -> None:
    with pytest.raises(TypeError) as caught:
        fastem.em(lambda p, x: (p[0], 0.0), m_step, [0.3, 0.5], X)
    assert "so 2 starts of one number each; if it is one start, give a tuple or an array: (0.3, 0.5)" in str(
        caught.value.__notes__
    )
    with pytest.raises(ValueError, match="m_step gave a tuple") as caught:  # of functions that a number suffices
        fastem.em(lambda p, x: (x.sum() * p, 0.0), lambda s, p: (s, s), [0.3, 0.5], X)
    assert "2 starts of one number" in str(caught.value.__notes__)


def test_an_iterator_cannot_be_read_twice() -> None:
    with pytest.raises(ValueError, match="only once"):
        fastem.em(e_step, m_step, START, iter([X]))


class Own:
    """Gaussians of variance 1, in NumPy."""

    def log_prob(self, X: np.ndarray, params: np.ndarray) -> np.ndarray:
        return -((X[:, :1] - params) ** 2) / 2 - 0.5 * np.log(2 * np.pi)

    def statistics(self, X: np.ndarray, resp: np.ndarray) -> Any:
        return resp.sum(axis=0), resp.T @ X[:, 0]

    def m_step(self, statistics: Any, params: Any) -> np.ndarray:
        return statistics[1] / statistics[0]


def broken(**methods: Any) -> Own:
    return type("Broken", (Own,), methods)()


def test_a_family_of_ones_own() -> None:
    model = fastem.Mixture(Own(), 2, random_state=0).fit(X[:, None])
    assert np.sort(model.params_).round() == pytest.approx([-2, 2]) and model.converged_
    assert model.bic(X[:, None]) > 0 and set(model.predict(X[:, None])) == {0, 1}
    with pytest.raises(ValueError, match="no method sample"):
        model.sample(3)
    with pytest.raises(ValueError, match="'batch'"):
        model.partial_fit(X[:, None])
    with pytest.raises(ValueError, match="'batch'"):
        fastem.Mixture(Own(), 2).fit(X[:, None], algorithm="stepwise")


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (object(), "without log_prob and statistics and m_step"),
        (broken(log_prob=lambda self, X, params: X[:, 0]), r"log_prob of Broken gave an array of shape \(1000,\)"),
        (broken(log_prob=lambda self, X, params: X), r"\(1000, 1\) .* one column for each component, and there are 2"),
        (broken(log_prob=lambda self, X, params: np.hstack([X] * 4)), r"shape \(1000, 4\)"),
        (broken(log_prob=lambda self, X, params: X - params + 0j), "dtype complex128"),
        (broken(log_prob=lambda self, X, params: np.full((len(X), 2), np.nan)), "gave nan for row 0"),
        (broken(m_step=lambda self, s, p: 3.0), r"m_step of Broken gave an array of shape \(\)"),
        (broken(statistics=lambda self, X, resp: None), "statistics of Broken gave None"),
        (Own, "an object of it is wanted"),
    ],
)
def test_families_of_the_wrong_form(family: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fastem.Mixture(family, 2, random_state=0).fit(X[:, None])


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (broken(m_step=lambda self, s, p: 9 - s[1] / s[0]), "m_step lowered the log-likelihood"),
        (broken(log_prob=lambda self, X, p: np.where(X[:, :1] > 1, -np.inf, X - p)), "log_prob is -inf in all comp"),
    ],
)
def test_families_that_end_a_fit_are_told_why(family: Any, message: str) -> None:
    with pytest.warns(ConvergenceWarning, match=message):
        fastem.Mixture(family, 2, params_init=[-1.0, 1.0], accelerate=None).fit(X[:, None])


def test_weights_that_are_held_and_rows_without_any() -> None:
    held = fastem.Mixture(Own(), 2, weights_init=[0.5, 0.5], random_state=0).fit(X[:, None], fixed=("weights",))
    np.testing.assert_array_equal(held.weights_, [0.5, 0.5])
    names = (name for name in ("weights",))
    again = fastem.Mixture(Own(), 2, weights_init=[0.5, 0.5], random_state=0).fit(X[:, None], fixed=names)
    np.testing.assert_array_equal(held.params_, again.params_)
    given = fastem.Mixture(Own(), 2, params_init=[-1.0, 1.5], random_state=0)
    params = given.fit(X[:, None], fixed=("params",)).params_
    np.testing.assert_array_equal(params, [-1.0, 1.5])
    assert given._n_parameters() == 1  # a weight
    with pytest.raises(ValueError, match="fixed has 'means'; choose among 'weights', 'params'"):
        given.fit(X[:, None], fixed=("means",))
    with pytest.raises(ValueError, match="give params_init, or warm_start=True"):
        fastem.Mixture(Own(), 2).fit(X[:, None], fixed=("params",))
    with pytest.raises(ValueError, match="fixed is None; a tuple of names"):
        fastem.Mixture(Own(), 2).fit(X[:, None], fixed=None)

    def positive(self: Any, rows: np.ndarray, params: np.ndarray) -> np.ndarray:
        assert (rows != 1e9).all()
        return Own.log_prob(self, rows, params)

    weight = np.append(np.ones(len(X)), 0.0)
    model = fastem.Mixture(broken(log_prob=positive), 2, random_state=0)
    model.fit(np.append(X, 1e9)[:, None], sample_weight=weight)
    np.testing.assert_allclose(model.params_, fastem.Mixture(Own(), 2, random_state=0).fit(X[:, None]).params_)


def test_labels_want_statistics_of_components_first() -> None:
    def stacked(self: Any, rows: np.ndarray, resp: np.ndarray) -> np.ndarray:
        return np.stack(Own.statistics(self, rows, resp))

    with pytest.raises(ValueError, match="must have its first axis over the components"):
        fastem.Mixture(broken(statistics=stacked), 2).fit(X[:, None], labels=np.where(X > 2, 1, -1))
