"""The contract probe: it finds each disguise of a trained head, refuses a random one, asks once."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from engine.errors import HeadError
from engine.model import contracts, probe
from engine.model.arrays import read_arrays
from engine.model.contracts import settled_contract
from engine.model.draft_head import DraftHead, trimmed_head
from engine.model.gguf import load_gguf
from engine.model.heads.demo import config_of
from engine.model.heads.load import load_head
from engine.model.heads.pair import PairHead
from engine.model.load import LoadedModel, load
from engine.model.tokenizer import from_folder
from engine.model.trunk import Trunk
from engine.verdict import found_contracts
from engine.verdict.checkpoint import DEMO_HEAD, CheckpointFacts, check_folder
from engine.verdict.contract import Contract, NormEncoding
from engine.verdict.families import Family
from engine.verdict.family_table import DEMO
from engine.verdict.head_files import HeadFiles, find_head
from engine.verdict.headers import check_safetensors
from mtplx_tui.library.disk import resolve
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Weights
from tests.fakes.faults import Fault, seen

FEW = 48
"""Tokens that are enough for tiny models, about which there is nothing to find out."""


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "POSITIONS", FEW)


def opened(folder: Path, cache: Path) -> LoadedModel:
    return load(folder.name, folder, cache, lambda *_: None)


def kept_in(cache: Path) -> list[Path]:
    return sorted((cache / "contracts").glob("*.json"))


def test_a_random_head_of_a_disputed_family_is_refused_once(tmp_path: Path) -> None:
    folder = checkpoints.write(tmp_path / "m", "glm4_moe", contract={})
    model = opened(folder, tmp_path / "cache")
    assert model.head is None
    assert "of the trunk's choices at best" in model.info.head_note
    (place,) = kept_in(tmp_path / "cache")
    place.write_text(json.dumps({"refused": "as it was before"}), "utf-8")
    assert opened(folder, tmp_path / "cache").info.head_note == "as it was before"


def test_what_was_found_is_read_again_and_followed(tmp_path: Path) -> None:
    folder = checkpoints.write(tmp_path / "m", "glm4_moe", contract={})
    cache = tmp_path / "cache"
    opened(folder, cache)
    (place,) = kept_in(cache)
    found = {"concat": "hidden,embedding", "hidden": "pre", "recycle": "pre", "norm_encoding": None}
    place.write_text(json.dumps(found), "utf-8")
    model = opened(folder, cache)
    assert model.head is not None
    facts = check_folder(folder)
    settled = settled_contract(facts, model.trunk, from_folder(folder, facts.config), cache)
    assert settled == Contract("hidden,embedding", "pre", "pre")
    tokens = mx.array([1, 2, 3])
    output = model.trunk.forward(tokens, model.trunk.make_cache())
    assert output.hidden is not None
    seen = model.trunk.unembed(output.hidden)[0]
    assert not mx.array_equal(seen, output.logits)


def test_a_head_with_other_values_is_asked_anew(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for name, factor in (("one", 1.0), ("other", 1.5)):
        folder = checkpoints.write(
            tmp_path / name, "glm4_moe", contract={},
            edit=lambda weights, by=factor: {
                k: v * by if k.endswith("eh_proj.weight") else v for k, v in weights.items()
            },
        )  # fmt: skip
        opened(folder, cache)
    assert len(kept_in(cache)) == 2


@pytest.mark.parametrize("content", ["", "[1]", '{"hidden": "sideways"}', '{"depth": 1}'])
def test_a_kept_contract_that_cant_be_read_is_found_anew(tmp_path: Path, content: str) -> None:
    folder = checkpoints.write(tmp_path / "m", "glm4_moe", contract={})
    cache = tmp_path / "cache"
    opened(folder, cache)
    (place,) = kept_in(cache)
    before = place.read_text("utf-8")
    place.write_text(content, "utf-8")
    opened(folder, cache)
    assert place.read_text("utf-8") == before


@pytest.mark.parametrize(
    ("name", "contract"), [("glm4_moe", {"norm_encoding": "plain"}), ("mimo", {})]
)
def test_what_is_declared_or_not_disputed_is_not_probed(
    tmp_path: Path, name: str, contract: dict[str, str]
) -> None:
    folder = checkpoints.write(tmp_path / "m", name, contract=contract)
    assert opened(folder, tmp_path / "cache").head is not None
    assert kept_in(tmp_path / "cache") == []


def test_norms_that_leave_a_doubt_are_probed(tmp_path: Path) -> None:
    folder = checkpoints.write(tmp_path / "m", "qwen3_5", contract={})
    model = opened(folder, tmp_path / "cache")
    assert "of the trunk's choices at best" in model.info.head_note
    assert len(kept_in(tmp_path / "cache")) == 1


Patch = pytest.MonkeyPatch


def told(change: Callable[[CheckpointFacts], CheckpointFacts]) -> Callable[[Patch], object]:
    """Settle contracts by other facts than the checkpoint's."""

    def settle(facts: CheckpointFacts, *rest: Any) -> Contract:
        return settled_contract(change(facts), *rest)

    return lambda patch: patch.setattr("engine.model.load.settled_contract", settle)


