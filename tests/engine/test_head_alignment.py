"""Head and trunk stay aligned row by row: which hidden row, which token, how often."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import numpy as np
import pytest

from engine.model.cache import Cache
from engine.model.head import Head
from engine.model.heads.pair import PairHead
from engine.model.load import LoadedModel
from engine.protocol import Mode, Sampling
from engine.speculation.cycle import CycleResult, read_prompt, run_cycle
from engine.speculation.stream import Stream
from tests.fakes import checkpoints, families

GREEDY = Sampling(0)
PROMPT, LAST = list(range(5, 45)), 50


class Scripted:
    """A head that holds what it is given, and drafts tokens of which the first few are right.

    Its cache is the real head's, so that rollback and priming are the real ones.
    """

    def __init__(self, head: Head, right: list[int]) -> None:
        self._head = head
        self.draft_head = head.draft_head
        self._right = right
        self.accept = 0
        self.seen: list[tuple[np.ndarray, list[int]]] = []
        self._drafted = 0
        self._next = 0

    def make_cache(self) -> Cache:
        return self._head.make_cache()

    def forward(self, hidden: mx.array, tokens: mx.array, cache: Cache) -> mx.array:
        self.seen.append((np.array(hidden), [int(str(token)) for token in np.array(tokens)]))
        return self._head.forward(hidden, tokens, cache)

    def begin(self, emitted: int, accept: int) -> None:
        self._drafted, self.accept = 0, accept
        self._next = emitted

    def logits(self, recycled: mx.array) -> mx.array:
        token = self._right[self._next + self._drafted]
        if self._drafted >= self.accept:
            token = (token + 1) % families.VOCABULARY
        self._drafted += 1
        row = mx.zeros((1, families.VOCABULARY))
        row[0, token] = 50.0
        return row


class Request:
    """A stream whose drafts are scripted, and the greedy text that it has to follow."""

    def __init__(self, model: LoadedModel, prompt: list[int], tokens: int) -> None:
        assert model.head is not None, model.info.head_note
        self.model = model
        self.text = greedy_text(model, prompt, tokens)
        self.head = Scripted(model.head, self.text)
        self.stream = Stream(model.trunk.make_cache(), self.head, 0)
        self.prompt = prompt
        self.out: list[int] = []
        read_prompt(model.trunk, self.stream, prompt, LAST)

    def cycle(self, depth: int, accept: int) -> None:
        """Run a cycle in which so many drafts are right."""
        self.head.begin(len(self.out), accept)
        self.head.seen.clear()
        result: CycleResult = run_cycle(self.model.trunk, self.stream, depth, GREEDY, Mode.TOKEN)
        assert result.accepted == accept
        self.out += result.emitted
        head_cache = self.stream.head_cache
        assert head_cache is not None
        assert head_cache.length + self.stream.pending_rows == self.stream.trunk_cache.length

    def check(self) -> None:
        """Hold the text, and what the head took in, against one pass over the whole text."""
        assert self.out == self.text[: len(self.out)]
        whole = [*self.prompt, LAST, *self.out]
        trunk, head = self.model.trunk, self.model.head
        hidden = trunk.forward(mx.array(whole[:-1]), trunk.make_cache()).hidden
        assert hidden is not None
        assert head is not None
        mine = self.stream.absorb()
        right = head.forward(hidden, mx.array(whole[1:]), head.make_cache())
        assert np.abs(np.array(mine) - np.array(right[:, -1:])).max() < 1e-4
        rows, tokens = self.head.seen[-1]
        assert tokens == whole[-len(tokens) :]
        assert np.abs(rows - np.array(hidden)[:, -rows.shape[1] :]).max() < 1e-4


def greedy_text(model: LoadedModel, prompt: list[int], tokens: int) -> list[int]:
    stream = Stream(model.trunk.make_cache(), None, 0)
    read_prompt(model.trunk, stream, prompt, LAST)
    out: list[int] = []
    while len(out) < tokens:
        out += run_cycle(model.trunk, stream, 0, GREEDY, Mode.TOKEN).emitted
    return out


OUTCOMES = [(depth, accept) for depth in range(1, 6) for accept in range(depth + 1)]
HYBRID_AND_NOT = ["qwen3_5", "mimo", "deepseek_v3", "nemotron_h", "exaone_moe"]


@pytest.mark.parametrize("name", HYBRID_AND_NOT)
def test_trap_8b_11_true_rows_follow_every_outcome(
    models: Mapping[str, LoadedModel], name: str
) -> None:
    """Whatever is accepted, the head takes in each true row once, with the token behind it."""
    request = Request(models[name], PROMPT, 90)
    for depth, accept in OUTCOMES:
        request.cycle(depth, accept)
    request.check()


@pytest.mark.parametrize("name", [*HYBRID_AND_NOT, "mimo_v2_flash"])
def test_trap_22_each_requests_rejects_undo_its_own_rows_alone(
    models: Mapping[str, LoadedModel], name: str
) -> None:
    """Requests whose cycles take turns on one trunk and one head, with a script each."""
    requests = [Request(models[name], PROMPT[:length], 40) for length in (7, 40, 18)]
    scripts = (((4, 0), (3, 3), (2, 1)), ((2, 2), (5, 1), (4, 4)), ((0, 0), (1, 1), (5, 0)))
    for turn in (*scripts, *scripts[::-1]):
        for request, (depth, accept) in zip(requests, turn, strict=True):
            request.cycle(depth, accept)
    for request in requests:
        request.check()


def test_trap_9_the_first_pair_of_a_text_goes_in_without_its_embedding_where_the_family_has_it_so(
    models: Mapping[str, LoadedModel],
) -> None:
    hidden = mx.random.normal((1, 3, checkpoints.WIDTH), key=mx.random.key(1))
    for name, blanks in (("deepseek_v3", True), ("glm4_moe", False), ("qwen3_5", False)):
        head = models[name].head
        assert isinstance(head, PairHead)
        for position in (0, 1):
            first, other = [7, 8, 9], [7, 8, 9]
            other[position] = 100
            rows = [
                np.array(head.forward(hidden, mx.array(tokens), head.make_cache()))
                for tokens in (first, other)
            ]
            is_same = np.array_equal(rows[0], rows[1])
            assert is_same == (blanks and position == 0), (name, position)


@pytest.mark.parametrize("name", ["qwen3_5", "mimo"])
def test_trap_25_reading_a_prompt_multiplies_no_row_by_the_lm_head(
    models: Mapping[str, LoadedModel], name: str
) -> None:
    """With an LM head of four million rows, the logits of a prompt would not fit the bound."""
    model = models[name]
    stream = Stream(model.trunk.make_cache(), model.head, 0)
    lm_head = model.trunk.lm_head
    weight = lm_head["weight"]
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    try:
        lm_head["weight"] = mx.broadcast_to(weight[:1], (4_000_000, checkpoints.WIDTH))
        read_prompt(model.trunk, stream, PROMPT, LAST)
        peak = mx.get_peak_memory()
    finally:
        lm_head["weight"] = weight
    one_row = 4 * 4_000_000
    assert peak - before < one_row


@pytest.mark.parametrize("name", checkpoints.DONORS)
def test_trap_27_the_number_of_rows_hardly_changes_a_row(
    models: Mapping[str, LoadedModel], name: str
) -> None:
    """On MLX's own BLAS nothing changes, but for latent attention, which has a path for one row."""
    trunk = models[name].trunk
    tokens = mx.array(PROMPT)
    single = trunk.make_cache()
    trunk.forward(tokens[:20], single)
    single.commit(20)
    rows = []
    for index in range(20, 26):
        rows.append(np.array(trunk.forward(tokens[index : index + 1], single).logits))
        single.commit(1)
    for count in range(2, 7):
        cache = trunk.make_cache()
        trunk.forward(tokens[:20], cache)
        cache.commit(20)
        together = np.array(trunk.forward(tokens[20 : 20 + count], cache).logits)
        assert np.abs(together - np.concatenate(rows[:count])).max() < 1e-5
