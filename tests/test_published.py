"""Published fits, and models that must coincide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fastem

DATA = Path(__file__).parent / "data"


def table(name: str) -> np.ndarray:
    return np.genfromtxt(DATA / f"{name}.csv", delimiter=",", skip_header=1)


def test_death_notices_of_the_times() -> None:
    """Hasselblad (1969); Titterington, Smith and Makov (1985)."""
    counts, days = table("deaths").T
    for accelerate in (None, "squarem", "anderson"):
        model = fastem.PoissonMixture(
            2, tol=1e-11, max_iter=20_000, accelerate=accelerate, params_init=[[1.0], [2.5]], weights_init=[0.3, 0.7]
        ).fit(counts[:, None], sample_weight=days)
        assert model.lower_bound_ * days.sum() == pytest.approx(-1989.94585988, abs=1e-6)
        np.testing.assert_allclose(model.weights_, [0.3599, 0.6401], atol=2e-4)
        np.testing.assert_allclose(model.rates_[:, 0], [1.2561, 2.6634], atol=3e-4)


@pytest.mark.parametrize(("k", "log_likelihood"), [(1, -524.4648), (2, -317.2568), (3, -293.7050), (4, -289.2858)])
def test_latent_classes_of_carcinoma(k: int, log_likelihood: float) -> None:
    """Agresti (2002); poLCA and flexmix. Ratings are 1 and 2: categories, or zeros and ones."""
    X = table("carcinoma")
    for model, rows in ((fastem.CategoricalMixture, X), (fastem.BernoulliMixture, X - 1)):
        fitted = model(k, random_state=0, n_init=5, tol=1e-9, max_iter=20_000).fit(rows)
        assert fitted.score(rows) * len(rows) == pytest.approx(log_likelihood, abs=1e-3)
        assert fitted._n_parameters() == 8 * k - 1


def test_intervals_between_coal_mining_disasters() -> None:
    """mixtools' expRMM_EM on the intervals above 0."""
    intervals = np.diff(table("coal"))
    X = intervals[intervals > 0][:, None]
    model = fastem.ExponentialMixture(2, tol=1e-10, max_iter=20_000, random_state=0, accelerate="squarem").fit(X)
    assert len(X) == 189 and model.score(X) * len(X) == pytest.approx(-75.9917123634, abs=1e-6)
    np.testing.assert_allclose(np.sort(1 / model.means_[:, 0]), [0.6288387, 2.6749448], rtol=2e-3)


def test_three_coins_are_not_identified() -> None:
    tosses = np.array([1, 1, 0, 1, 0, 0, 1, 0, 1, 1])

    def e_step(params, x):
        a, b, c = params
        of_b, of_c = a * b**x * (1 - b) ** (1 - x), (1 - a) * c**x * (1 - c) ** (1 - x)
        r = of_b / (of_b + of_c)
        return (r.sum(), r @ x, (1 - r) @ x, len(x)), np.log(of_b + of_c).sum()

    def m_step(statistics, params):
        r, heads_b, heads_c, n = statistics
        return r / n, heads_b / r, heads_c / (n - r)

    result = fastem.em(e_step, m_step, [(0.5, 0.5, 0.5), (0.4, 0.6, 0.7)], tosses)
    np.testing.assert_allclose(result.runs[0].params, (0.5, 0.6, 0.6), atol=1e-9)
    np.testing.assert_allclose(result.runs[1].params, (0.4064, 0.5368, 0.6432), atol=5e-5)
    assert result.runs[0].log_likelihood == pytest.approx(result.runs[1].log_likelihood, abs=1e-9)
    in_chunks = fastem.em(e_step, m_step, (0.4, 0.6, 0.7), [tosses[:3], tosses[3:]])
    np.testing.assert_allclose(in_chunks.params, result.runs[1].params, atol=1e-12)


