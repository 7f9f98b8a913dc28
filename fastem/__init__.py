"""Expectation-maximization at the speed of the machine."""

from fastem.mixture import GaussianMixture
from fastem.persistence import load

__version__ = "0.1.0"
__all__ = ["GaussianMixture", "__version__", "load"]
