"""`select`: what it picks, what its table holds, and what it says of bad input."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import pytest
from rich.console import Console

import fastem
from fastem.families import covariance
from fastem.families.base import Scale
from fastem.families.gaussian import Gaussian, GaussianParams


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(m, 1, (150, 2)) for m in (-5, 0, 5)])


@pytest.mark.parametrize("criterion", ["bic", "icl", "heldout"])
def test_the_components_are_found(X: np.ndarray, criterion: str) -> None:
    found = fastem.select(X, range(1, 6), covariance_type=["tied", "spherical"], criterion=criterion, random_state=0)
    assert len(found.table) == 10 and found.table[criterion].is_monotonic_increasing
    first = found.table.iloc[0]
    assert (first.n_components, first.covariance_type) == (found.best.n_components, found.best.covariance_type)
    if criterion == "heldout":  # which does not punish a component too many
        best = found.table.groupby("n_components").heldout.min()
        assert best[2] > best[3] + 0.1 and found.best.n_components >= 3 and first.heldout > best[3] - 0.03
    else:
        assert found.best.n_components == 3
        assert first[criterion] == pytest.approx(getattr(found.best, criterion)(X), rel=1e-12)


def test_a_warm_start_is_never_worse(X: np.ndarray) -> None:
    options = {"random_state": 0, "init_params": "random", "criterion": "aic"}
    cold = fastem.select(X, range(1, 7), warm=False, **options).table.set_index("n_components")
    warm = fastem.select(X, range(1, 7), **options).table.set_index("n_components")
    assert (warm.log_likelihood.sort_index() >= cold.log_likelihood.sort_index() - 1e-4).all()


@pytest.mark.parametrize(
    ("options", "fits"),
    [({}, 3), ({"covariance_type": "tied"}, 5), ({"init_params": "random"}, 5), ({"warm": False}, 3)],
)
def test_starts_from_the_smaller_fit_race_with_the_others_of_gaussians(X: np.ndarray, options: dict, fits: int) -> None:
    seen = []
    fastem.select(X, [1, 2, 3], callback=lambda progress: seen.append(progress.n_iter) and False, **options)
    assert seen.count(1) == fits


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_a_component_is_cut_into_halves_with_its_moments(covariance_type: str) -> None:
    rng = np.random.default_rng(3)
    scale = Scale(np.zeros(3), np.diag([1.0, 4.0, 100.0]), np.array([1.0, 2.0, 10.0]))
    family, a = Gaussian(covariance_type), rng.standard_normal((2, 3, 5)) * np.array([1.0, 2.0, 10.0])[:, None]
    before = GaussianParams(rng.standard_normal((2, 3)), covariance.reduce(a @ a.swapaxes(1, 2), covariance_type))
    means, covariances = family.split(before, 0, scale)
    np.testing.assert_allclose((means[0] + means[2]) / 2, before.means[0])
    np.testing.assert_allclose(means[1], before.means[1])
    assert not family.singular(GaussianParams(means, covariances)).any()
    apart = (means[0] - means[2]) / 2
    matrices = covariance.expand(covariances, covariance_type, 3, 3)
    both = (matrices[0] + matrices[2]) / 2 + np.outer(apart, apart)
    wanted, found = (covariance.reduce(m[None], covariance_type)[0] for m in (a[0] @ a[0].T, both))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_other_families_weights_and_sources() -> None:
    rng = np.random.default_rng(1)
    counts = np.concatenate([rng.poisson(m, (200, 2)) for m in ([1, 9], [8, 2])]).astype(float)
    weight = np.ones(len(counts))
    whole = fastem.select(counts, [1, 2, 3], estimator=fastem.PoissonMixture, sample_weight=weight, random_state=0)
    cut = fastem.select(lambda: iter([counts[:100], counts[100:]]), [1, 2, 3], estimator=fastem.PoissonMixture)
    assert whole.best.n_components == cut.best.n_components == 2


def test_held_out_rows_have_their_weights(X: np.ndarray) -> None:
    """Rows of weight 0 do not count, whether they are fitted or held out; weight 2 is 2 everywhere."""
    far, options = np.concatenate([X, np.full((60, 2), 1e3)]), {"criterion": "heldout", "random_state": 0}
    weight = np.r_[np.full(len(X), 2.0), np.zeros(60)]
    table = fastem.select(far, [1, 3], sample_weight=weight, **options).table.set_index("n_components")
    plain = fastem.select(X, [1, 3], **options).table.set_index("n_components")
    np.testing.assert_allclose(table.heldout.sort_index(), plain.heldout.sort_index(), atol=0.2)
    best = fastem.select(far, [3], sample_weight=weight, **options).best
    order = np.random.RandomState(0).permutation(len(far))[: round(0.2 * len(far))]
    assert table.heldout[3] == pytest.approx(-best.score(far[order], sample_weight=weight[order]), rel=1e-9)


def test_regressions_and_labels(X: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    x, line = rng.uniform(-3, 3, (400, 1)), rng.integers(0, 2, 400)
    y = np.where(line, 2 * x[:, 0], 5 - x[:, 0]) + 0.3 * rng.standard_normal(400)
    for criterion in ("bic", "heldout"):
        found = fastem.select(
            x, [1, 2, 3], y=y, estimator=fastem.LinearRegressionMixture, criterion=criterion, random_state=0
        )
        values = found.table.set_index("n_components")[criterion]
        assert values[1] > values[2] + 0.1 and (criterion == "heldout" or found.best.n_components == 2)
    labels = np.where(np.arange(len(X)) % 10 == 0, np.repeat([2, 0, 1], 150), -1)
    for chosen in ({"labels": labels}, {"y": labels}):
        best = fastem.select(X, [3, 4], random_state=0, **chosen).best
        assert np.argsort(best.means_[:, 0])[[0, -1]].tolist() == [2, 1]
    with pytest.raises(ValueError, match="held_out is rows without y, .* give a share"):
        fastem.select(x, [1], y=y, estimator=fastem.LinearRegressionMixture, criterion="heldout", held_out=x)


def test_progress_is_shown_where_it_is_asked_for(X: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = partial(Console, file=screen, force_terminal=True, width=100)
    monkeypatch.setattr("fastem.selection.Console", lambda stderr: console())
    quiet = fastem.select(X, [1, 2], random_state=0)
    assert not screen.getvalue()
    shown = fastem.select(X, [1, 2], random_state=0, progress=True)
    assert "2/2" in screen.getvalue() and "bic" in screen.getvalue() and "with 2 components" in screen.getvalue()
    assert (shown.table.bic == quiet.table.bic).all()


def test_an_estimator_is_a_template(X: np.ndarray) -> None:
    template = fastem.GaussianMixture(covariance_type="tied", random_state=3)
    best = fastem.select(X, [2], estimator=template).best
    assert (best.covariance_type, best.random_state) == ("tied", 3) and not hasattr(template, "means_")
    assert fastem.select(X, [2], estimator=template, random_state=0).best.random_state != 3


def test_bad_input_is_told(X: np.ndarray) -> None:
    with pytest.raises(ValueError, match="estimator is 'gauss'"):
        fastem.select(X, [1], estimator="gauss")
    with pytest.raises(ValueError, match="criterion is 'best'"):
        fastem.select(X, criterion="best")
    with pytest.raises(ValueError, match=r"range\(1, 10\)"):
        fastem.select(X, [0, 1])
    with pytest.raises(ValueError, match=r"n_components is \[1.5\]"):
        fastem.select(X, [1.5])
    with pytest.raises(ValueError, match="goes up to 7, and there are 5 rows to fit: at most 5"):
        fastem.select(np.arange(10.0).reshape(5, 2), range(1, 8))
    with pytest.raises(ValueError, match="held_out is 2"):
        fastem.select(X, [1], criterion="heldout", held_out=2)
    with pytest.raises(ValueError, match="held_out is None"):
        fastem.select(X, [1], criterion="heldout", held_out=None)
    with pytest.raises(ValueError, match="covariance_type is empty"):
        fastem.select(X, [1], covariance_type=[])
    with pytest.raises(ValueError, match="a mixture of fastem is wanted"):
        fastem.select(X, [1], estimator=fastem.GaussianImputer)
    with pytest.raises(ValueError, match="held_out=rows"):
        fastem.select(lambda: iter([X]), [1], criterion="heldout")
