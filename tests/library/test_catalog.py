"""Judging repositories and folders: the right tier, few requests, no weights."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import ModelFileError
from engine.verdict import tiers
from engine.verdict.family_table import DEMO
from engine.verdict.tiers import Tier
from mtplx_tui.library.catalog import Report, judge_folder, judge_listing
from mtplx_tui.library.hub import Hub, HubError, Query
from tests.fakes.hub import FakeHub, Fault, safetensors_bytes
from tests.library.pulls import contents

LLAMA = replace(DEMO, name="tiny-llama", model_types=("llama",), parts=None)
Tensors = dict[str, tuple[str, tuple[int, ...]]]
H = 64
TRUNK: Tensors = {
    "model.embed_tokens.weight": ("BF16", (100, H)),
    "model.layers.0.mlp.up_proj.weight": ("BF16", (2 * H, H)),
    "model.norm.weight": ("BF16", (H,)),
}
HEAD: Tensors = {
    "mtp.fc.weight": ("BF16", (H, 2 * H)),
    "mtp.layers.0.mlp.up_proj.weight": ("BF16", (2 * H, H)),
    "mtp.norm.weight": ("BF16", (H,)),
}
CONFIG: dict[str, object] = {
    "model_type": "llama",
    "hidden_size": H,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 100,
}
WITH_HEAD = {**CONFIG, "num_nextn_predict_layers": 1}
INDEX = "model.safetensors.index.json"


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that runs the heads of a family of its own."""
    monkeypatch.setattr(
        tiers, "family_of", lambda config: LLAMA if config["model_type"] == "llama" else None
    )
    for name in ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hub() -> Generator[FakeHub]:
    with FakeHub() as hub:
        yield hub


def files(config: dict[str, object], **shards: Tensors) -> dict[str, bytes]:
    """Return a repository's files; with an index where it has several shards named model_*."""
    named = {f"{name.replace('_', '-')}.safetensors": tensors for name, tensors in shards.items()}
    made = {name: safetensors_bytes(tensors) for name, tensors in named.items()}
    made["config.json"] = json.dumps(config).encode()
    indexed = [name for name in named if name.startswith("model-")]
    if indexed:
        weight_map = {tensor: name for name in indexed for tensor in named[name]}
        made[INDEX] = json.dumps({"weight_map": weight_map}).encode()
    return made


def judged(hub: FakeHub, tmp_path: Path, content: dict[str, bytes]) -> Report:
    """Judge a repository, and its files as a folder; both must agree."""
    hub.add("org/tiny", content, tags=["license:mit"])
    asked = Hub(hub.url, "")
    report = judge_listing(asked, asked.listing("org/tiny"), tmp_path / "cache")
    assert hub.weight_bytes == 0
    folder = tmp_path / "folder"
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    local = judge_folder("tiny", folder)
    assert local.verdict.tier == report.verdict.tier
    assert local.weights_bytes == report.weights_bytes
    return report


def extra_layer() -> Tensors:
    return {
        name.replace("mtp.layers.0", "model.layers.1").replace("mtp.", "model.layers.1."): t
        for name, t in HEAD.items()
    }


