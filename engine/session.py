"""One loaded model and the requests in flight, each with its own caches and random keys.

Requests take turns, one chunk of prompt or one cycle each; `turns` decides whose it is.
"""

from __future__ import annotations

import os
import platform
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx

from engine.certify.certification import Certification
from engine.errors import EngineError, RequestError
from engine.model.load import LoadedModel, Progress, load, memory_bytes
from engine.prefix.cache import PrefixCache
from engine.prefix.disk import Disk
from engine.prefix.identity import identity
from engine.profiles import Profiles, kind_of
from engine.prompt import Prompt, read_prompt_of
from engine.protocol import (
    Cancel,
    Certify,
    CountTokens,
    ErrorInfo,
    Event,
    Generate,
    LimitPrefixes,
    LoadCancelled,
    LoadFailed,
    LoadModel,
    LoadProgress,
    ModelLoaded,
    PrefixesKept,
    PromptShown,
    RequestFailed,
    SetDepth,
    SetDetail,
    ShowPrompt,
    TokensCounted,
)
from engine.request import Request
from engine.speculation.depth import DepthProfile
from engine.speculation.on_device import kernel_note
from engine.speculation.warm_up import measured_ratios
from engine.turns import Turns
from kernels.dialect import keep_sources

__all__ = ["Session"]


PROGRESS_S = 0.1
"""Between two reports of a load's progress."""
PROMPTS_KEPT = 64
"""Of the newest requests, for whoever asks what the model saw."""
PREFIX_SHARE = 8
"""The part of the machine's memory that prefixes may take, unless they are bound otherwise."""


class _LoadStoppedError(Exception):
    """Someone cancelled the load."""