def same(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_two_levels_are_zeros_and_ones() -> None:
    X = (np.random.default_rng(0).random((500, 6)) < [0.2, 0.9, 0.5, 0.4, 0.6, 0.7]).astype(float)
    p = np.random.default_rng(1).uniform(0.2, 0.8, (3, 6))
    both = np.stack([1 - p, p], axis=2).reshape(3, 12)
    ones = fastem.BernoulliMixture(3, params_init=p, tol=0, max_iter=20, accelerate=None)
    levels = fastem.CategoricalMixture(3, params_init=both, tol=0, max_iter=20, accelerate=None)
    with pytest.warns(UserWarning):
        ones.fit(X), levels.fit(X)
    same(levels.probabilities_[:, 1::2], ones.probabilities_)
    same(levels.score_samples(X), ones.score_samples(X))


def test_one_trial_is_a_category() -> None:
    kinds = np.random.default_rng(0).integers(0, 4, 300)
    p = np.random.default_rng(1).dirichlet(np.ones(4), 2)
    trials = fastem.MultinomialMixture(2, params_init=p, tol=0, max_iter=5)
    levels = fastem.CategoricalMixture(2, params_init=p, tol=0, max_iter=5)
    with pytest.warns(UserWarning):
        trials.fit(np.eye(4)[kinds]), levels.fit(kinds[:, None].astype(float))
    same(trials.probabilities_, levels.probabilities_)
    same(trials.score_samples(np.eye(4)[kinds]), levels.score_samples(kinds[:, None].astype(float)))


def test_exposures_of_one_change_nothing() -> None:
    X = np.random.default_rng(0).poisson([2.0, 9.0], (300, 2)).astype(float)
    rates = np.array([[1.0, 8.0], [4.0, 10.0]])
    plain = fastem.PoissonMixture(2, params_init=rates, tol=0, max_iter=9, accelerate=None)
    exposed = fastem.PoissonMixture(2, params_init=rates, tol=0, max_iter=9, exposure=2, accelerate=None)
    with pytest.warns(UserWarning):
        plain.fit(X), exposed.fit(np.column_stack([X, np.ones(300)]))
    same(plain.rates_, exposed.rates_)


class NumpyPoisson:
    """The built-in family, as a user would write it."""

    def log_prob(self, X, params):
        from scipy.special import gammaln

        return X @ np.log(params).T - params.sum(axis=1) - gammaln(X + 1).sum(axis=1, keepdims=True)

    def statistics(self, X, resp):
        return {"rows": resp.sum(axis=0), "counts": resp.T @ X}

    def m_step(self, statistics, params):
        return statistics["counts"] / statistics["rows"][:, None]


@pytest.mark.parametrize("accelerate", [None, "squarem", "anderson"])
def test_a_family_of_ones_own_is_the_built_in_one(accelerate: str | None) -> None:
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.poisson(m, (400, 2)) for m in ([2.0, 5.0], [4.0, 3.0])]).astype(float)
    weight = rng.uniform(0.5, 2.0, len(X))
    rates = np.array([[1.0, 8.0], [4.0, 2.0]])
    options = {"params_init": rates, "weights_init": [0.5, 0.5], "tol": 1e-12, "accelerate": accelerate}
    ours = fastem.PoissonMixture(2, **options).fit(X, sample_weight=weight)
    own = fastem.Mixture(NumpyPoisson(), 2, **options).fit(X, sample_weight=weight)
    cut = fastem.Mixture(NumpyPoisson(), 2, **options).fit(
        fastem.Chunks(lambda: (X[i : i + 90] for i in range(0, 800, 90)), rows_per_chunk=70), sample_weight=weight
    )
    np.testing.assert_allclose(own.params_, ours.rates_, rtol=1e-5)
    np.testing.assert_allclose(cut.params_, own.params_, rtol=1e-5)
    np.testing.assert_allclose(own.score_samples(X), ours.score_samples(X), rtol=1e-6)
