"""One name of mlx-lm's, bound to ours within the methods of one module; or what it does when called.

mlx-lm's code is neither copied nor changed: the module's own methods run with other globals.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import cast

import mlx.nn as nn

__all__ = ["called", "methods_naming", "modules", "rebound"]


def modules(module: nn.Module) -> list[nn.Module]:
    """Return all modules, in the order in which they were declared."""
    found = [module]
    for child in module.children().values():
        for item in child if isinstance(child, list) else [child]:
            if isinstance(item, nn.Module):
                found += modules(item)
    return found


def methods_naming(kind: type, name: str) -> dict[str, FunctionType]:
    """Return the methods that call the function of that name."""
    methods = inspect.getmembers(kind, inspect.isfunction)
    return {key: method for key, method in methods if name in method.__code__.co_names}


def called(kind: type[nn.Module], call: Callable[..., object], **more: object) -> type[nn.Module]:
    """Return the class of a layer that does what is ours when it is called.

    Args:
        kind: of the layer.
        call: takes the layer and what it is called with.
        more: names that the class is to have beside it.
    """
    names = {"__call__": call, "__module__": kind.__module__, **more}
    return cast("type[nn.Module]", type(kind)(kind.__name__, (kind,), names))


def rebound(kind: type, name: str, ours: Callable[..., object]) -> type:
    """Return the class with its own methods, in which one name means what is ours."""
    methods: dict[str, FunctionType] = {}
    for key, method in methods_naming(kind, name).items():
        names = {**method.__globals__, name: ours}
        copy = FunctionType(method.__code__, names, key, method.__defaults__, method.__closure__)
        copy.__kwdefaults__ = method.__kwdefaults__
        methods[key] = copy
    return type(kind)(kind.__name__, (kind,), {**methods, "__module__": kind.__module__})