def disputed(cell: str) -> Callable[[CheckpointFacts], CheckpointFacts]:
    def change(facts: CheckpointFacts) -> CheckpointFacts:
        assert facts.head is not None
        family = replace(facts.head.family, disputed=cell)
        return replace(facts, head=replace(facts.head, family=family))

    return change


def names_alone(head: HeadFiles, facts: CheckpointFacts, cache: Path) -> Path:
    known = repr((sorted(head.tensors), facts.config)).encode()
    return cache / "contracts" / f"{zlib.crc32(known)}.json"


REFUSED = test_a_random_head_of_a_disputed_family_is_refused_once
UNASKED = test_what_is_declared_or_not_disputed_is_not_probed
FAULTS = [
    Fault(
        "kept by names, not by content",
        test_a_head_with_other_values_is_asked_anew,
        {},
        lambda patch: patch.setattr(found_contracts, "_place", names_alone),
    ),
    Fault("never kept", REFUSED, {}, lambda patch: patch.setattr(contracts, "_keep", lambda *_: 0)),
    Fault(
        "never read again",
        test_what_was_found_is_read_again_and_followed,
        {},
        lambda patch: patch.setattr(contracts, "_found_before", lambda *_: None),
    ),
    Fault(
        "a declared contract probed all the same",
        UNASKED,
        {"name": "glm4_moe", "contract": {"norm_encoding": "plain"}},
        told(lambda facts: replace(facts, contract=Contract())),
    ),
    Fault(
        "what nobody disputes probed all the same",
        UNASKED,
        {"name": "mimo", "contract": {}},
        told(disputed("hidden")),
    ),
    Fault("a dispute overheard", REFUSED, {}, told(disputed(""))),
    Fault(
        "a doubt of norms overheard",
        test_norms_that_leave_a_doubt_are_probed,
        {},
        lambda patch: patch.setattr(contracts, "_encodings", lambda *_: (None,)),
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_of_settling_a_contract_is_seen(
    fault: Fault, tmp_path: Path, monkeypatch: Patch
) -> None:
    seen(fault, ValueError, tmp_path=tmp_path, monkeypatch=monkeypatch)


PLACES = 96
PROSE = """\
The history of the bicycle began in the nineteenth century. The first bicycles were made of wood \
and iron, and they were heavy and hard to ride. In the middle of the century, the first pedals \
were added to the front wheel, which made it possible to ride without touching the ground with \
the feet. The front wheel became larger and larger, because a larger wheel could go further with \
each turn of the pedals. These bicycles were fast, but they were also dangerous, because the rider \
sat high above the ground.
"""
LLAMA = replace(DEMO, name="llama", model_types=("llama",))
"""The demo's head as one of a family of its own, to be read by the loader of all families."""


@dataclass(frozen=True)
class Demo:
    """The demo's trunk, and what it makes of a text."""

    trunk: Trunk
    config: dict[str, object]
    tokens: list[int]
    text: probe._Text
    draft_head: DraftHead
    """The demo's own: of frequent tokens alone, which is much quicker."""


@pytest.fixture(scope="session")
def demo(engine_cache: Path) -> Demo:
    gguf = load_gguf(Path(resolve("demo").path), engine_cache, lambda *_: None)
    config = config_of(gguf.args)
    tokens = gguf.tokenizer.encode(PROSE, is_rendered=True)[:PLACES]
    trunk = Trunk(gguf.model)
    text = probe._read(trunk, tokens)
    words = DEMO_HEAD.with_name("frequent_tokens.txt").read_text("utf-8").split()
    draft_head = trimmed_head(trunk, [int(word) for word in words])
    return Demo(trunk, config, tokens, text, draft_head)


@pytest.fixture
def asked(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Contract, float]]:
    """Probe the demo's head after a change to its weights, and to what is believed of it.

    What the trunk makes of the text is the same for all of them, and read once; it is so short
    that a smaller lead has to count.
    """
    monkeypatch.setattr(probe, "_read", lambda *_: demo.text)
    monkeypatch.setattr(probe, "MARGIN", 0.02)

    def ask(
        family: Family,
        disguise: Callable[[Weights], Weights] = lambda weights: weights,
        encodings: tuple[NormEncoding | None, ...] = (None,),
    ) -> tuple[Contract, float]:
        file = tmp_path / "mtp.safetensors"
        mx.save_safetensors(str(file), disguise(read_arrays(DEMO_HEAD)))
        files = find_head(family, demo.config, {file: check_safetensors(file)}, {})

        def build(encoding: NormEncoding | None) -> probe.Probed:
            contract = Contract(norm_encoding=encoding)
            found = load_head(files, demo.config, contract, demo.trunk)
            assert isinstance(found, PairHead)
            found.draft_head = demo.draft_head
            return found

        return probe.probe(family, demo.trunk, build, encodings, demo.tokens[:FEW])

    return ask


def swapped(weights: Weights) -> Weights:
    first, second = mx.split(weights["mtp.fc.weight"], 2, axis=1)
    return {**weights, "mtp.fc.weight": mx.concatenate([second, first], axis=1)}


def lowered(weights: Weights) -> Weights:
    return {k: v - 1 if v.ndim == 1 else v for k, v in weights.items()}


def random(weights: Weights) -> Weights:
    keys = iter(mx.random.split(mx.random.key(5), len(weights)))
    return {
        k: 0.05 * mx.random.normal(v.shape, key=next(keys)) if v.ndim > 1 else v
        for k, v in weights.items()
    }


@pytest.mark.slow
@pytest.mark.xdist_group("demo")
class TestDisguises:
    def test_a_head_as_its_family_has_it_keeps_its_contract(
        self, asked: Callable[..., tuple[Contract, float]]
    ) -> None:
        contract, share = asked(LLAMA)
        assert contract == Contract("embedding,hidden", "pre", "pre")
        assert 0.3 < share < 0.8

    def test_trap_5_halves_of_fc_swapped_are_found(
        self, asked: Callable[..., tuple[Contract, float]]
    ) -> None:
        contract, _ = asked(LLAMA, swapped)
        assert contract == Contract("hidden,embedding", "pre", "pre")

    def test_trap_4_post_norm_for_pre_norm_is_found(
        self, asked: Callable[..., tuple[Contract, float]]
    ) -> None:
        contract, _ = asked(replace(LLAMA, hidden="post"))
        assert (contract.concat, contract.hidden) == ("embedding,hidden", "pre")

    @pytest.mark.parametrize(("disguise", "encoding"), [(lowered, "one_plus"), (None, "plain")])
    def test_trap_2_norms_stored_in_doubt_are_found(
        self,
        asked: Callable[..., tuple[Contract, float]],
        disguise: Callable[[Weights], Weights] | None,
        encoding: NormEncoding,
    ) -> None:
        family = replace(LLAMA, norm="one_plus")
        contract, _ = asked(family, disguise or dict, ("plain", "one_plus"))
        assert contract == Contract("embedding,hidden", "pre", "pre", encoding)

    def test_all_disguises_at_once_are_found(
        self, asked: Callable[..., tuple[Contract, float]]
    ) -> None:
        family = replace(LLAMA, norm="one_plus", hidden="post")
        contract, _ = asked(family, lambda w: swapped(lowered(w)), ("plain", "one_plus"))
        assert contract.concat == "hidden,embedding"
        assert (contract.hidden, contract.norm_encoding) == ("pre", "one_plus")

    def test_a_random_head_is_refused(self, asked: Callable[..., tuple[Contract, float]]) -> None:
        with pytest.raises(HeadError, match="too few to draft"):
            asked(LLAMA, random)
