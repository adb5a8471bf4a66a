from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Input

from engine.protocol import Certify, CertifyDone, CertifyProgress
from mtplx_tui.config import find_places
from mtplx_tui.library.disk import resolve
from mtplx_tui.library.progress import Progress, State
from mtplx_tui.library.queue import Job, JobState
from mtplx_tui.library.recommended import Recommended, recommended
from mtplx_tui.screens.dialogs import AskText, Choose
from mtplx_tui.screens.models_list import read_query
from mtplx_tui.widgets.answer import Answer
from mtplx_tui.widgets.model_card import ModelCard
from tests.fakes.hub import FakeHub, Fault
from tests.library.test_catalog import MATRIX
from tests.library.test_certificates import made
from tests.tui.chat_talk import MODEL
from tests.tui.models_talk import ModelsTalk, hub_for, stock

SIZE = (120, 40)
PLAIN = "mlx-community/Llama-3.2-1B-4bit"
DROPPED = "mlx-community/Qwen3.8-27B-4bit"
WITH_HEAD = "someone/Qwen3.8-27B-4bit-mtp"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[FakeHub]:
    with hub_for(monkeypatch, tmp_path) as hub:
        stock(hub)
        yield hub


@pytest.fixture
def talk(tmp_path: Path) -> ModelsTalk:
    return ModelsTalk(tmp_path)


async def test_tiers_become_known_without_a_weight(hub: FakeHub, talk: ModelsTalk) -> None:
    async with talk.at(*SIZE):
        assert talk.tiers == {
            DROPPED: "no-mtp",
            PLAIN: "no-mtp",
            WITH_HEAD: "unsupported",
            "vendor/gated-model": "error",
            "someone/broken": "error",
        }
        assert hub.weight_bytes == 0


