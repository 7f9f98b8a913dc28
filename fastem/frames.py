"""What `set_output` asks for, of the methods that scikit-learn does not wrap."""

from typing import Any

import numpy as np
from sklearn.utils._set_output import _get_container_adapter


def asks_for_frames(transformer: Any) -> bool:
    """Whether `set_output` asks for frames."""
    return _get_container_adapter("transform", transformer) is not None


def check_no_frames(transformer: Any, out: Any) -> None:
    """`ValueError` where rows are to go to `out` and to be frames."""
    if out is not None and asks_for_frames(transformer):
        raise ValueError("out is given, and set_output asks for frames: call set_output(transform='default')")


def in_container(transformer: Any, rows: np.ndarray, X: Any) -> Any:
    """Rows (n, d) made from X in the container that `set_output` asks for, with the names of the first d columns."""
    adapter = _get_container_adapter("transform", transformer)
    if adapter is None:
        return rows
    return adapter.create_container(rows, X, columns=transformer.get_feature_names_out()[: rows.shape[1]])
