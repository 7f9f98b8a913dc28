"""Explicit SIMD for Numba: one vector type, a dozen primitives, and for each a NumPy twin.

Every primitive is an ordinary Python function on NumPy slices (the twin), and Numba lowers calls of it to vector
instructions. A brick written with them therefore runs uncompiled in a test and compiled in a loop. Three widths of each
dtype are used: `native` (one register), `pair` (one or two registers: the columns of an M-step tile) and `group` (the
lanes of an E-step tile: as many registers as hide the latency of a multiply-add and leave room for the operands).

Loads and stores know no bounds. Arrays are C-contiguous and two-dimensional, and scratch is padded to the width.
"""

import operator
from collections.abc import Callable

import llvmlite.ir as ir
import numpy as np
from numba import types
from numba.core import cgutils
from numba.core import config as numba_config
from numba.core.codegen import get_host_cpu_features
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model, type_callable

_FEATURES = get_host_cpu_features() if numba_config.CPU_FEATURES is None else numba_config.CPU_FEATURES
_WIDE = "+avx512f" in _FEATURES
_BYTES = 64 if _WIDE else 32 if "+avx" in _FEATURES else 16
GROUP = 4 if _WIDE else 2
PAIR = 2 if _WIDE else 1
NATIVE_OF = {np.dtype(t): _BYTES // np.dtype(t).itemsize for t in (np.float32, np.float64)}


def native(a: np.ndarray) -> int:
    """Numbers of `a`'s dtype in one register."""
    return NATIVE_OF[a.dtype]


def pair(a: np.ndarray) -> int:
    """Columns of an M-step tile."""
    return PAIR * NATIVE_OF[a.dtype]


def group(a: np.ndarray) -> int:
    """Lanes of an E-step tile."""
    return GROUP * NATIVE_OF[a.dtype]


def address(a):
    """Address of the first element."""
    return a.ctypes.data


def load(a, i, j):
    """A group of lanes, a[i, j : j + group]."""
    return a[i, j : j + group(a)].copy()


def load_pair(a, i, j):
    """a[i, j : j + pair]."""
    return a[i, j : j + pair(a)].copy()


def load_native(a, i, j):
    """a[i, j : j + native]."""
    return a[i, j : j + native(a)].copy()


def store(a, i, j, v):
    """a[i, j : j + width of v] = v."""
    a[i, j : j + v.size] = v


def add_to(a, i, j, v):
    """a[i, j : j + width of v] += v, widened to a's dtype."""
    a[i, j : j + v.size] += v


def splat(a, i, j):
    """a[i, j] in every lane of a group."""
    return np.full(group(a), a[i, j])


def splat_pair(a, i, j):
    """a[i, j] in every lane of a pair."""
    return np.full(pair(a), a[i, j])


def splat_native(a, i, j):
    """a[i, j] in every lane of one register."""
    return np.full(native(a), a[i, j])


def transpose(a, i, j, out):
    """out[j : j + native, i : i + native] = the transpose of a[i : i + native, j : j + native]."""
    w = native(a)
    out[j : j + w, i : i + w] = a[i : i + w, j : j + w].T


def fma(a, b, c):
    """a * b + c, rounded once (the twin rounds twice)."""
    return a * b + c


def maximum(a, b):
    """The larger of each lane."""
    return np.where(a > b, a, b)


def select_greater(a, b, x, y):
    """x where a > b, else y."""
    return np.where(a > b, x, y)


def sqrt(a):
    """Square root of each lane."""
    return np.sqrt(a)


def count_greater(a, x):
    """Number of lanes over the scalar x."""
    return int(np.sum(a > x))


def total(v):
    """Sum of the lanes as float64."""
    return float(np.sum(v, dtype=np.float64))


def add_totals(a, i, j, v00, v01, v10, v11, v20, v21, v30, v31):
    """a[i + r, j + c] += sum of the lanes of v[r][c], for the four by two vectors of a tile."""
    for r, row in enumerate(((v00, v01), (v10, v11), (v20, v21), (v30, v31))):
        for c, v in enumerate(row):
            a[i + r, j + c] += total(v)


def like(v, x):
    """The number x in every lane, in the type of the vector v."""
    return np.full(v.size, x, v.dtype)


class Vector(types.Type):
    """A register, or a few, of one float dtype."""

    def __init__(self, dtype, width):
        self.dtype, self.width = dtype, width
        super().__init__(name=f"Vector({dtype}, {width})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        element = dmm.lookup(fe_type.dtype).get_value_type()
        super().__init__(dmm, fe_type, ir.VectorType(element, fe_type.width))


def _vector(dtype, registers: int) -> Vector:
    return Vector(dtype, registers * NATIVE_OF[np.dtype(dtype.name)])


def _is_float(t) -> bool:
    return t in (types.float32, types.float64)


# Widths become compile-time constants.


def _lower_width(function: Callable, registers: int) -> None:
    @type_callable(function)
    def _typer(context):
        return lambda a: types.intp if isinstance(a, types.Array) and _is_float(a.dtype) else None

    @lower_builtin(function, types.Array)
    def _lower(context, builder, sig, args):
        return context.get_constant(types.intp, _vector(sig.args[0].dtype, registers).width)


# Memory.


@type_callable(address)
def _type_address(context):
    return lambda a: types.intp if isinstance(a, types.Array) else None


@lower_builtin(address, types.Array)
def _lower_address(context, builder, sig, args):
    struct = context.make_array(sig.args[0])(context, builder, args[0])
    return builder.ptrtoint(struct.data, context.get_value_type(types.intp))


def _pointer(context, builder, array_type, array, i, j, i_type, j_type, vector: Vector | None = None):
    """Pointer to a[i, j], as a vector if one is given; no wrap-around of negative indices, which costs a third."""
    struct = context.make_array(array_type)(context, builder, array)
    i = context.cast(builder, i, i_type, types.intp)
    j = context.cast(builder, j, j_type, types.intp)
    columns = builder.extract_value(struct.shape, 1)
    pointer = builder.gep(struct.data, [builder.add(builder.mul(i, columns), j)])
    return builder.bitcast(pointer, context.get_value_type(vector).as_pointer()) if vector else pointer


def _is_matrix(a) -> bool:
    return isinstance(a, types.Array) and a.ndim == 2 and a.layout == "C" and _is_float(a.dtype)


def _lower_load(function: Callable, registers: int) -> None:
    @type_callable(function)
    def _typer(context):
        return lambda a, i, j: _vector(a.dtype, registers) if _is_matrix(a) else None

    @lower_builtin(function, types.Array, types.Integer, types.Integer)
    def _lower(context, builder, sig, args):
        pointer = _pointer(context, builder, sig.args[0], *args, *sig.args[1:], sig.return_type)
        value = builder.load(pointer)
        value.align = sig.args[0].dtype.bitwidth // 8
        return value


@type_callable(store)
@type_callable(add_to)
def _type_store(context):
    return lambda a, i, j, v: types.void if _is_matrix(a) and isinstance(v, Vector) else None


@lower_builtin(store, types.Array, types.Integer, types.Integer, Vector)
def _lower_store(context, builder, sig, args):
    a, i, j, v = sig.args
    builder.store(args[3], _pointer(context, builder, a, *args[:3], i, j, v), align=a.dtype.bitwidth // 8)
    return context.get_dummy_value()


@lower_builtin(add_to, types.Array, types.Integer, types.Integer, Vector)
def _lower_add_to(context, builder, sig, args):
    a, i, j, v = sig.args
    wide, value = Vector(a.dtype, v.width), args[3]
    if a.dtype != v.dtype:
        value = builder.fpext(value, context.get_value_type(wide))
    pointer = _pointer(context, builder, a, *args[:3], i, j, wide)
    old = builder.load(pointer)
    old.align = a.dtype.bitwidth // 8
    builder.store(builder.fadd(old, value), pointer, align=a.dtype.bitwidth // 8)
    return context.get_dummy_value()


def _splat(builder, scalar, vector_type):
    first = builder.insert_element(ir.Constant(vector_type, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), vector_type.count), None)
    return builder.shuffle_vector(first, ir.Constant(vector_type, ir.Undefined), mask)


def _lower_splat(function: Callable, registers: int) -> None:
    @type_callable(function)
    def _typer(context):
        return lambda a, i, j: _vector(a.dtype, registers) if _is_matrix(a) else None

    @lower_builtin(function, types.Array, types.Integer, types.Integer)
    def _lower(context, builder, sig, args):
        pointer = _pointer(context, builder, sig.args[0], *args, *sig.args[1:])
        return _splat(builder, builder.load(pointer), context.get_value_type(sig.return_type))


@type_callable(transpose)
def _type_transpose(context):
    return lambda a, i, j, out: types.void if _is_matrix(a) and _is_matrix(out) and a.dtype == out.dtype else None


@lower_builtin(transpose, types.Array, types.Integer, types.Integer, types.Array)
def _lower_transpose(context, builder, sig, args):
    """log2(W) stages; each swaps the off-diagonal blocks of half the size in every pair of rows that far apart."""
    a, i_type, j_type, out = sig.args
    vector, size = _vector(a.dtype, 1), a.dtype.bitwidth // 8
    intp = types.intp
    i, j = context.cast(builder, args[1], i_type, intp), context.cast(builder, args[2], j_type, intp)

    def pointer(array_type, array, row, offset, column):
        row = builder.add(row, context.get_constant(intp, offset))
        return _pointer(context, builder, array_type, array, row, column, intp, intp, vector)

    rows = [builder.load(pointer(a, args[0], i, v, j)) for v in range(vector.width)]
    for row in rows:
        row.align = size
    step = vector.width // 2
    while step:
        lanes = range(vector.width)
        low = [v if not v & step else vector.width + v - step for v in lanes]
        high = [v + step if not v & step else vector.width + v for v in lanes]
        masks = [ir.Constant(ir.VectorType(ir.IntType(32), vector.width), m) for m in (low, high)]
        for v in (v for v in range(vector.width) if not v & step):
            both = rows[v], rows[v + step]
            rows[v], rows[v + step] = (builder.shuffle_vector(*both, m) for m in masks)
        step //= 2
    for v, row in enumerate(rows):
        builder.store(row, pointer(out, args[3], j, v, i), align=size)
    return context.get_dummy_value()


# Arithmetic.


def _lower_intrinsic(function: Callable, name: str, arity: int) -> None:
    """An LLVM intrinsic on vectors of one type."""

    @type_callable(function)
    def _typer(context):
        def typer(*args):
            return args[0] if len(args) == arity and all(a == args[0] for a in args) else None

        return (lambda a: typer(a)) if arity == 1 else (lambda a, b, c: typer(a, b, c))

    @lower_builtin(function, *[Vector] * arity)
    def _lower(context, builder, sig, args):
        vector = context.get_value_type(sig.return_type)
        suffix = f".v{sig.return_type.width}f{sig.return_type.dtype.bitwidth}"
        return call(builder, f"llvm.{name}{suffix}", vector, args)


def call(builder, name, return_type, args):
    function_type = ir.FunctionType(return_type, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), args)


class _Binary(AbstractTemplate):
    def generic(self, args, kws):
        if len(args) == 2 and isinstance(args[0], Vector) and args[0] == args[1]:
            return signature(args[0], *args)
        return None


def _lower_operator(op: Callable, method: str) -> None:
    infer_global(op)(type(f"_Vector_{method}", (_Binary,), {}))

    @lower_builtin(op, Vector, Vector)
    def _lower(context, builder, sig, args):
        return getattr(builder, method)(*args)


@type_callable(maximum)
def _type_maximum(context):
    return lambda a, b: a if isinstance(a, Vector) and a == b else None


@lower_builtin(maximum, Vector, Vector)
def _lower_maximum(context, builder, sig, args):
    return builder.select(builder.fcmp_ordered(">", *args), *args)


@type_callable(select_greater)
def _type_select(context):
    return lambda a, b, x, y: x if isinstance(x, Vector) and x == y and a == b else None


@lower_builtin(select_greater, Vector, Vector, Vector, Vector)
def _lower_select(context, builder, sig, args):
    return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[2], args[3])


@type_callable(like)
def _type_like(context):
    return lambda v, x: v if isinstance(v, Vector) and isinstance(x, types.Number) else None


@lower_builtin(like, Vector, types.Number)
def _lower_like(context, builder, sig, args):
    scalar = context.cast(builder, args[1], sig.args[1], sig.return_type.dtype)
    return _splat(builder, scalar, context.get_value_type(sig.return_type))


# From lanes to a scalar.


@type_callable(count_greater)
def _type_count(context):
    return lambda a, x: types.intp if isinstance(a, Vector) and isinstance(x, types.Number) else None


@lower_builtin(count_greater, Vector, types.Number)
def _lower_count(context, builder, sig, args):
    vector = context.get_value_type(sig.args[0])
    scalar = context.cast(builder, args[1], sig.args[1], sig.args[0].dtype)
    mask = builder.fcmp_ordered(">", args[0], _splat(builder, scalar, vector))
    bits = builder.bitcast(mask, ir.IntType(vector.count))
    ones = builder.ctpop(bits)
    intp = ir.IntType(64)
    return builder.zext(ones, intp) if vector.count < 64 else ones


@type_callable(total)
def _type_total(context):
    return lambda v: types.float64 if isinstance(v, Vector) else None


@lower_builtin(total, Vector)
def _lower_total(context, builder, sig, args):
    """Halves added pairwise: the same order on every machine of one width."""
    value, width = args[0], sig.args[0].width
    if sig.args[0].dtype != types.float64:
        value = builder.fpext(value, ir.VectorType(ir.DoubleType(), width))
    while width > 1:
        half = width // 2
        lanes = [ir.Constant(ir.VectorType(ir.IntType(32), half), list(range(o, o + half))) for o in (0, half)]
        low, high = (builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), m) for m in lanes)
        value, width = builder.fadd(low, high), half
    return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))


