"""What every reader of a weight file's header shares: its faults, its limits, how names look.

Knows no format.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from engine.errors import ModelFileError

__all__ = [
    "MAX_NAME",
    "MAX_TENSORS",
    "HeaderFault",
    "checked",
    "element_count",
    "malformed",
    "shown_name",
]

MAX_TENSORS = 200_000
MAX_NAME = 512
_REMEDY = "download the file again, from a source you trust"
_MAX_DIM = 2**31 - 1
_MAX_ELEMENTS = 2**48 - 1
_Header = TypeVar("_Header")


class HeaderFault(Exception):
    """What is wrong with the file, as the end of a sentence."""


def malformed(name: str, fault: HeaderFault) -> ModelFileError:
    """Return what to raise for a file in which a fault was found."""
    return ModelFileError(f"{name} is malformed: {fault}", _REMEDY)


def checked(path: Path, read: Callable[[BinaryIO, int], _Header]) -> _Header:
    """Return what a reader makes of an ordinary file and its size in bytes.

    Raises:
        ModelFileError: it can't be read, or the reader found a fault.
    """
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise HeaderFault("it is no ordinary file")
        with path.open("rb") as file:
            return read(file, state.st_size)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ModelFileError(f"{path} can't be read: {reason}") from error
    except HeaderFault as fault:
        raise malformed(path.name, fault) from fault


def shown_name(raw: bytes, kind: str) -> str:
    """Return a tensor's or key's name.

    Raises:
        HeaderFault: it is no short, printable text.
    """
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HeaderFault(f"a {kind} name is no text") from error
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise HeaderFault(f"a {kind} name is empty, too long or not printable")
    return name


def element_count(shape: tuple[int, ...], name: str) -> int:
    """Return the product of a shape.

    Raises:
        HeaderFault: it could wrap in 64 bits.
    """
    bound, product = 1, 1
    for dim in shape:
        bound *= max(dim, 1)
        product *= dim
        if dim > _MAX_DIM or bound > _MAX_ELEMENTS:
            raise HeaderFault(f"tensor {name} has an impossible shape")
    return product
