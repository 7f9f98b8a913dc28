"""The instructions of the primitives of `simd` that move numbers across lanes: transposition, sums, counts."""

import llvmlite.ir as ir
import numpy as np
from numba import types
from numba.extending import lower_builtin, type_callable

from fastem.kernels.lowering import Vector, is_matrix, pointer_to, splat_of, vector_of
from fastem.kernels.simd import (
    NATIVE_OF,
    add_at,
    add_totals,
    count_greater,
    gather,
    lowest_bit,
    total,
    transpose,
    which_greater,
)


@type_callable(transpose)
def _type_transpose(context):
    return lambda a, i, j, out: types.void if is_matrix(a) and is_matrix(out) and a.dtype == out.dtype else None


@lower_builtin(transpose, types.Array, types.Integer, types.Integer, types.Array)
def _lower_transpose(context, builder, sig, args):
    """log2(W) stages; each swaps the off-diagonal blocks of half the size in every pair of rows that far apart."""
    a, i_type, j_type, out = sig.args
    vector, size = vector_of(a.dtype, 1), a.dtype.bitwidth // 8
    intp = types.intp
    i, j = context.cast(builder, args[1], i_type, intp), context.cast(builder, args[2], j_type, intp)

    def pointer(array_type, array, row, offset, column):
        row = builder.add(row, context.get_constant(intp, offset))
        return pointer_to(context, builder, (array_type, intp, intp), (array, row, column), vector)

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


@type_callable(gather)
def _type_gather(context):
    def typer(a, first, index, i, j, b):
        integers = isinstance(index, types.Array) and index.ndim == 2 and index.layout == "C"
        return vector_of(a.dtype, 1) if is_matrix(a) and integers and index.dtype == types.intp else None

    return typer


@lower_builtin(gather, types.Array, types.Integer, types.Array, types.Integer, types.Integer, types.Integer)
def _lower_gather(context, builder, sig, args):
    """One load a lane: the processors that gather by themselves are no faster at it, and some are much slower."""
    a, first_type, index, i_type, j_type, b_type = sig.args
    intp, vector = types.intp, sig.return_type
    first, b = context.cast(builder, args[1], first_type, intp), context.cast(builder, args[5], b_type, intp)
    value = ir.Constant(context.get_value_type(vector), ir.Undefined)
    for lane in range(vector.width):
        at = builder.add(b, context.get_constant(intp, lane))
        row, column = (
            builder.load(pointer_to(context, builder, (index, t, intp), (args[2], args[v], at)))
            for v, t in ((3, i_type), (4, j_type))
        )
        entry = pointer_to(context, builder, (a, intp, intp), (args[0], builder.add(first, row), column))
        value = builder.insert_element(value, builder.load(entry), ir.Constant(ir.IntType(32), lane))
    return value


@type_callable(add_at)
def _type_add_at(context):
    return lambda a, i, j, x: types.void if is_matrix(a) and x == a.dtype else None


@lower_builtin(add_at, types.Array, types.Integer, types.Integer, types.Float)
def _lower_add_at(context, builder, sig, args):
    pointer = pointer_to(context, builder, sig.args, args)
    builder.store(builder.fadd(builder.load(pointer), args[3]), pointer)
    return context.get_dummy_value()


@type_callable(count_greater)
@type_callable(which_greater)
def _type_greater(context):
    return lambda a, x: types.int64 if isinstance(a, Vector) and isinstance(x, types.Number) else None


@lower_builtin(which_greater, Vector, types.Number)
def _lower_which(context, builder, sig, args):
    vector = context.get_value_type(sig.args[0])
    scalar = context.cast(builder, args[1], sig.args[1], sig.args[0].dtype)
    mask = builder.fcmp_ordered(">", args[0], splat_of(builder, scalar, vector))
    bits = builder.bitcast(mask, ir.IntType(vector.count))
    return builder.zext(bits, ir.IntType(64)) if vector.count < 64 else bits


@lower_builtin(count_greater, Vector, types.Number)
def _lower_count(context, builder, sig, args):
    return builder.ctpop(_lower_which(context, builder, sig, args))


@type_callable(lowest_bit)
def _type_lowest_bit(context):
    return lambda bits: types.int64 if bits == types.int64 else None


@lower_builtin(lowest_bit, types.int64)
def _lower_lowest_bit(context, builder, sig, args):
    return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))


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
        return types.void if is_matrix(a) and isinstance(v00, Vector) else None

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
        pointer = pointer_to(context, builder, (a, types.intp, j_type), (args[0], i, args[2]), two)
        old = builder.load(pointer)
        old.align = a.dtype.bitwidth // 8
        builder.store(builder.fadd(old, both), pointer, align=a.dtype.bitwidth // 8)
    return context.get_dummy_value()
