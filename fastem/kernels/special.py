"""exp, log and 1 / sqrt on vectors: Cody-Waite reduction, a polynomial, the exponent through the bits.

Numba has no vector math library, so `math.exp` in a loop is one library call a lane. The functions are emitted as
vector instructions without fast-math flags, so that no caller can reassociate the reduction.
"""

import llvmlite.ir as ir
import numpy as np
from numba.extending import lower_builtin, type_callable

from fastem.kernels.lowering import Vector, call

LOG_TWO_PI = float(np.log(2 * np.pi))

# Minimax polynomials of e**r on |r| <= ln(2) / 2, relative errors 3e-18 and 2e-9, lowest power first.
_EXP = {
    64: (
        1.0, 1.0, 0.5000000000000019, 0.1666666666666668, 0.04166666666648809, 0.008333333333319601,
        0.0013888888952314812, 0.00019841269890047143, 2.480148548228773e-05, 2.7557240918547625e-06,
        2.763263965412376e-07, 2.511003761756205e-08,
    ),
    32: (
        1.0, 1.0000000377162366, 0.5000000047117786, 0.1666641551455268, 0.041666352896649515,
        0.008375126406529385, 0.0013941108444034413,
    ),
}  # fmt: skip
_EXP_LEAST = {64: -708.0, 32: -87.0}
_LN2 = {64: (6.93147180369123816490e-01, 1.90821492927058770002e-10), 32: (0.693359375, -2.12194440e-4)}
_LOG_TERMS = {64: 11, 32: 5}
_MANTISSA = {64: 52, 32: 23}
_BIAS = {64: 1023, 32: 127}
_RSQRT = {64: 0x5FE6EB50C7B537A9, 32: 0x5F3759DF}


def exp(v):
    """e**v for v up to 709 (88 in float32); lanes under -708 (-87 in float32) give the value there."""
    least = v.dtype.type(_EXP_LEAST[v.dtype.itemsize * 8])
    return np.exp(np.maximum(v, least))


def log(v):
    """Natural logarithm of positive normal lanes."""
    return np.log(v)


def rsqrt(v):
    """1 / sqrt(v) of positive normal lanes."""
    return 1 / np.sqrt(v)


@type_callable(exp)
@type_callable(log)
@type_callable(rsqrt)
def _type_unary(context):
    return lambda v: v if isinstance(v, Vector) else None


class _Lanes:
    """Constants and instructions of one vector type, so that the two formulas below read as formulas."""

    def __init__(self, context, builder, vector: Vector):
        self.builder, self.width, self.bits = builder, vector.width, vector.dtype.bitwidth
        self.float = context.get_value_type(vector)
        self.int = ir.VectorType(ir.IntType(self.bits), self.width)

    def number(self, x: float):
        return ir.Constant(self.float, [x] * self.width)

    def integer(self, x: int):
        return ir.Constant(self.int, [x] * self.width)

    def as_int(self, v):
        return self.builder.bitcast(v, self.int)

    def as_float(self, v):
        return self.builder.bitcast(v, self.float)

    def fma(self, a, b, c):
        return call(self.builder, f"llvm.fma.v{self.width}f{self.bits}", self.float, [a, b, c])

    def polynomial(self, x, coefficients):
        value = self.number(coefficients[-1])
        for c in coefficients[-2::-1]:
            value = self.fma(value, x, self.number(c))
        return value


@lower_builtin(exp, Vector)
def _lower_exp(context, builder, sig, args):
    """v = n ln 2 + r; adding 1.5 * 2**52 rounds n and leaves it in the low bits (AVX2 converts no 64-bit integers)."""
    lanes = _Lanes(context, builder, sig.return_type)
    bits = lanes.bits
    least = lanes.number(_EXP_LEAST[bits])
    v = builder.select(builder.fcmp_ordered(">", args[0], least), args[0], least)
    magic = lanes.number(1.5 * 2.0 ** _MANTISSA[bits])
    raised = lanes.fma(v, lanes.number(1.0 / np.log(2.0)), magic)
    n = builder.fsub(raised, magic)
    r = v
    for part in _LN2[bits]:
        r = lanes.fma(n, lanes.number(-part), r)
    power = builder.shl(lanes.as_int(raised), lanes.integer(_MANTISSA[bits]))
    return lanes.as_float(builder.add(lanes.as_int(lanes.polynomial(r, _EXP[bits])), power))


@lower_builtin(log, Vector)
def _lower_log(context, builder, sig, args):
    """v = m 2**e with 1/sqrt(2) <= m < sqrt(2), log m = 2 artanh((m - 1) / (m + 1))."""
    lanes = _Lanes(context, builder, sig.return_type)
    bits, shift = lanes.bits, _MANTISSA[lanes.bits]
    root = int(np.sqrt(0.5).astype(f"float{bits}").view(f"int{bits}"))
    one = int(np.ones((), f"float{bits}").view(f"int{bits}"))
    # Counted from sqrt(1/2), the exponent field changes where m crosses it.
    offset = builder.sub(lanes.as_int(args[0]), lanes.integer(root))
    power = builder.ashr(offset, lanes.integer(shift))
    m = lanes.as_float(builder.sub(lanes.as_int(args[0]), builder.shl(power, lanes.integer(shift))))
    tick = lanes.number(1.5 * 2.0**shift)
    tick_bits = int(np.asarray(1.5 * 2.0**shift, f"float{bits}").view(f"int{bits}"))
    e = builder.fsub(lanes.as_float(builder.add(power, lanes.integer(tick_bits))), tick)
    unit = lanes.as_float(lanes.integer(one))
    s = builder.fdiv(builder.fsub(m, unit), builder.fadd(m, unit))
    square = builder.fmul(s, s)
    series = lanes.polynomial(square, [2.0 / (2 * t + 1) for t in range(_LOG_TERMS[bits])])
    high, low = _LN2[bits]
    return lanes.fma(e, lanes.number(high), lanes.fma(e, lanes.number(low), builder.fmul(s, series)))


@lower_builtin(rsqrt, Vector)
def _lower_rsqrt(context, builder, sig, args):
    """Half the exponent taken off through the bits, to 3.5 %, then y (1 + e / 2 + 3 e^2 / 8 + ...) with e = 1 - v y^2.

    Square root and division of the processor keep one unit busy for six times as long.
    """
    lanes = _Lanes(context, builder, sig.return_type)
    v, unit, half = args[0], lanes.number(1.0), lanes.number(0.5)
    bits = builder.lshr(lanes.as_int(v), lanes.integer(1))
    y = lanes.as_float(builder.sub(lanes.integer(_RSQRT[lanes.bits]), bits))
    for cubic in (True, True, False) if lanes.bits == 64 else (True, False):
        e = lanes.fma(builder.fneg(builder.fmul(v, y)), y, unit)
        step = builder.fmul(lanes.fma(e, lanes.number(0.375), half), e) if cubic else builder.fmul(e, half)
        y = lanes.fma(y, step, y)
    return y
