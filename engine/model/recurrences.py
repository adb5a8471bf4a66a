"""The recurrences of mlx-lm's layers, each done so that it leaves a tape to roll back with.

One of these stands in for the function of that name within one layer (`engine.model.recurrent`).
It does what mlx-lm's does, and for the few rows of a window it runs them one after the other
and keeps a tape; long runs of a prompt go to mlx-lm's own function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self

import mlx.core as mx
from mlx_lm.models import gated_delta as mlx_lm_gated_delta
from mlx_lm.models import ssm as mlx_lm_ssm

from kernels.dispatch import Backend, backend
from kernels.gated_delta import DeltaTape, gated_delta, replay

__all__ = [
    "RECURRENCES",
    "WINDOW_ROWS",
    "GatedDelta",
    "GatedDeltaTape",
    "Lightning",
    "Mamba2",
    "Recurrence",
    "Tape",
]

WINDOW_ROWS = 16
"""Rows of the longest window that can be rolled back."""


class Tape(Protocol):
    """What rebuilds the state after any of a window's rows."""

    def arrays(self) -> list[mx.array]:
        """Return what it is made of, for `of`."""

    @classmethod
    def of(cls, arrays: list[mx.array]) -> Self:
        """Return a tape of what `arrays` gave."""

    def state_after(self, rows: int, state: mx.array | None) -> mx.array:
        """Return the state after the first rows; bit for bit what the pass had there.

        Args:
            rows: 1 or more.
            state: the one the pass began with; None for the empty one.
        """


class Recurrence(Protocol):
    """Stands in for mlx-lm's function; keeps the tape of its newest run."""

    tape: Tape | None

    def __call__(self, *arguments: Any, **options: Any) -> tuple[mx.array, mx.array]:
        """Return outputs and the new state, as mlx-lm's function does."""


class GatedDelta:
    """Stands in for `gated_delta_update`; gated DeltaNet, and Kimi's delta attention.

    Args:
        original: mlx-lm's function.
    """

    def __init__(self, original: Callable[..., tuple[mx.array, mx.array]]) -> None:
        self._original = original
        self.tape: Tape | None = None

    def __call__(  # noqa: PLR0913 - the signature is mlx-lm's
        self,
        q: mx.array,
        k: mx.array,
        v: mx.array,
        a: mx.array,
        b: mx.array,
        A_log: mx.array,
        dt_bias: mx.array,
        state: mx.array | None = None,
        mask: mx.array | None = None,
        **options: Any,
    ) -> tuple[mx.array, mx.array]:
        """Run the rows of a window one by one; see mlx-lm's `gated_delta_update`."""
        self.tape = None
        is_long = q.shape[1] > WINDOW_ROWS and backend() is not Backend.CUDA
        if mask is not None or is_long:
            return self._original(q, k, v, a, b, A_log, dt_bias, state, mask, **options)
        beta = mx.sigmoid(b)
        if options.get("allow_neg_eigval"):
            beta = beta * 2.0
        gate = _gate(A_log, a, dt_bias, options.get("lower_bound"))
        if state is None:
            state = mx.zeros((v.shape[0], *v.shape[2:], k.shape[-1]), mx.float32)
        output = gated_delta(q, k, v, gate, beta, state)
        if 1 < q.shape[1] <= WINDOW_ROWS:
            self.tape = GatedDeltaTape(output.tape)
        return output.y, output.state


def _gate(a_log: mx.array, a: mx.array, dt_bias: mx.array, bound: float | None) -> mx.array:
    if bound is None:
        return mlx_lm_gated_delta.compute_g(a_log, a, dt_bias)
    return mlx_lm_gated_delta.compute_lower_bound_g(a_log, a, dt_bias, bound)


class GatedDeltaTape:
    """Wraps the kernel's tape."""

    def __init__(self, tape: DeltaTape) -> None:
        self.tape = tape

    def arrays(self) -> list[mx.array]:
        """Return keys, innovations and gates."""
        return [self.tape.k, self.tape.delta, self.tape.g]

    @classmethod
    def of(cls, arrays: list[mx.array]) -> Self:
        """Return the tape of keys, innovations and gates."""
        k, delta, g = arrays
        return cls(DeltaTape(k, delta, g))

    def state_after(self, rows: int, state: mx.array | None) -> mx.array:
        """Replay the tape; see `Tape.state_after`."""
        if state is None:
            delta = self.tape.delta
            shape = (delta.shape[0], *delta.shape[2:], self.tape.k.shape[-1])
            state = mx.zeros(shape, mx.float32)
        return replay(self.tape, rows, state)


