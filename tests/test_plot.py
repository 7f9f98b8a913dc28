"""What stands in the pictures; how they look is for eyes."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

pyplot = pytest.importorskip("matplotlib.pyplot")
pytest.importorskip("matplotlib").use("Agg")

from fastem import plot  # noqa: E402

MODEL = SimpleNamespace(
    means_=np.array([[0.0, 5.0, 1.0], [2.0, 3.0, 4.0]]),
    covariances_=np.array([[4.0, 1.0, 9.0], [1.0, 16.0, 25.0]]),
    covariance_type="diag",
    history_=np.array([(-10.0, 5.0), (-10.0, 5.1)], dtype=[("log_likelihood", float), ("seconds", float)]),
)


@pytest.fixture
def ax():
    figure, ax = pyplot.subplots()
    yield ax
    pyplot.close(figure)


def test_plot_is_there_without_an_import_of_its_own():
    code = "import sys, fastem; assert 'fastem.plot' not in sys.modules; fastem.plot.ellipses"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ellipses_have_the_deviations_as_radii(ax):
    patches = plot.ellipses(MODEL, ax, features=(0, 2), levels=(1, 2))
    for k in range(2):
        for level, patch in zip((1, 2), patches[2 * k : 2 * k + 2]):
            assert tuple(patch.center) == (MODEL.means_[k, 0], MODEL.means_[k, 2])
            # Points at the Mahalanobis distance of the level, whichever axis is called the width.
            points = ax.transData.inverted().transform(patch.get_verts()) - patch.center
            distance = np.sqrt((points**2 / MODEL.covariances_[k, [0, 2]]).sum(axis=1))
            np.testing.assert_allclose(distance, level, rtol=1e-3)


def test_a_flat_history_is_flat(ax):
    plot.history(MODEL, ax)
    (line,) = ax.get_lines()
    assert line.get_xdata().tolist() == [1, 2] and line.get_ydata().tolist() == [-10, -10]
    low, high = ax.get_ylim()
    assert high - low >= 0.01
    plot.history(np.array([(-50.0, 1.0)], dtype=MODEL.history_.dtype), ax)
    assert ax.get_ylim()[0] < -50, "a second curve does not fit in"
    assert [line.get_color() for line in ax.get_lines()] == list(plot.COLORS[:2])


def test_what_cannot_be_drawn(ax):
    with pytest.raises(ValueError, match=r"features=\(0, 3\)"):
        plot.ellipses(MODEL, ax, features=(0, 3))
    with pytest.raises(ValueError, match="one feature.*histogram"):
        plot.ellipses(SimpleNamespace(means_=np.zeros((2, 1))), ax)
    with pytest.raises(ValueError, match="no means_, .*try a GaussianMixture"):
        plot.ellipses(SimpleNamespace(weights_=np.ones(1)), ax)
    with pytest.raises(ValueError, match="'iteration' or 'seconds'"):
        plot.history(MODEL, ax, x="hours")
    with pytest.raises(ValueError, match="height, width"):
        plot.segmentation(MODEL, np.zeros(4, int), ax)
    with pytest.raises(NotFittedError, match="call fit"):
        plot.history(SimpleNamespace(), ax)


def test_a_segmentation_is_painted_in_the_colours_of_the_means(ax):
    labels = np.array([[0, 1], [1, 1]])
    painted = plot.segmentation(MODEL, labels, ax)
    assert painted.tolist() == [[[0, 5, 1], [2, 3, 4]], [[2, 3, 4], [2, 3, 4]]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["1: 75.0%", "0: 25.0%"]
