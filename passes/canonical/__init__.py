"""Canonical forms: rules that leave one way of writing what can be written in many."""

from . import (
    arithmetic,
    attention,
    broadcast,
    constants,
    elementwise,
    index,
    quant,
    reduce,
    reshape,
    slice,
    weights,
)
from .registry import canonical as canonical

FAMILIES = (
    constants,
    arithmetic,
    attention,
    broadcast,
    elementwise,
    index,
    quant,
    reduce,
    reshape,
    slice,
    weights,
)
