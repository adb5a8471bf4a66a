"""Every fault we can think of is put into grafting, and a test of it must see it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import mlx.nn as nn
import pytest

from engine.errors import ModelError
from engine.model import graft as writing
from engine.model.heads.pair import PairHead
from engine.verdict import graft_source
from engine.verdict.contract import Contract
from engine.verdict.families import Family
from engine.verdict.head_files import HeadFiles, HeadTensor
from mtplx_tui.library import graft as joining
from mtplx_tui.library import head_fetch
from mtplx_tui.library.header import HubSource
from tests.fakes.checkpoints import Weights
from tests.fakes.faults import Fault, seen
from tests.fakes.hub import FakeHub
from tests.library.graft import test_from_the_hub as hubs
from tests.library.graft import test_graft as grafts

Captured = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
MIMO = {"name": "mimo_v2_flash"}
FOLDER = grafts.TestNewFolder()


def forgets(name: str) -> Callable[[Patch], object]:
    """Have a graft write no tensor whose name ends so."""
    right = writing._published
    return lambda patch: patch.setattr(
        writing,
        "_published",
        lambda *given: {k: v for k, v in right(*given).items() if not k.endswith(name)},
    )


def without_names(patch: Patch) -> None:
    right = writing._published

    def published(head: PairHead, family: Family) -> Weights:
        assert family.parts is not None
        return right(head, replace(family, parts=replace(family.parts, renamed={})))

    patch.setattr(writing, "_published", published)


def said_otherwise(patch: Patch) -> None:
    right = writing._write
    patch.setattr(
        writing,
        "_write",
        lambda target, weights, said: right(target, weights, said | {"norm_encoding": "one_plus"}),
    )


def packed_throughout(patch: Patch) -> None:
    def is_packed(_: str, module: nn.Module) -> bool:
        return hasattr(module, "to_quantized") and module["weight"].shape[-1] % 32 == 0

    def quantise(head: PairHead, packing: writing.Packing) -> None:
        nn.quantize(head, packing[1], packing[0], class_predicate=is_packed)

    patch.setattr(writing, "_quantise", quantise)


def a_word_late(patch: Patch) -> None:
    right = head_fetch._runs
    patch.setattr(head_fetch, "_runs", lambda tensors: [(a + 4, b + 4) for a, b in right(tensors)])


def all_between(patch: Patch) -> None:
    """Fetch what lies between a head's tensors, and drop it."""
    right = head_fetch._runs

    def runs(tensors: Sequence[HeadTensor]) -> list[tuple[int, int]]:
        found = right(tensors)
        return [(0, found[0][0]), *found]

    patch.setattr(head_fetch, "_runs", runs)


def begun_anew(patch: Patch) -> None:
    right, begun = HubSource._ask, dict[tuple[str, int], int]()

    def ask(self: HubSource, path: str, start: int, end: int) -> Iterator[bytes]:
        return right(self, path, begun.setdefault((path, end), start), end)

    patch.setattr(HubSource, "_ask", ask)


def put(place: object, name: str, value: object) -> Callable[[Patch], object]:
    return lambda patch: patch.setattr(place, name, value)


DRAFTS = grafts.test_a_grafted_head_drafts_as_the_one_it_was
DIFFERS = grafts.test_what_differs_is_listed_and_nothing_is_written
FAULTS = [
    Fault("a tensor forgotten", DRAFTS, {"name": "qwen3_5"}, forgets("q_norm.weight")),
    Fault("names not brought back", DRAFTS, {"name": "mimo_v2_flash"}, without_names),
    Fault(
        "gains told for offsets",
        grafts.test_gains_are_written_as_they_multiply_and_say_so,
        {},
        said_otherwise,
    ),
    Fault(
        "what the sidecar says of its gains overheard",
        grafts.test_gains_that_were_brought_over_are_never_shifted_again,
        {},
        put(HeadFiles, "own_contract", Contract()),
    ),
    Fault(
        "how a head is fed forgotten",
        grafts.test_how_a_release_says_its_head_is_fed_goes_with_the_head,
        {},
        put(Contract, "told", lambda _: {}),
    ),
    Fault(
        "nothing compared",
        DIFFERS,
        {"name": "qwen3_5", "changes": {"vocab_size": 300}, "says": ["vocab_size"]},
        put(graft_source, "differences", lambda *_: []),
    ),
    Fault(
        "packing asked for and left out",
        grafts.test_a_head_can_be_quantised,
        {},
        put(writing, "_quantise", lambda *_: None),
    ),
    Fault("routers packed", grafts.test_routers_are_not_quantised, {}, packed_throughout),
    Fault(
        "a hash of nothing",
        grafts.test_the_source_is_told_by_a_hash_of_what_was_released,
        {},
        put(writing, "_digest", lambda _: hashlib.sha256().hexdigest()),
    ),
    Fault(
        "what is there overwritten",
        FOLDER.test_what_is_there_is_left_alone,
        {},
        put(os.path, "lexists", lambda _: False),
    ),
    Fault(
        "settings linked, so that an edit changes the trunk's",
        FOLDER.test_weights_are_linked_and_what_one_may_edit_is_copied,
        {},
        put(joining, "_link", os.link),
    ),
    Fault(
        "bytes of the trunk fetched", hubs.test_no_byte_of_the_trunk_is_fetched, MIMO, all_between
    ),
    Fault("bytes from another place", hubs.test_no_byte_of_the_trunk_is_fetched, MIMO, a_word_late),
    Fault(
        "a broken connection begun anew",
        hubs.test_a_connection_that_breaks_is_taken_up,
        {},
        begun_anew,
    ),
    Fault(
        "a declared contract left behind",
        hubs.test_a_sidecar_is_fetched_with_its_contract,
        {"file": "mtp.safetensors"},
        put(head_fetch, "CONTRACT_FILE", "no such file"),
    ),
    Fault(
        "trunks compared after the fetch",
        hubs.test_what_cant_be_had_is_told_before_a_weight_is_fetched,
        {"repository": "org/release", "changes": {"vocab_size": 300}, "says": "vocab_size"},
        put(head_fetch, "check_same_trunk", lambda *_: None),
    ),
    Fault(
        "the hub's cache taken for any folder",
        hubs.test_the_hubs_cache_is_never_grafted_into,
        {},
        put(joining, "find_hub_cache", lambda: Path("/nowhere")),
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_of_a_graft_is_seen(
    fault: Fault, hub: FakeHub, tmp_path: Path, capsys: Captured, monkeypatch: Patch
) -> None:
    seen(
        fault, ModelError,
        hub=hub, tmp_path=tmp_path, capsys=capsys, monkeypatch=monkeypatch,
    )  # fmt: skip