async def test_a_search_waits_until_typing_pauses(
    hub: FakeHub, talk: ModelsTalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talk.at(*SIZE):
        monkeypatch.setattr("mtplx_tui.screens.models.SEARCH_WAIT_S", 1.5)
        hub.forget()
        await talk.type("qwen mtp")
        await talk.until(lambda: talk.table.names == (WITH_HEAD,))
        assert hub.paths().count("/api/models") == 1


async def test_filters_narrow_the_list(hub: FakeHub, talk: ModelsTalk) -> None:
    async with talk.at(*SIZE):
        await talk.press("h")
        assert DROPPED not in talk.table.names
        assert WITH_HEAD in talk.table.names
        await talk.press("h", "m")
        await talk.until(lambda: "vendor/not-mlx" in talk.table.names)
        await talk.press("o")
        await talk.until(lambda: "by likes" in talk.text("#models-filters"))


async def test_what_does_not_fit_can_be_left_out(
    hub: FakeHub, talk: ModelsTalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtplx_tui.screens.models.machine_bytes", lambda: 2**20)
    async with talk.at(*SIZE):
        await talk.press("f")
        assert DROPPED not in talk.table.names


async def test_the_card_tells_reasons_and_memory(hub: FakeHub, talk: ModelsTalk) -> None:
    async with talk.at(*SIZE):
        await talk.choose(DROPPED)
        facts = talk.text("#card-facts")
        for words in (
            "dropped in conversion",
            "4k tokens",
            "32k tokens",
            "128k tokens",
            "apache-2.0",
        ):
            assert words in facts


async def test_gated_and_broken_say_what_to_do(hub: FakeHub, talk: ModelsTalk) -> None:
    async with talk.at(*SIZE):
        await talk.choose("vendor/gated-model")
        assert "hf auth login" in talk.text("#card-facts")
        await talk.choose("someone/broken")
        assert "no valid JSON" in talk.text("#card-facts")


async def test_a_readme_is_shown_and_hidden(hub: FakeHub, talk: ModelsTalk) -> None:
    async with talk.at(*SIZE):
        await talk.choose(DROPPED)
        readme = talk.screen.query_one("#card-readme", Answer)
        await talk.press("r")
        await talk.until(lambda: readme.display and "tiny model" in readme.text)
        assert "license: mit" not in readme.text
        await talk.press("r")
        await talk.until(lambda: not readme.display)


async def test_a_download_moves_on_is_paused_and_goes_on(hub: FakeHub, talk: ModelsTalk) -> None:
    go = threading.Event()
    async with talk.at(*SIZE):
        await talk.choose(PLAIN)
        hub.plan(f"/{PLAIN}/resolve/*.safetensors", *[Fault(first=lambda: go.wait(30))] * 9)
        await talk.press("d")
        await talk.until(lambda: "downloading" in talk.text("#models-strip"))
        await talk.press("p")
        await talk.until(lambda: "paused" in talk.text("#models-strip"))
        go.set()
        await talk.press("p")
        await talk.until(lambda: talk.app.errands.downloads.jobs[0].state is JobState.DONE)
        await talk.until(lambda: f"{PLAIN} is downloaded" in talk.notices())
        await talk.until(lambda: talk.table._shown[PLAIN].is_here)
        await talk.press("enter")
        assert any("loading" in notice for notice in talk.notices())


async def test_a_long_name_is_cut_before_how_far_a_download_is(
    hub: FakeHub, talk: ModelsTalk
) -> None:
    name = "mlx-community/Some-Model-Of-A-Long-Name-27B-Instruct-4bit-DWQ"
    at = Progress(name, "main", State.FETCHING, "", 10**9, 10**10, 2 * 10**7, 450.0)
    async with talk.at(80, 24):
        talk.app.errands.downloads._jobs[name] = Job(name, "main", JobState.RUNNING, at)
        talk.screen._show_strip()
        line = talk.text("#models-strip")
        assert line.startswith("mlx-community/")
        assert line.endswith("…  10 %  1.00 GB of 10.0 GB  20.0 MB/s, 7 min 30 s left")
        assert len(line) <= 78
        await talk.pilot.resize_terminal(200, 60)
        await talk.until(lambda: talk.text("#models-strip").startswith(f"{name}  ━━───"))


async def test_a_download_that_fails_says_what_to_do(hub: FakeHub, talk: ModelsTalk) -> None:
    async with talk.at(*SIZE):
        await talk.choose("vendor/gated-model")
        await talk.press("enter")
        await talk.until(lambda: any("hf auth login" in notice for notice in talk.notices()))
        assert "hf auth login" in talk.text("#models-strip")
        await talk.press("x")
        assert talk.app.errands.downloads.jobs == ()
        assert talk.text("#models-strip") == ""


async def test_recommended_models_lead_where_nothing_is_searched_for(
    hub: FakeHub, talk: ModelsTalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    picks = (Recommended("vendor/not-mlx", 16), Recommended("vendor/of-another-hub", 16))
    monkeypatch.setattr("mtplx_tui.screens.models.recommended", lambda: picks)
    async with talk.at(*SIZE):
        await talk.until(lambda: "vendor/of-another-hub" not in talk.table.names)
        assert talk.table.names[0] == "vendor/not-mlx"
        assert len(talk.table.names) == 6


def test_the_recommended_list_can_be_read() -> None:
    models = recommended()
    assert len({model.name for model in models}) == len(models) > 0
    assert [model.memory_gb for model in models] == sorted(model.memory_gb for model in models)


async def test_what_is_here_is_listed_and_deleted_after_asking(
    hub: FakeHub, talk: ModelsTalk
) -> None:
    async with talk.at(*SIZE):
        await talk.choose(PLAIN)
        await talk.press("d")
        await talk.until(lambda: talk.table._shown[PLAIN].is_here)
        field = talk.app.screen.query_one("#models-search", Input)
        assert "the hub" in field.placeholder
        await talk.press("l")
        await talk.until(lambda: set(talk.table.names) == {"demo", PLAIN})
        assert "here" in field.placeholder
        await talk.choose(PLAIN)
        await talk.press("x")
        await talk.until(lambda: len(talk.app.screen_stack) == 2)
        assert "It frees" in str(talk.app.screen.query("Static").nodes[1].render())
        await talk.press("n")
        assert PLAIN in talk.table.names
        await talk.press("x")
        await talk.until(lambda: len(talk.app.screen_stack) == 2)
        await talk.press("y")
        await talk.until(lambda: talk.table.names == ("demo",))


async def test_what_is_loaded_is_not_deleted(hub: FakeHub, talk: ModelsTalk) -> None:
    async with talk.at(*SIZE):
        await talk.choose(PLAIN)
        await talk.press("d")
        await talk.until(lambda: talk.table._shown[PLAIN].is_here)
        talk.loads(replace(MODEL, name=PLAIN))
        await talk.press("x")
        assert "it is loaded; open another model first" in talk.notices()
        assert "loaded" in talk.text("#card-facts")


async def test_a_hub_that_is_down_is_told_and_tried_again(hub: FakeHub, talk: ModelsTalk) -> None:
    hub.plan("/api/models", Fault(status=503))
    async with talk.app.run_test(size=SIZE) as pilot:
        talk.pilot = pilot
        await pilot.pause()
        await talk.press("f4")
        await talk.until(lambda: "try again in some minutes" in talk.text("#models-note"))
        await talk.type("qwen")
        await talk.until(lambda: DROPPED in talk.table.names)
        assert "try again" not in talk.text("#models-note")


async def test_what_is_here_is_listed_without_a_word_of_the_hub(
    hub: FakeHub, talk: ModelsTalk
) -> None:
    """Whether it fails before that, or after."""
    go = threading.Event()
    hub.plan("/api/models", Fault(first=lambda: go.wait(30), status=503))
    async with talk.app.run_test(size=SIZE) as pilot:
        talk.pilot = pilot
        await pilot.pause()
        await talk.press("f4", "l")
        go.set()
        await talk.until(lambda: talk.screen._is_bad)
        assert talk.text("#models-note") == "1 model"


async def test_keys_lead_from_field_to_list_to_card(hub: FakeHub, talk: ModelsTalk) -> None:
    async with talk.at(80, 24):
        await talk.press("slash")
        assert isinstance(talk.app.focused, Input)
        await talk.press("escape")
        assert talk.app.focused is talk.table
        await talk.press("c")
        assert isinstance(talk.app.focused, ModelCard)
        await talk.press("c")
        assert talk.app.focused is talk.table


async def test_hostile_names_and_texts_stay_texts(hub: FakeHub, talk: ModelsTalk) -> None:
    hub.add(
        "evil/x",
        {"config.json": b'{"model_type": "[red]a[/]\\u001b[31m"}', "model.safetensors": b"x" * 20},
        tags=["mlx", "license:\x1b[31m[bold]"],
        downloads=999_999,
    )
    async with talk.at(*SIZE):
        await talk.choose("evil/x")
        assert "names no model_type" in talk.text("#card-facts")
        assert "\x1b" not in talk.text("#card-facts")


def test_author_and_tag_are_read_from_the_words() -> None:
    query = read_query(" qwen author:mlx-community tag:4-bit mtp ", ("mlx",), "likes")
    assert (query.words, query.author, query.tags) == (
        "qwen mtp",
        "mlx-community",
        ("mlx", "4-bit"),
    )
    assert read_query("author: x", (), "likes").words == "author: x"


async def test_one_author_type_or_quantisation_can_be_chosen(
    hub: FakeHub, talk: ModelsTalk
) -> None:
    hub.add("someone/packed", MATRIX["dropped"][1], tags=["mlx", "4-bit", "llama"], downloads=1)
    async with talk.at(*SIZE):
        await talk.press("a")
        await talk.until(lambda: isinstance(talk.app.screen, Choose))
        await talk.press("down", "down", "enter")  # any, mlx-community, someone, vendor
        await talk.until(
            lambda: set(talk.table.names) == {WITH_HEAD, "someone/broken", "someone/packed"}
        )
        assert "someone" in talk.text("#models-filters")
        await talk.press("q")
        await talk.until(lambda: isinstance(talk.app.screen, Choose))
        await talk.press("down", "enter")
        await talk.until(lambda: talk.table.names == ("someone/packed",))
        await talk.press("a")
        await talk.until(lambda: isinstance(talk.app.screen, Choose))
        await talk.press("up", "home", "enter")
        await talk.press("q")
        await talk.until(lambda: isinstance(talk.app.screen, Choose))
        await talk.press("home", "enter")
        await talk.until(lambda: PLAIN in talk.table.names)


async def test_downloads_can_be_kept_to_a_speed(hub: FakeHub, talk: ModelsTalk) -> None:
    async with talk.at(*SIZE):
        await talk.press("b")
        await talk.until(lambda: isinstance(talk.app.screen, AskText))
        field = talk.app.screen.query_one(Input)
        field.value = "fast"
        await talk.press("enter")
        assert "such as 20MB" in talk.text(".dialog--error")
        field.value = "5MB"
        await talk.press("enter")
        assert talk.app.errands.downloads.limiter.bytes_per_s == 5e6
        assert talk.app.settings.download_limit == "5MB"
        await talk.press("b")
        talk.app.screen.query_one(Input).value = "none"
        await talk.press("enter")
        assert talk.app.errands.downloads.limiter.bytes_per_s is None


async def test_a_model_is_certified_and_then_verified(hub: FakeHub, talk: ModelsTalk) -> None:
    demo = resolve("demo").path
    async with talk.at(*SIZE):
        await talk.press("l")
        await talk.until(lambda: talk.table.names == ("demo",))
        await talk.until(lambda: talk.tiers == {"demo": "compatible"})
        await talk.press("v")
        await talk.until(lambda: isinstance(talk.app.screen, Choose))
        await talk.press("enter")
        assert "demo" in talk.loaded
        talk.loads(replace(MODEL, name="demo", path=demo))
        await talk.pilot.pause()
        (asked,) = [command for command in talk.app.sent if isinstance(command, Certify)]
        talk.app.feed([CertifyProgress(asked.request, "rules", 30.0, 60.0)])
        await talk.until(lambda: "certifying demo: 50 %" in talk.text("#models-strip"))
        certificate = replace(made(Path(demo)), summary="every law was kept")
        talk.app.feed([CertifyDone(asked.request, certificate)])
        await talk.until(lambda: talk.tiers == {"demo": "verified"})
        assert "every law was kept" in talk.text("#card-facts")
        assert talk.text("#models-strip") == ""


async def test_the_card_tells_how_fast_it_should_be(hub: FakeHub, talk: ModelsTalk) -> None:
    async with talk.at(*SIZE):
        await talk.press("l")
        await talk.until(lambda: talk.tiers == {"demo": "compatible"})
        await talk.until(lambda: "tokens/s" in talk.text("#card-facts"))
        facts = talk.text("#card-facts")
        assert "drafting" in facts
        assert "predicted" in facts


async def test_a_head_is_grafted_into_a_folder_of_its_own(hub: FakeHub, talk: ModelsTalk) -> None:
    folder = find_places().models / "trunk"
    folder.mkdir(parents=True)
    for name, data in MATRIX["dropped"][1].items():
        (folder / name).write_bytes(data)
    async with talk.at(*SIZE):
        await talk.press("l")
        await talk.until(lambda: str(folder) in talk.table.names)
        await talk.known()
        await talk.choose("demo")
        await talk.press("g")
        assert any("no head" in notice for notice in talk.notices())
        await talk.choose(str(folder))
        await talk.press("g")
        await talk.until(lambda: isinstance(talk.app.screen, AskText))
        talk.app.screen.query_one(Input).value = "org/not-here"
        await talk.press("enter")
        await talk.until(lambda: any("not on the hub" in notice for notice in talk.notices()))


async def test_models_of_another_program_are_only_read(
    hub: FakeHub, talk: ModelsTalk, tmp_path: Path
) -> None:
    folder = tmp_path / ".lmstudio" / "models" / "org" / "theirs"
    folder.mkdir(parents=True)
    for name, data in MATRIX["dropped"][1].items():
        (folder / name).write_bytes(data)
    (folder.parent / "gguf").mkdir()
    (folder.parent / "gguf" / "model.gguf").write_bytes(b"GGUF")
    async with talk.at(*SIZE):
        await talk.press("l")
        await talk.until(lambda: set(talk.table.names) == {"demo", str(folder)})
        await talk.choose(str(folder))
        await talk.press("x")
        await talk.until(lambda: any("belongs to LM Studio" in n for n in talk.notices()))
        assert folder.is_dir()
        await talk.press("d")
        assert any("is here already" in notice for notice in talk.notices())
        await talk.press("enter")
        assert talk.loaded[-1] == str(folder)
