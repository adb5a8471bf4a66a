"""One request in flight: prompt read chunk by chunk, then cycle after cycle, as events."""

from __future__ import annotations

import time

import mlx.core as mx

from engine.channels import ChannelSplitter, joined
from engine.errors import RequestError
from engine.model.load import LoadedModel
from engine.model.tokenizer import Tokenizer
from engine.prefix.cache import PrefixCache, Reuse
from engine.prefix.lease import Lease
from engine.prefix.tree import common
from engine.prompt import joints, read_prompt_of
from engine.protocol import (
    Constraints,
    CycleDone,
    DepthSet,
    Ended,
    Event,
    Finish,
    Generate,
    PrefillProgress,
    PrefixReused,
    RequestDone,
    RequestStarted,
    Reread,
    Sampling,
    TextRun,
    TokenLogprob,
)
from engine.speculation.cycle import CycleResult, RowLogprobs, read_prompt, run_cycle
from engine.speculation.depth import DepthPolicy, DepthProfile, next_depth
from engine.speculation.grammar import compiled
from engine.speculation.history import History
from engine.speculation.stream import Stream
from engine.speculation.xray import detail_of
from engine.text import Detokenizer, StopStrings

__all__ = ["Request"]

CPU_CHUNK = 128
GPU_CHUNK = 512
"""Prompt tokens read between two looks at the commands."""
_WORTH_WAITING = 64
"""Tokens in common with a prompt that is being read."""
_LEARNT_TOGETHER = 16
"""Cycles that wait for the depth policy while its choice is not asked for: that costs a fifth."""
_WORDS_BEFORE = 12
"""Tokens shown before the one that differs."""

_ENDS: dict[Finish | None, Ended] = {Finish.STOP: Ended.STOP, Finish.LENGTH: Ended.LENGTH}


