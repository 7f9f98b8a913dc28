"""Expectation-maximization at the speed of the machine."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastem.engine.stepwise import StepSize
    from fastem.mixture import GaussianMixture
    from fastem.persistence import load
    from fastem.sources import Chunks

__version__ = "0.1.0"
__all__ = ["Chunks", "GaussianMixture", "StepSize", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # On demand: the command line answers --help and Ctrl-C before numba and scikit-learn are imported (1 to 2 s).
    rooms = {
        "Chunks": "fastem.sources",
        "GaussianMixture": "fastem.mixture",
        "StepSize": "fastem.engine.stepwise",
        "load": "fastem.persistence",
    }
    if name not in rooms:
        raise AttributeError(f"module 'fastem' has no attribute {name!r}")
    globals()[name] = found = getattr(importlib.import_module(rooms[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
