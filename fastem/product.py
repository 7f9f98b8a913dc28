"""Products of families: which columns of a table go together, and which family each group of them has."""

from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from typing import Any, NamedTuple

import numpy as np

from fastem.discrete import BernoulliMixture, MultinomialMixture, PoissonMixture
from fastem.estimator import MixtureEstimator
from fastem.heavy_tails import StudentTMixture
from fastem.latent_class import CategoricalMixture
from fastem.mixture import GaussianMixture
from fastem.negative_binomial import NegativeBinomialMixture
from fastem.positive import ExponentialMixture, GammaMixture
from fastem.wording import did_you_mean

FAMILIES: dict[str, type[MixtureEstimator]] = {
    "bernoulli": BernoulliMixture,
    "categorical": CategoricalMixture,
    "exponential": ExponentialMixture,
    "gamma": GammaMixture,
    "gaussian": GaussianMixture,
    "multinomial": MultinomialMixture,
    "negative_binomial": NegativeBinomialMixture,
    "poisson": PoissonMixture,
    "student_t": StudentTMixture,
}

SETTINGS = "covariance_type", "reg_covar", "prior", "exposure", "df", "share_df", "missing"
"""What an estimator in a product says of its family; all else is said to the mixture of the product."""

Column = str | int


class Part(NamedTuple):
    """One group: the key that the user gave, its columns, and an estimator of its family."""

    key: Any
    columns: tuple[Column, ...]
    estimator: MixtureEstimator


class Product:
    """Groups of columns, each with its family, independent of one another given the component.

    Parameters
    ----------
    families : dict
        From a column, or a tuple of columns, by names or numbers, to its family: a name ("bernoulli", "categorical",
        "exponential", "gamma", "gaussian", "multinomial", "negative_binomial", "poisson", "student_t"), or an
        estimator whose settings count, such as ``fastem.GaussianMixture(covariance_type="diag", reg_covar=0.01)`` or
        ``fastem.PoissonMixture(prior=1.0)``. The columns of a tuple under "gaussian" and "student_t" covary; those of
        the others are independent given the component, but for the kinds of "multinomial".

    Raises
    ------
    ValueError
        If a column is named twice, or a family is none of these.

    Examples
    --------
    >>> import fastem
    >>> fastem.Product({"age": "gaussian", ("smokes", "town"): "categorical"}).columns
    ['age', 'smokes', 'town']
    """

    def __init__(self, families: Mapping):
        if not isinstance(families, Mapping) or not families:
            raise ValueError(
                f"product is {families!r}; a dict from columns to families is wanted: "
                "{'age': 'gaussian', ('town', 'job'): 'categorical'}"
            )
        self.families = dict(families)
        self.parts = [Part(key, _columns(key), _estimator(key, value)) for key, value in families.items()]
        check_once(self.columns)

    @classmethod
    def of(cls, given: Any) -> "Product":
        """A product, or what one is made of."""
        return given if isinstance(given, cls) else cls(given)

    @property
    def columns(self) -> list[Column]:
        """All columns, group by group."""
        return [column for part in self.parts for column in part.columns]

    def to_plain(self) -> list[Any]:
        """What a file holds: of each group the key, the name of the family, and its settings."""
        names = {family: name for name, family in FAMILIES.items()}
        return [(part.key, names[type(part.estimator)], dict(_settings(part.estimator))) for part in self.parts]

    @classmethod
    def of_plain(cls, plain: list[Any]) -> "Product":
        """Inverse of `to_plain`, by way of JSON."""
        keys = [tuple(key) if isinstance(key, list) else key for key, _, _ in plain]
        return cls({key: FAMILIES[name](**settings) for key, (_, name, settings) in zip(keys, plain, strict=True)})

    def __repr__(self) -> str:
        return f"Product({self.families!r})"


def _settings(estimator: MixtureEstimator) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in estimator.get_params().items() if name in SETTINGS)


def check_once(columns: Sequence[Column]) -> None:
    """`ValueError` where a column is there twice."""
    for column in columns:
        if columns.count(column) > 1:
            raise ValueError(
                f"product has the column {column!r} twice; each column has one family: leave it out of one group"
            )


def _columns(key: Any) -> tuple[Column, ...]:
    columns = key if isinstance(key, tuple) else (key,)
    numbers = [c for c in columns if not isinstance(c, str)]
    if not columns or any(isinstance(c, bool) or not isinstance(c, int | np.integer) or c < 0 for c in numbers):
        raise ValueError(
            f"product has the key {key!r}; the name of a column, its number from 0 on, or a tuple of these is wanted"
        )
    return tuple(c if isinstance(c, str) else int(c) for c in columns)


def _estimator(key: Any, family: Any) -> MixtureEstimator:
    if isinstance(family, str) and family in FAMILIES:
        return FAMILIES[family]()
    if type(family) not in FAMILIES.values():
        close = did_you_mean(family, list(FAMILIES)) if isinstance(family, str) else ""
        raise ValueError(
            f"product has {family!r} for {key!r}; a family is wanted{close}: one of "
            f"{', '.join(map(repr, FAMILIES))}, or an estimator of one of these, such as fastem.PoissonMixture(prior=1)"
        )
    for name, parameter in signature(type(family)).parameters.items():
        if name not in SETTINGS and repr(getattr(family, name)) != repr(parameter.default):
            raise ValueError(
                f"product has {family!r} for {key!r}, whose {name} is not of the family but of the fit: give {name} "
                "to ProductMixture"
            )
    return family
