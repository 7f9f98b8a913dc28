"""The instructions behind `simd`: the vector type, and what Numba emits for each primitive on it.

Numba has no vector type but lets one be registered. No instruction here carries a fast-math flag.
"""

import operator
from collections.abc import Callable

import llvmlite.ir as ir
import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model, type_callable

from fastem.kernels import simd
from fastem.kernels.simd import GROUP, NATIVE_OF, PAIR, add_to, fma, like, maximum, prefetch, sqrt, store


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


def vector_of(dtype, registers: int) -> Vector:
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
        return context.get_constant(types.intp, vector_of(sig.args[0].dtype, registers).width)


# Memory.


def pointer_to(context, builder, signature, values, vector=None):
    """Pointer to a[i, j], as a vector if one is given; no wrap-around of negative indices, which costs a third.

    `signature` are the types of a, i and j, and `values` what they are.
    """
    struct = context.make_array(signature[0])(context, builder, values[0])
    i, j = (context.cast(builder, values[v], signature[v], types.intp) for v in (1, 2))
    columns = builder.extract_value(struct.shape, 1)
    pointer = builder.gep(struct.data, [builder.add(builder.mul(i, columns), j)])
    return builder.bitcast(pointer, context.get_value_type(vector).as_pointer()) if vector else pointer


def is_matrix(a) -> bool:
    return isinstance(a, types.Array) and a.ndim == 2 and a.layout == "C" and _is_float(a.dtype)


def _load(context, builder, vector, signature, values):
    value = builder.load(pointer_to(context, builder, signature, values, vector))
    value.align = signature[0].dtype.bitwidth // 8
    return value


def _splat(context, builder, vector, signature, values):
    scalar = builder.load(pointer_to(context, builder, signature, values))
    return splat_of(builder, scalar, context.get_value_type(vector))


def _lower_load(function: Callable, registers: int, instructions: Callable) -> None:
    @type_callable(function)
    def _typer(context):
        return lambda a, i, j: vector_of(a.dtype, registers) if is_matrix(a) else None

    @lower_builtin(function, types.Array, types.Integer, types.Integer)
    def _lower(context, builder, sig, args):
        return instructions(context, builder, sig.return_type, sig.args, args)


def _lower_load_like(function: Callable, instructions: Callable) -> None:
    @type_callable(function)
    def _typer(context):
        return lambda v, a, i, j: v if isinstance(v, Vector) and is_matrix(a) and a.dtype == v.dtype else None

    @lower_builtin(function, Vector, types.Array, types.Integer, types.Integer)
    def _lower(context, builder, sig, args):
        return instructions(context, builder, sig.return_type, sig.args[1:], args[1:])


@type_callable(store)
@type_callable(add_to)
def _type_store(context):
    return lambda a, i, j, v: types.void if is_matrix(a) and isinstance(v, Vector) else None


@lower_builtin(store, types.Array, types.Integer, types.Integer, Vector)
def _lower_store(context, builder, sig, args):
    a, v = sig.args[0], sig.args[3]
    builder.store(args[3], pointer_to(context, builder, sig.args, args, v), align=a.dtype.bitwidth // 8)
    return context.get_dummy_value()


@lower_builtin(add_to, types.Array, types.Integer, types.Integer, Vector)
def _lower_add_to(context, builder, sig, args):
    a, v = sig.args[0], sig.args[3]
    wide, value = Vector(a.dtype, v.width), args[3]
    if a.dtype != v.dtype:
        value = builder.fpext(value, context.get_value_type(wide))
    pointer = pointer_to(context, builder, sig.args, args, wide)
    old = builder.load(pointer)
    old.align = a.dtype.bitwidth // 8
    builder.store(builder.fadd(old, value), pointer, align=a.dtype.bitwidth // 8)
    return context.get_dummy_value()


@type_callable(prefetch)
def _type_prefetch(context):
    return lambda a, i, j: types.void if is_matrix(a) else None


@lower_builtin(prefetch, types.Array, types.Integer, types.Integer)
def _lower_prefetch(context, builder, sig, args):
    """Of data that will be read, once or twice: not into the first cache, which the tile fills."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    function_type = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    function = builder.module.declare_intrinsic("llvm.prefetch", [byte], function_type)
    pointer = builder.bitcast(pointer_to(context, builder, sig.args, args), byte)
    to_read, second_cache, of_data = number(0), number(2), number(1)
    builder.call(function, [pointer, to_read, second_cache, of_data])
    return context.get_dummy_value()


def splat_of(builder, scalar, vector_type):
    first = builder.insert_element(ir.Constant(vector_type, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), vector_type.count), None)
    return builder.shuffle_vector(first, ir.Constant(vector_type, ir.Undefined), mask)


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


@type_callable(like)
def _type_like(context):
    return lambda v, x: v if isinstance(v, Vector) and isinstance(x, types.Number) else None


@lower_builtin(like, Vector, types.Number)
def _lower_like(context, builder, sig, args):
    scalar = context.cast(builder, args[1], sig.args[1], sig.return_type.dtype)
    return splat_of(builder, scalar, context.get_value_type(sig.return_type))


for _registers, _width, _loads, _splats in (
    (1, simd.native, simd.load_native, simd.splat_native),
    (PAIR, simd.pair, simd.load_pair, simd.splat_pair),
    (GROUP, simd.group, simd.load, simd.splat),
):
    _lower_width(_width, _registers)
    _lower_load(_loads, _registers, _load)
    _lower_load(_splats, _registers, _splat)
_lower_load_like(simd.load_like, _load)
_lower_load_like(simd.splat_like, _splat)
for _op, _method in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _lower_operator(_op, _method)
_lower_intrinsic(fma, "fma", 3)
_lower_intrinsic(sqrt, "sqrt", 1)
