"""Loops over rows. NumPy and Numba only; see `simd` for the vector type they are written in."""

from fastem.kernels import lowering, lowering_across

__all__ = ["lowering", "lowering_across"]