class Request:
    """See the module.

    Args:
        command: what was asked for.
        model: what it runs on.
        profile: what is known beforehand of the model's costs and acceptance.
        prefixes: what was read before; nothing is kept where there is none.

    Raises:
        RequestError: the prompt is empty, too long, or refused by the chat template; a token
            that does not exist is biased or banned; the grammar can't be compiled.
    """

    def __init__(
        self,
        command: Generate,
        model: LoadedModel,
        profile: DepthProfile | None = None,
        prefixes: PrefixCache | None = None,
    ) -> None:
        self._begin = time.perf_counter()
        self.name = command.request
        self._command = command
        self._model = model
        self.prompt = read_prompt_of(command, model)
        self._prompt = list(self.prompt.ids)
        self._answer: list[int] = []
        self._prefixes = prefixes if prefixes and command.is_cached else PrefixCache(0)
        self._lease: Lease | None = None
        self._places: list[int] = []
        self._expected: dict[str, int] = {}
        self._most = _most_tokens(command, model, len(self._prompt))
        self._depth = command.depth if model.head else 0
        self._policy = DepthPolicy(profile)
        self._unlearnt: list[CycleResult] = []
        self._stream = _stream(command, model, self._prompt)
        self._stop_ids = model.tokenizer.stop_ids
        self._piece = model.tokenizer.piece
        self._detokenizer = _detokenizer(command, model.tokenizer)
        self._stops = StopStrings(command.stop)
        self._channels = ChannelSplitter(self.prompt.text if command.messages else "")
        self._read = 0
        self._count = 0
        self._reasoning = 0
        self._runs: list[TextRun] = []
        self._finish: Finish | None = None
        self._prefill_s = 0.0
        self._first_token_s = 0.0
        self._chunk = CPU_CHUNK if mx.default_device() == mx.cpu else GPU_CHUNK
        self.is_over = False

    def started(self) -> RequestStarted:
        """Return the event that begins the request's story."""
        return RequestStarted(
            request=self.name,
            model=self._model.info.name,
            prompt_tokens=len(self._prompt),
            sampling=self._command.sampling,
            seed=self._command.seed,
            depth=self._depth,
            mode=self._command.mode,
            max_tokens=self._most,
        )

    @property
    def cycles(self) -> int:
        """How many cycles there were."""
        return self._stream.cycle

    @property
    def sampling(self) -> Sampling:
        """What is drawn from."""
        return self._command.sampling

    def learnt(self) -> DepthProfile:
        """Return what is known now of the model's costs and acceptance."""
        self._learn()
        return self._policy.profile()

    @property
    def has_begun(self) -> bool:
        """Whether it had a turn."""
        return self._lease is not None

    def expect(self, other: Request) -> None:
        """Stop reading where the prompt of a later request goes on otherwise, if that is far."""
        alike = min(common(self.prompt.ids, other.prompt.ids), len(self._prompt) - 1)
        is_shared = self._prefixes is other._prefixes and self._stream.last < 0
        if is_shared and alike >= max(_WORTH_WAITING, len(other.prompt.ids) // 2) + self._read:
            self._expected[other.name] = alike
            self._places = sorted({*self._places, alike})

    def is_reading_for(self, other: Request) -> bool:
        """Return whether a later request had better wait for what this one reads."""
        return self._read < self._expected.get(other.name, 0)

    def set_depth(self, depth: int | None) -> DepthSet:
        """Draft to another depth from the next cycle on; without a head it stays 0."""
        self._learn()
        self._depth = depth if self._model.head else 0
        return DepthSet(self.name, self._depth)

    def set_detail(self, *, is_on: bool) -> None:
        """Tell what each window is judged by from the next cycle on, or no more."""
        self._stream.has_xray = is_on

    def cancel(self) -> RequestDone:
        """End the request."""
        return self._done(Finish.CANCELLED)

    def advance(self) -> list[Event]:
        """Read one chunk of the prompt, or run one cycle."""
        if self._lease is None:
            return [self._begun(), self._read_chunk()]
        if self._stream.last < 0:
            return [self._read_chunk()]
        limit = len(self._prompt) + self._most - self._stream.position - 1
        chosen = self._policy.depth if self._depth is None else self._depth
        depth = next_depth(chosen, self._most - self._count, max(1, limit))
        self._runs = []
        result = run_cycle(
            self._model.trunk,
            self._stream,
            depth,
            self._command.sampling,
            self._command.mode,
            self._keep,
            is_plain_next=self._stays_plain(),
        )
        self._unlearnt.append(result)
        if self._depth is None or len(self._unlearnt) == _LEARNT_TOGETHER:
            self._learn()
        events: list[Event] = [self._cycle_done(result)]
        if self._finish is not None:
            events.append(self._done(self._finish))
        return events

    def _stays_plain(self) -> bool:
        """Return whether a plain cycle follows the next one, unless a stop or a person comes between.

        It is not told of the first one, so that the first token need not wait while a pass is built.
        """
        is_plain = self._policy.stays_plain if self._depth is None else self._depth == 0
        return is_plain and 0 < self._count < self._most - 1

    def _learn(self) -> None:
        """Let the policy take in the cycles it does not know yet."""
        for cycle in self._unlearnt:
            self._policy.learn(
                cycle.depth,
                cycle.accepted,
                len(cycle.emitted),
                cycle.total_s,
                is_typical=not (cycle.caught_up or cycle.ran_ahead),
            )
        self._unlearnt.clear()

    def close(self, *, is_whole: bool) -> None:
        """Leave what was read for later requests, and let go of what was taken over.

        Args:
            is_whole: whether the state can be relied on; not after an error.
        """
        if self._lease is not None:
            self._lease.close(self._text() if is_whole else ())

    def _begun(self) -> PrefixReused:
        """Take over what is known of the prompt."""
        begin = time.perf_counter()
        self._lease = Lease(self._prefixes, self._stream, self.prompt.ids)
        reuse = self._lease.reuse
        self._read = reuse.reused
        if reuse.why is not Reread.OFF:
            known = joints(self._command, self.prompt, self._model.tokenizer)
            self._places = sorted({*self._places, *self._lease.places(known)})
        self._prefill_s += time.perf_counter() - begin
        return self._reused(reuse)

    def _reused(self, reuse: Reuse) -> PrefixReused:
        at, tokenizer = reuse.matched, self._model.tokenizer
        differs = reuse.other is not None
        before = self.prompt.ids[max(0, at - _WORDS_BEFORE) : at]
        return PrefixReused(
            request=self.name,
            reused=reuse.reused,
            matched=at,
            why=reuse.why,
            before=tokenizer.decode_all(before) if differs else "",
            was=tokenizer.piece(reuse.other) if reuse.other is not None else "",
            now=tokenizer.piece(self.prompt.ids[at]) if differs else "",
        )

    def _read_chunk(self) -> PrefillProgress:
        """Read on; all of the prompt but its last token goes through the trunk here.

        Chunks end at places that depend on the prompt alone, so what was read before is read in
        the same chunks again.
        """
        begin = time.perf_counter()
        total = len(self._prompt) - 1
        place = next((place for place in self._places if place > self._read), total)
        end = min((self._read // self._chunk + 1) * self._chunk, place)
        chunk = self._prompt[self._read : end]
        read_prompt(self._model.trunk, self._stream, chunk, self._prompt[end])
        if end < total:
            self._stream.last = -1
        self._read = end
        if self._lease is not None and end in self._places:
            self._lease.keep(self._text())
        self._prefill_s += time.perf_counter() - begin
        return PrefillProgress(self.name, end + (end == total), total + 1)

    def _text(self) -> tuple[int, ...]:
        """Return the prompt and the answer so far."""
        return (*self._prompt, *self._answer)

    def _keep(self, emitted: tuple[int, ...]) -> int:
        """Take in a cycle's tokens up to a stop; return how many that were."""
        if not self._count:
            self._first_token_s = time.perf_counter() - self._begin
        for index, token in enumerate(emitted):
            self._finish = self._take(token)
            if self._finish is not None:
                return index + 1
        return len(emitted)

    def _take(self, token: int) -> Finish | None:
        """Count a token, add its text to what is shown, and say whether it is the last."""
        self._count += 1
        self._answer.append(token)
        if token in self._stop_ids:
            return Finish.STOP
        text, is_stopped = self._stops.feed(self._detokenizer.add(token))
        was_reasoning = self._channels.is_reasoning
        self._runs += self._channels.feed(text)
        self._reasoning += was_reasoning or self._channels.is_reasoning
        if is_stopped:
            self._detokenizer = _detokenizer(self._command, self._model.tokenizer)
            return Finish.STOP
        return Finish.LENGTH if self._count >= self._most else None

    def _cycle_done(self, result: CycleResult) -> CycleDone:
        piece = self._piece
        return CycleDone(
            request=self.name,
            cycle=result.cycle,
            depth=result.depth,
            drafted=result.drafted,
            drafted_pieces=tuple(map(piece, result.drafted)),
            accepted=result.accepted,
            emitted=result.emitted,
            emitted_pieces=tuple(map(piece, result.emitted)),
            ended=_ENDS.get(self._finish, result.ended),
            runs=joined(self._runs),
            draft_s=result.draft_s,
            verify_s=result.verify_s,
            accept_s=result.accept_s,
            total_s=result.total_s,
            logprobs=tuple(map(self._logprob, result.emitted, result.logprobs)),
            detail=detail_of(result.numbers, piece) if result.numbers else None,
            graphs_built=result.graphs_built,
        )

    def _logprob(self, token: int, row: RowLogprobs) -> TokenLogprob:
        pieces = tuple(map(self._piece, row.top_ids))
        return TokenLogprob(token, row.logprob, row.top_ids, pieces, row.top_logprobs)

    def _done(self, finish: Finish) -> RequestDone:
        self.is_over = True
        return RequestDone(
            request=self.name,
            finish=finish,
            completion_tokens=self._count,
            prefill_s=self._prefill_s,
            first_token_s=self._first_token_s,
            total_s=time.perf_counter() - self._begin,
            runs=self._held_back(),
            stop=self._stops.came,
            reasoning_tokens=self._reasoning,
        )

    def _held_back(self) -> tuple[TextRun, ...]:
        text, is_stopped = self._stops.feed(self._detokenizer.finish())
        rest = "" if is_stopped else self._stops.finish()
        return joined((*self._channels.feed(text + rest), *self._channels.finish()))


def _detokenizer(command: Generate, tokenizer: Tokenizer) -> Detokenizer:
    """Return what turns the answer's ids into text, with special tokens where they are wanted."""
    if command.has_special_text:
        return Detokenizer(tokenizer.decode_all, tokenizer.piece)
    return Detokenizer(tokenizer.decode, tokenizer.piece, tokenizer.special_ids)


def _stream(command: Generate, model: LoadedModel, prompt: list[int]) -> Stream:
    """Return the request's decoding state, with the rules that were asked for."""
    vocabulary = model.info.vocabulary
    stream = Stream(model.trunk.make_cache(), model.head, command.seed)
    stream.logprobs = command.logprobs
    if command.constraints != Constraints():
        _check_tokens(command.constraints, vocabulary)
        stop_ids = model.tokenizer.stop_ids
        stream.history = History(command.constraints, vocabulary, stop_ids, prompt)
    if command.grammar is not None:
        guide = model.tokenizer.guide(vocabulary)
        stream.grammar = compiled(command.grammar, command.grammar_kind, guide, vocabulary)
    return stream


def _check_tokens(constraints: Constraints, vocabulary: int) -> None:
    """Refuse a bias or a ban of a token that the model does not have."""
    named = [("logit_bias", each.token) for each in constraints.logit_bias]
    named += [("banned", token) for run in constraints.banned for token in run]
    for field, token in named:
        if not 0 <= token < vocabulary:
            raise RequestError(
                f"{field}: there is no token {token}", f"the model's are 0 to {vocabulary - 1}"
            )


def _most_tokens(command: Generate, model: LoadedModel, prompt_tokens: int) -> int:
    """Return how many tokens may be emitted: what was asked for, within the context."""
    room = model.info.context - prompt_tokens
    if room < 1:
        raise RequestError(
            f"the prompt has {prompt_tokens} tokens, but {model.info.name} was made for "
            f"{model.info.context}",
            "shorten it, or begin a new chat",
        )
    return room if command.max_tokens is None else min(room, command.max_tokens)
