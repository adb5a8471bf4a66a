from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtplx_tui.chats.desk import Desk
from mtplx_tui.chats.export import as_json, as_markdown, export, file_name, write_free
from mtplx_tui.chats.model import Chat
from mtplx_tui.chats.store import Store
from mtplx_tui.requests import Options
from tests.chats.talk import MODEL, Clock, answer, done, said


@pytest.fixture
def chat(tmp_path: Path) -> Chat:
    desk = Desk(Store(tmp_path / "chats"), Clock())
    desk.set_options(Options(system="Be brief.", seed=7))
    first = desk.ask("Why is the sky blue?", MODEL)
    answer(desk, first, "First answer")
    second = desk.regenerate(first.request, MODEL)
    desk.apply(said(second.request, "Second *answer*", thought="let me see"))
    desk.apply(done(second.request))
    desk.close()
    return desk.chat


class TestMarkdown:
    def test_it_holds_the_branch_shown_and_no_other(self, chat: Chat) -> None:
        text = as_markdown(chat)
        assert text == (
            "# Why is the sky blue?\n\n*2023-11-14T22:13:20+00:00*\n\n## System\n\nBe brief.\n\n"
            "## You\n\nWhy is the sky blue?\n\n## demo\n\n"
            "<details><summary>Thought</summary>\n\nlet me see\n\n</details>\n\n"
            "Second *answer*\n\n*2 tokens · 8.0/s · 2.00 a cycle · depth 0 · seed 7*\n"
        )

    def test_a_chat_without_turns_is_no_error(self) -> None:
        assert as_markdown(Chat("c")).startswith("# Chat\n")


class TestJson:
    def test_it_holds_the_whole_tree(self, chat: Chat) -> None:
        content = json.loads(as_json(chat))
        assert [turn["text"] for turn in content["turns"]] == [
            "Why is the sky blue?",
            "First answer",
            "Second *answer*",
        ]
        assert content["leaf"] == chat.leaf
        assert content["turns"][2]["parent"] == content["turns"][0]["id"]
        assert content["turns"][2]["options"]["seed"] == 7


class TestWriting:
    def test_the_suffix_chooses_the_form(self, chat: Chat, tmp_path: Path) -> None:
        assert json.loads(export(chat, tmp_path / "out" / "a.json").read_text("utf-8"))
        assert export(chat, tmp_path / "a.md").read_text("utf-8") == as_markdown(chat)

    def test_what_is_there_is_never_overwritten(self, chat: Chat, tmp_path: Path) -> None:
        path = tmp_path / "a.md"
        path.write_text("mine")
        assert export(chat, path) == tmp_path / "a-2.md"
        assert export(chat, path) == tmp_path / "a-3.md"
        assert path.read_text() == "mine"

    def test_a_link_to_nothing_is_not_followed(self, chat: Chat, tmp_path: Path) -> None:
        (tmp_path / "a.md").symlink_to(tmp_path / "elsewhere.md")
        assert export(chat, tmp_path / "a.md") == tmp_path / "a-2.md"
        assert not (tmp_path / "elsewhere.md").exists()

    def test_in_a_folder_the_title_names_the_file(self, chat: Chat, tmp_path: Path) -> None:
        assert export(chat, tmp_path) == tmp_path / "why-is-the-sky-blue.md"

    def test_broken_characters_do_not_stop_it(self, tmp_path: Path) -> None:
        assert write_free(tmp_path / "a.txt", "x\ud800y").read_text("utf-8") == "x\ufffdy"

    def test_a_write_that_fails_leaves_nothing(
        self, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(path: Path, text: str) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("mtplx_tui.chats.export.write_atomically", full)
        with pytest.raises(OSError, match="No space"):
            export(chat, tmp_path / "a.md")
        assert not (tmp_path / "a.md").exists()

    @pytest.mark.parametrize(
        ("title", "name"),
        [
            ("../../etc/x", "etc-x.md"),
            ("", "chat.md"),
            ("Ärger 1!", "ärger-1.md"),
            ("/", "chat.md"),
        ],
    )
    def test_a_title_never_leaves_the_folder(self, title: str, name: str) -> None:
        assert file_name(Chat("c", title)) == name