class Mamba2:
    """Stands in for `ssm_update`: S = a S + (Δ x) Bᵀ, o = S C + D x, per head.

    The tape is Δx, B and a; it does not depend on the state. On Metal a single row goes to
    mlx-lm's own kernel.

    Args:
        original: mlx-lm's function.

    Source:
        Dao and Gu 2024, arXiv:2405.21060.
    """

    def __init__(self, original: Callable[..., tuple[mx.array, mx.array]]) -> None:
        self._original = original
        self.tape: Tape | None = None

    def __call__(  # noqa: PLR0913 - the signature is mlx-lm's
        self,
        x: mx.array,
        A_log: mx.array,
        B: mx.array,
        C: mx.array,
        D: mx.array,
        dt: mx.array,
        dt_bias: mx.array,
        state: mx.array | None = None,
        time_step_limit: tuple[float, float] = (0.001, 100.0),
        mask: mx.array | None = None,
        **options: Any,
    ) -> tuple[mx.array, mx.array]:
        """Run the rows of a window one by one; see mlx-lm's `ssm_update`."""
        self.tape = None
        if mask is not None or not _is_ours(x.shape[1]):
            rest = (D, dt, dt_bias, state, time_step_limit, mask)
            return self._original(x, A_log, B, C, *rest, **options)
        step = mlx_lm_ssm.compute_dt(dt, dt_bias, time_step_limit)
        decay = mx.exp(step * -mx.exp(A_log).astype(step.dtype))
        repeats = x.shape[2] // B.shape[2]
        b, c = (mx.repeat(part, repeats, axis=2) for part in (B, C))
        written = step[..., None] * x
        if state is None:
            state = mx.zeros((x.shape[0], *x.shape[2:], B.shape[-1]), written.dtype)
        states = _outer_steps(decay[..., None, None], written, b, state)
        if len(states) > 1:
            self.tape = _OuterTape(decay[..., None, None], written, b)
        seen = [(states[t] * c[:, t, :, None]).sum(axis=-1) for t in range(len(states))]
        return mx.stack(seen, axis=1).astype(x.dtype) + x * D[:, None], states[-1]


class Lightning:
    """Stands in for `recurrent_gla`: S = g S + k vᵀ, o = Sᵀ q, with a decay fixed for each head.

    Args:
        original: mlx-lm's function.

    Source:
        Qin et al. 2024, arXiv:2401.04658.
    """

    def __init__(self, original: Callable[..., tuple[mx.array, mx.array]]) -> None:
        self._original = original
        self.tape: Tape | None = None

    def __call__(
        self,
        q: mx.array,
        k: mx.array,
        v: mx.array,
        g: mx.array,
        scale: float,
        h: mx.array | None = None,
        **options: Any,
    ) -> tuple[mx.array, mx.array]:
        """Run the rows of a window one by one; see mlx-lm's `recurrent_gla`."""
        self.tape = None
        rows, state = q.shape[2], h
        if options.get("mask") is not None or not _is_ours(rows):
            return self._original(q, k, v, g, scale=scale, h=h, **options)
        if state is None:
            state = mx.zeros((*q.shape[:2], k.shape[-1], v.shape[-1]), mx.float32)
        decay = mx.broadcast_to(mx.exp(g)[:, None, None], (1, rows, g.shape[0], 1, 1))
        keys, values = k.swapaxes(1, 2), v.swapaxes(1, 2)
        states = _outer_steps(decay.astype(state.dtype), keys, values, state)
        if rows > 1:
            self.tape = _OuterTape(decay.astype(state.dtype), keys, values)
        scaled = q * scale
        seen = [scaled[:, :, t : t + 1] @ states[t] for t in range(rows)]
        return mx.concatenate(seen, axis=2).astype(q.dtype), states[-1]


def _is_ours(rows: int) -> bool:
    """Return whether these rows are run one by one here, so that they can be rolled back."""
    is_single_on_metal = rows == 1 and backend() is Backend.METAL
    return rows <= WINDOW_ROWS and not is_single_on_metal


def _outer_steps(
    decay: mx.array, left: mx.array, right: mx.array, state: mx.array
) -> list[mx.array]:
    """Return the state after each row of S = decay S + left rightᵀ.

    Args:
        decay: [B, T, H, 1, 1].
        left: [B, T, H, N].
        right: [B, T, H, M].
        state: [B, H, N, M].
    """
    states = []
    for t in range(left.shape[1]):
        state = state * decay[:, t] + left[:, t, ..., None] * right[:, t, :, None]
        states.append(state)
    return states


class _OuterTape:
    def __init__(self, decay: mx.array, left: mx.array, right: mx.array) -> None:
        self._decay = decay
        self._left = left
        self._right = right

    def arrays(self) -> list[mx.array]:
        return [self._decay, self._left, self._right]

    @classmethod
    def of(cls, arrays: list[mx.array]) -> Self:
        decay, left, right = arrays
        return cls(decay, left, right)

    def state_after(self, rows: int, state: mx.array | None) -> mx.array:
        if state is None:
            batch, _, heads, width = self._left.shape
            shape = (batch, heads, width, self._right.shape[-1])
            state = mx.zeros(shape, self._decay.dtype)
        kept = self._left[:, :rows]
        return _outer_steps(self._decay, kept, self._right, state)[-1]


RECURRENCES: dict[str, Callable[[Callable[..., tuple[mx.array, mx.array]]], Recurrence]] = {
    "gated_delta_update": GatedDelta,
    "recurrent_gla": Lightning,
    "ssm_update": Mamba2,
}
"""What stands in for a function of mlx-lm's, by its name there."""
