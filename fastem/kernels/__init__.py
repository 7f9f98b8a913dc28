"""Loops over rows. NumPy and Numba only; see `simd` for the vector type they are written in."""