@type_callable(add_totals)
def _type_add_totals(context):
    def typer(a, i, j, v00, v01, v10, v11, v20, v21, v30, v31):
        return types.void if _is_matrix(a) and isinstance(v00, Vector) else None

    return typer


def _shuffle(builder, u, v, lanes):
    return builder.shuffle_vector(u, v, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))


def _fold(builder, u, v, segment):
    """Halve every segment of u, and of v behind it, by adding its upper half to its lower half."""
    lanes = range(u.type.count if v is None else 2 * u.type.count)
    low = [lane for lane in lanes if lane % segment < segment // 2]
    other = ir.Constant(u.type, ir.Undefined) if v is None else v
    return builder.fadd(*(_shuffle(builder, u, other, [lane + o for lane in low]) for o in (0, segment // 2)))


@lower_builtin(add_totals, types.Array, types.Integer, types.Integer, *[Vector] * 8)
def _lower_add_totals(context, builder, sig, args):
    """Vectors are folded two into one until a lane is a sum: 21 shuffles and adds for eight, not 56."""
    a, i_type, j_type, v = sig.args[:4]
    vectors, segment = list(args[3:]), v.width
    while segment > NATIVE_OF[np.dtype(v.dtype.name)]:
        vectors, segment = [_fold(builder, u, None, segment) for u in vectors], segment // 2
    if v.dtype != a.dtype:
        wide = ir.VectorType(context.get_value_type(a.dtype), segment)
        vectors = [builder.fpext(u, wide) for u in vectors]
    while segment > 1:
        if len(vectors) > 1:
            vectors = [_fold(builder, u, w, segment) for u, w in zip(vectors[::2], vectors[1::2], strict=True)]
        else:
            vectors = [_fold(builder, vectors[0], None, segment)]
        segment //= 2
    sums = [(u, lane) for u in vectors for lane in range(u.type.count)]
    two = Vector(a.dtype, 2)
    for r in range(4):
        u, lane = sums[2 * r]
        both = _shuffle(builder, u, ir.Constant(u.type, ir.Undefined), [lane, lane + 1])
        i = builder.add(context.cast(builder, args[1], i_type, types.intp), context.get_constant(types.intp, r))
        pointer = _pointer(context, builder, a, args[0], i, args[2], types.intp, j_type, two)
        old = builder.load(pointer)
        old.align = a.dtype.bitwidth // 8
        builder.store(builder.fadd(old, both), pointer, align=a.dtype.bitwidth // 8)
    return context.get_dummy_value()


for _function, _registers in ((native, 1), (pair, PAIR), (group, GROUP)):
    _lower_width(_function, _registers)
for _function, _registers in ((load_native, 1), (load_pair, PAIR), (load, GROUP)):
    _lower_load(_function, _registers)
for _function, _registers in ((splat_native, 1), (splat_pair, PAIR), (splat, GROUP)):
    _lower_splat(_function, _registers)
for _op, _method in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv")):
    _lower_operator(_op, _method)
_lower_intrinsic(fma, "fma", 3)
_lower_intrinsic(sqrt, "sqrt", 1)