class Session:
    """See the module.

    Args:
        emit: takes each event.
        cache_folder: for weights that were unpacked for a CPU.
        is_load_cancelled: asked between the steps of a load, by its request id.
    """

    def __init__(
        self,
        emit: Callable[[Event], None],
        cache_folder: Path,
        is_load_cancelled: Callable[[str], bool],
    ) -> None:
        self._emit = emit
        self._cache_folder = cache_folder
        self._is_load_cancelled = is_load_cancelled
        self._model: LoadedModel | None = None
        self._profiles: Profiles | None = None
        self._requests: Turns[Request | Certification] = Turns()
        self._limits = LimitPrefixes()
        self._prefixes = PrefixCache(0)
        self._disk_note = ""
        self._prompts: OrderedDict[str, Prompt] = OrderedDict()

    @property
    def is_busy(self) -> bool:
        """Whether a request has work to do."""
        return bool(self._requests)

    def load(self, command: LoadModel) -> None:
        """Load a model in place of the present one; tells how it went by events."""
        for request in self._requests:
            self._emit(request.cancel())
        self._requests.clear()
        self._prompts.clear()
        self._prefixes = PrefixCache(self._prefix_bytes())
        self._model = None
        mx.clear_cache()

        progress = _LoadWatch(command.request, self._emit, self._is_load_cancelled)
        try:
            progress("starting", 0, 0)
            path = Path(command.path)
            model = _with_kernel_note(load(command.name, path, self._cache_folder, progress))
            self._profiles = _profiles(model, self._cache_folder, progress)
            self._model = model
            self._open_disk()
        except _LoadStoppedError:
            self._emit(LoadCancelled(command.request))
        except EngineError as error:
            self._emit(LoadFailed(command.request, error.info()))
        except (MemoryError, RuntimeError, OSError, ValueError, KeyError) as error:
            self._emit(LoadFailed(command.request, _unforeseen("loading", error)))
        else:
            self._emit(ModelLoaded(command.request, self._model.info))

    def generate(self, command: Generate) -> None:
        """Take a request."""
        try:
            model = self._free_model(command.request)
            request = Request(command, model, self._known(command), self._prefixes)
        except EngineError as error:
            self._emit(RequestFailed(command.request, error.info()))
            return
        for earlier in self._requests:
            if isinstance(earlier, Request):
                earlier.expect(request)
        self._requests.add(request)
        self._remember(command.request, request.prompt)
        self._emit(request.started())

    def count(self, command: CountTokens) -> None:
        """Tell how long a command's prompt is."""
        try:
            tokens = len(read_prompt_of(command.command, self._loaded()).ids)
        except EngineError as error:
            self._emit(TokensCounted(command.request, 0, error.info()))
        else:
            self._emit(TokensCounted(command.request, tokens))

    def show_prompt(self, command: ShowPrompt) -> None:
        """Tell what the model saw of a request."""
        prompt = self._prompts.get(command.request)
        if prompt is None or self._model is None:
            self._emit(PromptShown(command.request, "", (), ()))
            return
        pieces = tuple(self._model.tokenizer.piece(token) for token in prompt.ids)
        self._emit(PromptShown(command.request, prompt.text, prompt.ids, pieces))

    def certify(self, command: Certify) -> None:
        """Begin a certificate of the loaded model; it takes turns with requests."""
        try:
            certification = Certification(command, self._free_model(command.request))
        except EngineError as error:
            self._emit(RequestFailed(command.request, error.info()))
            return
        self._requests.add(certification)

    def _free_model(self, name: str) -> LoadedModel:
        """Return the model for a request of a name that is not in flight, with all that its kernels need in place."""
        model = self._loaded()
        keep_sources()
        if any(request.name == name for request in self._requests):
            raise RequestError(f"request {name} is in flight already")
        return model

    def _loaded(self) -> LoadedModel:
        if self._model is None:
            raise RequestError("no model is loaded", "open one first")
        return self._model

    def _remember(self, name: str, prompt: Prompt) -> None:
        """Keep a prompt for whoever asks what the model saw."""
        self._prompts.pop(name, None)
        self._prompts[name] = prompt
        while len(self._prompts) > PROMPTS_KEPT:
            self._prompts.popitem(last=False)

    def set_depth(self, command: SetDepth) -> None:
        """Change a request's depth; one that has ended has none."""
        for request in self._requests:
            if request.name == command.request and isinstance(request, Request):
                self._emit(request.set_depth(command.depth))

    def set_detail(self, command: SetDetail) -> None:
        """Have a request tell what its windows are judged by, or no more."""
        for request in self._requests:
            if isinstance(request, Request) and request.name == command.request:
                request.set_detail(is_on=command.is_on)

    def cancel(self, command: Cancel) -> None:
        """End a request; one that has ended told so before."""
        for request in self._requests:
            if request.name == command.request:
                self._requests.remove(request)
                self._emit(request.cancel())
                self._end(request)

    def step(self) -> None:
        """Give the next request its turn."""
        begin = time.perf_counter()
        request = self._requests.next(self._waits)
        try:
            events = request.advance()
        except EngineError as error:
            self._fail(request, error.info())
            return
        except (RuntimeError, ValueError, MemoryError) as error:
            self._fail(request, _unforeseen("generating", error))
            return
        for event in events:
            self._emit(event)
        if request.is_over:
            self._requests.remove(request)
            self._end(request)
        else:
            self._requests.charge(request, time.perf_counter() - begin)

    def limit_prefixes(self, command: LimitPrefixes) -> None:
        """Bound what is kept of prompts and answers."""
        self._limits = command
        self._prefixes.limit(self._prefix_bytes())
        self._open_disk()
        self._tell_prefixes()

    @property
    def can_tidy(self) -> bool:
        """Whether there is work that waits for idle time."""
        return self._prefixes.can_write

    def tidy(self) -> None:
        """Write one place to the disk."""
        self._prefixes.write_one()
        if not self._prefixes.can_write:
            self._tell_prefixes()

    def _open_disk(self) -> None:
        """Use the disk for prefixes where it was asked for and a model is there."""
        disk = None
        self._disk_note = ""
        if self._model is not None and self._limits.disk_bytes:
            folder = self._cache_folder / "prefixes"
            try:
                disk = Disk(folder, identity(self._model), self._limits)
            except OSError as error:
                self._disk_note = f"{folder} can't be used: {error}"
        self._prefixes.use_disk(disk)

    def _prefix_bytes(self) -> int:
        asked = self._limits.memory_bytes
        return memory_bytes() // PREFIX_SHARE if asked is None else asked

    def _waits(self, request: Request | Certification) -> bool:
        """Return whether another request is just reading what this one's prompt begins with."""
        if not isinstance(request, Request) or request.has_begun:
            return False
        others = (other for other in self._requests if isinstance(other, Request))
        return any(other.is_reading_for(request) for other in others)

    def _fail(self, request: Request | Certification, error: ErrorInfo) -> None:
        self._requests.remove(request)
        self._emit(RequestFailed(request.name, error))
        if isinstance(request, Request):
            request.close(is_whole=False)

    def _end(self, request: Request | Certification) -> None:
        """Keep what a request leaves for later ones."""
        self._keep(request)
        if isinstance(request, Request):
            request.close(is_whole=True)
            self._tell_prefixes()

    def _tell_prefixes(self) -> None:
        places, disk = self._prefixes.places, self._prefixes.disk
        self._emit(
            PrefixesKept(
                entries=len(places),
                tokens=sum(len(place.tokens) for place in places),
                memory_bytes=self._prefixes.nbytes,
                memory_limit_bytes=self._prefixes.limit_bytes,
                disk_bytes=disk.nbytes if disk else 0,
                note=disk.note if disk else self._disk_note,
            )
        )

    def _known(self, command: Generate) -> DepthProfile:
        """Return what is known of depth for a request."""
        if self._profiles is None:
            return DepthProfile()
        return self._profiles.of(kind_of(command.sampling))

    def _keep(self, request: Request | Certification) -> None:
        """Keep what a request learnt of depth for those to come."""
        if not isinstance(request, Request) or self._profiles is None or not request.cycles:
            return
        self._profiles.keep(kind_of(request.sampling), request.learnt(), request.cycles)


