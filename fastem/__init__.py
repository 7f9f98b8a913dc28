"""Expectation-maximization at the speed of the machine."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastem import plot as plot
    from fastem.custom import em
    from fastem.discrete import BernoulliMixture, MultinomialMixture, PoissonMixture
    from fastem.engine.stepwise import StepSize
    from fastem.factor_analyzer import FactorAnalyzerMixture
    from fastem.families.user_bricks import brick
    from fastem.generalized_regression import LogisticRegressionMixture, PoissonRegressionMixture
    from fastem.heavy_tails import StudentTMixture
    from fastem.impute import GaussianImputer
    from fastem.latent_class import CategoricalMixture
    from fastem.mixture import GaussianMixture
    from fastem.negative_binomial import NegativeBinomialMixture
    from fastem.persistence import load
    from fastem.positive import ExponentialMixture, GammaMixture
    from fastem.product import Product
    from fastem.product_mixture import ProductMixture
    from fastem.regression import LinearRegressionMixture
    from fastem.selection import select
    from fastem.sources import Chunks
    from fastem.user_mixture import Mixture

__version__ = "0.1.0"
__all__ = [
    "BernoulliMixture",
    "CategoricalMixture",
    "Chunks",
    "ExponentialMixture",
    "FactorAnalyzerMixture",
    "GammaMixture",
    "GaussianImputer",
    "GaussianMixture",
    "LinearRegressionMixture",
    "LogisticRegressionMixture",
    "Mixture",
    "MultinomialMixture",
    "NegativeBinomialMixture",
    "PoissonMixture",
    "PoissonRegressionMixture",
    "Product",
    "ProductMixture",
    "StepSize",
    "StudentTMixture",
    "__version__",
    "brick",
    "em",
    "load",
    "select",
]


ROOMS = {
    "BernoulliMixture": "fastem.discrete",
    "CategoricalMixture": "fastem.latent_class",
    "Chunks": "fastem.sources",
    "ExponentialMixture": "fastem.positive",
    "FactorAnalyzerMixture": "fastem.factor_analyzer",
    "GammaMixture": "fastem.positive",
    "GaussianImputer": "fastem.impute",
    "GaussianMixture": "fastem.mixture",
    "LinearRegressionMixture": "fastem.regression",
    "LogisticRegressionMixture": "fastem.generalized_regression",
    "Mixture": "fastem.user_mixture",
    "MultinomialMixture": "fastem.discrete",
    "NegativeBinomialMixture": "fastem.negative_binomial",
    "PoissonMixture": "fastem.discrete",
    "PoissonRegressionMixture": "fastem.generalized_regression",
    "Product": "fastem.product",
    "ProductMixture": "fastem.product_mixture",
    "StepSize": "fastem.engine.stepwise",
    "StudentTMixture": "fastem.heavy_tails",
    "brick": "fastem.families.user_bricks",
    "em": "fastem.custom",
    "load": "fastem.persistence",
    "select": "fastem.selection",
}
"""Where each public name lives."""


def __getattr__(name: str) -> Any:
    # On demand: the command line answers --help and Ctrl-C before numba and scikit-learn are imported (1 to 2 s).
    if name == "plot":
        return importlib.import_module("fastem.plot")
    if name not in ROOMS:
        raise AttributeError(f"module 'fastem' has no attribute {name!r}")
    globals()[name] = found = getattr(importlib.import_module(ROOMS[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