PACKED: Tensors = {
    "mtp.fc.weight": ("U32", (H, 2 * H * 4 // 32)),
    "mtp.fc.scales": ("BF16", (H, 2)),
    "mtp.norm.weight": ("BF16", (H,)),
}
MATRIX = {
    "in the one file": (Tier.COMPATIBLE, files(WITH_HEAD, model={**TRUNK, **HEAD})),
    "in a shard": (Tier.COMPATIBLE, files(WITH_HEAD, model_1=TRUNK, model_2=HEAD)),
    "as an extra layer": (Tier.COMPATIBLE, files(WITH_HEAD, model_1=TRUNK, model_2=extra_layer())),
    "in a side file": (Tier.COMPATIBLE, files(WITH_HEAD, model=TRUNK, mtp=HEAD)),
    "in a side folder": (
        Tier.COMPATIBLE,
        {**files(WITH_HEAD, model=TRUNK), "mtp/weights.safetensors": safetensors_bytes(HEAD)},
    ),
    "packed": (
        Tier.COMPATIBLE,
        files({**WITH_HEAD, "quantization": {"bits": 4, "group_size": 64}}, model={**TRUNK, **PACKED}),
    ),
    "config inside": (
        Tier.COMPATIBLE,
        files({"model_type": "llama", "text_config": WITH_HEAD}, model={**TRUNK, **HEAD}),
    ),
    "dropped": (Tier.NO_MTP, files(WITH_HEAD, model=TRUNK)),
    "never there": (Tier.NO_MTP, files(CONFIG, model=TRUNK)),
    "never there, in shards": (Tier.NO_MTP, files(CONFIG, model_1=TRUNK, model_2={"a.b": ("F32", (2,))})),
    "cut down": (
        Tier.NO_MTP,
        files(WITH_HEAD, model={**TRUNK, "mtp.norm.weight": ("BF16", (H,))}),
    ),
    "of another width": (
        Tier.NO_MTP,
        files(WITH_HEAD, model={**TRUNK, "mtp.fc.weight": ("BF16", (H, H))}),
    ),
    "unknown family": (
        Tier.UNSUPPORTED,
        files({**WITH_HEAD, "model_type": "dots9"}, model={**TRUNK, **HEAD}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MATRIX)
def test_the_tier_is_right_and_no_weight_is_fetched(
    hub: FakeHub, tmp_path: Path, case: str
) -> None:
    tier, content = MATRIX[case]
    report = judged(hub, tmp_path, content)
    assert report.verdict.tier is tier
    assert all(reason.check and reason.detail for reason in report.verdict.reasons)
    assert (report.verdict.mtp is not None) == any(
        "head tensors" in reason.check and reason.ok for reason in report.verdict.reasons
    )


def test_it_tells_why_a_head_is_gone(hub: FakeHub, tmp_path: Path) -> None:
    report = judged(hub, tmp_path, MATRIX["dropped"][1])
    assert "dropped in conversion" in report.verdict.summary


def test_it_tells_where_the_head_is_and_what_it_needs(hub: FakeHub, tmp_path: Path) -> None:
    report = judged(hub, tmp_path, MATRIX["in a side folder"][1])
    head = report.verdict.mtp
    assert head is not None
    assert (head.location, head.layers) == ("mtp/weights.safetensors", 1)
    assert head.weight_bytes == 2 * (2 * H * H + 2 * H * H + H)
    assert report.license == "mit"
    assert report.parameters == 100 * H + 2 * H * H + H + 2 * H * H + 2 * H * H + H
    each = 2 * 2 * 16 * 2  # keys and values, two heads of 16, two bytes
    (small, at_small), *_ = report.memory
    (_, at_large) = report.memory[-1]
    assert at_small is not None
    assert at_large is not None
    assert at_large - at_small == each * (131_072 - small)


def test_forty_shards_cost_few_requests_and_bytes(hub: FakeHub, tmp_path: Path) -> None:
    shards: dict[str, Tensors] = {}
    for index in range(40):
        shards[f"model_{index + 1:05}_of_00040"] = {
            f"model.layers.{index}.{part}.{number}.weight": ("BF16", (8, 8))
            for part in ("mlp", "self_attn")
            for number in range(20)
        }
    shards["model_00040_of_00040"] |= HEAD
    hub.add("org/large", files({**WITH_HEAD, "num_hidden_layers": 40}, **shards))
    asked = Hub(hub.url, "")
    report = judge_listing(asked, asked.listing("org/large"), tmp_path)
    assert report.verdict.tier is Tier.COMPATIBLE
    assert len(hub.asked) <= 12
    assert hub.bytes_sent <= 2_000_000
    assert hub.weight_bytes == 0


def test_shards_without_an_index_are_read_as_far_as_it_is_cheap(
    hub: FakeHub, tmp_path: Path
) -> None:
    many: dict[str, Tensors] = {
        f"model{index}": {f"a.{index}": ("BF16", (8, 8))} for index in range(30)
    }
    hub.add("org/many", files(WITH_HEAD, **many))
    asked = Hub(hub.url, "")
    report = judge_listing(asked, asked.listing("org/many"), tmp_path)
    assert len(hub.asked) <= 12
    assert report.verdict.tier is Tier.NO_MTP
    assert "could be read ahead" in report.verdict.summary


def test_a_verdict_is_kept_by_commit(hub: FakeHub, tmp_path: Path) -> None:
    content = MATRIX["in a shard"][1]
    first = judged(hub, tmp_path, content)
    hub.forget()
    asked = Hub(hub.url, "")
    assert judge_listing(asked, asked.listing("org/tiny"), tmp_path / "cache") == first
    assert len(hub.asked) == 1
    for path in (tmp_path / "cache" / "verdicts").iterdir():
        path.write_text('{"verdict": 3}')
    assert judge_listing(asked, asked.listing("org/tiny"), tmp_path / "cache") == first
    hub.add("org/tiny", MATRIX["dropped"][1])
    newer = judge_listing(asked, asked.listing("org/tiny"), tmp_path / "cache")
    assert newer.verdict.tier is Tier.NO_MTP


class TestFaults:
    @pytest.mark.parametrize(
        "fault",
        [
            Fault(ignores_range=True), Fault(drop_after=3), Fault(shifts_range=2),
            Fault(status=503, retry_after="0"), Fault(status=429, retry_after="0"),
        ],
    )  # fmt: skip
    def test_one_fault_changes_nothing(self, hub: FakeHub, tmp_path: Path, fault: Fault) -> None:
        hub.plan("*/model-2.safetensors", fault, fault)
        assert judged_alone(hub, tmp_path).verdict.tier is Tier.COMPATIBLE

    def test_a_server_that_knows_no_ranges_is_cut_short(self, hub: FakeHub, tmp_path: Path) -> None:
        large = {**HEAD, "mtp.big": ("U8", (30_000_000,))}
        hub.add("org/tiny", files(WITH_HEAD, model_1=TRUNK, model_2=large))
        hub.plan("*/model-2.safetensors", *[Fault(ignores_range=True)] * 9)
        asked = Hub(hub.url, "")
        report = judge_listing(asked, asked.listing("org/tiny"), tmp_path)
        assert report.verdict.tier is Tier.COMPATIBLE
        assert hub.weight_bytes < 16_000_000

    def test_gated_says_so(self, hub: FakeHub, tmp_path: Path) -> None:
        hub.add("org/tiny", MATRIX["in a shard"][1], is_gated=True)
        asked = Hub(hub.url, "")
        listing = asked.listing("org/tiny")
        assert listing.is_gated
        with pytest.raises(HubError, match="gated"):
            judge_listing(asked, listing, tmp_path)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("config.json", b"[" * 100_000),
            (
                "config.json",
                b'{"model_type": "llama", "hidden_size": NaN, "num_hidden_layers": -1}',
            ),
            ("config.json", b"{" + b" " * 2_000_000 + b"}"),
            ("config.json", b"\xff\xfe"),
            ("model-2.safetensors", b"\xff" * 64),
            ("model-2.safetensors", b"\x10\0\0\0\0\0\0\0" + b"[" * 64),
            (INDEX, b'{"weight_map": {"a": "../../etc/passwd"}}'),
            (INDEX, b'{"weight_map": {"a": "model-9.safetensors"}}'),
            (INDEX, b'{"weight_map": {"mtp.gone": "model-2.safetensors"}}'),
        ],
    )
    def test_hostile_files_are_an_error_with_a_reason(
        self, hub: FakeHub, tmp_path: Path, name: str, content: bytes
    ) -> None:
        hub.add("org/tiny", {**MATRIX["in a shard"][1], name: content})
        asked = Hub(hub.url, "")
        with pytest.raises(ModelFileError) as caught:
            judge_listing(asked, asked.listing("org/tiny"), tmp_path)
        assert caught.value.message.isprintable()
        assert "org/tiny" in caught.value.message


def judged_alone(hub: FakeHub, tmp_path: Path) -> Report:
    hub.add("org/tiny", MATRIX["in a shard"][1])
    asked = Hub(hub.url, "")
    return judge_listing(asked, asked.listing("org/tiny"), tmp_path)


class TestSearch:
    def test_it_finds_by_words_author_and_tag(self, hub: FakeHub) -> None:
        for index in range(4):
            hub.add(f"mlx/q-{index}", MATRIX["dropped"][1], downloads=index, tags=["mlx"])
        hub.add("other/q", MATRIX["dropped"][1], tags=["mlx"], likes=3)
        asked = Hub(hub.url, "")
        names = [found.name for found in asked.search(Query("q", "mlx", ("mlx",)))]
        assert names == ["mlx/q-3", "mlx/q-2", "mlx/q-1", "mlx/q-0"]
        assert len(list(asked.search(Query("q"), limit=2))) == 2

    def test_pages_follow_each_other(self) -> None:
        with FakeHub(page=2) as hub:
            for index in range(5):
                hub.add(f"mlx/q-{index}", {"config.json": b"{}"})
            assert len(list(Hub(hub.url, "").search(Query()))) == 5
            assert len(hub.asked) == 3

    @pytest.mark.parametrize(
        ("fault", "remedy"),
        [
            (Fault(status=503), "try again in some minutes"),
            (Fault(status=401), "hf auth login"),
            (Fault(drop_after=0), "check the network"),
        ],
    )
    def test_a_fault_is_told(self, hub: FakeHub, fault: Fault, remedy: str) -> None:
        hub.plan("/api/models", *[fault] * 9)
        if fault.drop_after is not None:
            hub.__exit__(None, None, None)
        with pytest.raises(HubError) as caught:
            list(Hub(hub.url, "").search(Query("x")))
        assert remedy in caught.value.remedy

    def test_an_endpoint_that_is_none_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "not an address")
        with pytest.raises(HubError, match="no address"):
            Hub()


def test_contents_reads_folders(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"c")
    assert contents(tmp_path) == {"a/b": b"c"}
