"""Errors a person sees, each with what to do about it.

EngineError
├── ModelError          the model can't be loaded            exit 1
│   ├── ModelFileError  unreadable, incomplete or malicious  exit 1
│   └── HeadError       its head can't be used; the trunk can
├── RequestError        this request can't be served         exit 2
└── BackendError        MLX has no working backend here      exit 1
"""

from __future__ import annotations

from engine.protocol import ErrorInfo

__all__ = [
    "BackendError",
    "EngineError",
    "HeadError",
    "ModelError",
    "ModelFileError",
    "RequestError",
]


class EngineError(Exception):
    """An error with a remedy; `str()` is one line."""

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def info(self) -> ErrorInfo:
        """Return the error as it crosses the wire."""
        return ErrorInfo(self.message, self.remedy, self.exit_code)


class ModelError(EngineError):
    """The model can't be loaded."""


class ModelFileError(ModelError):
    """A file of the model is unreadable, incomplete or malicious."""


class HeadError(ModelError):
    """The model's MTP head can't be used; its trunk may still run."""


class RequestError(EngineError):
    """This request can't be served by this model."""

    exit_code = 2


class BackendError(EngineError):
    """MLX is installed without a backend that works here."""