def _with_kernel_note(model: LoadedModel) -> LoadedModel:
    """Return the model, its note telling of the kernels that don't depend on the model too."""
    note = model.info.kernel_note or kernel_note()
    return replace(model, info=replace(model.info, kernel_note=note))


def _profiles(model: LoadedModel, cache_folder: Path, progress: Progress) -> Profiles | None:
    """Return the depth profiles of a model with a head, its costs measured if they never were."""
    head = model.head
    if head is None:
        return None
    device, mlx = mx.default_device(), version("mlx")
    machine = f"{device}|{os.cpu_count()}|{platform.node()}|{mlx}"
    profiles = Profiles(cache_folder, model.info, machine)
    if not profiles.is_measured:
        ratios = measured_ratios(
            model.trunk, head, lambda done, total: progress("measuring depths", done, total)
        )
        profiles.measured(ratios)
    return profiles


class _LoadWatch:
    """Tells a load's progress ten times a second, and ends it when it was cancelled."""

    def __init__(
        self, request: str, emit: Callable[[Event], None], is_cancelled: Callable[[str], bool]
    ) -> None:
        self._request = request
        self._emit = emit
        self._is_cancelled = is_cancelled
        self._told = ("", 0.0)

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._is_cancelled(self._request):
            raise _LoadStoppedError
        now = time.monotonic()
        last_stage, last_time = self._told
        if stage != last_stage or now - last_time >= PROGRESS_S:
            self._told = (stage, now)
            self._emit(LoadProgress(self._request, stage, done, total))


def _unforeseen(doing: str, error: Exception) -> ErrorInfo:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return ErrorInfo(f"{doing} failed: {reason}", "see the engine's log")
