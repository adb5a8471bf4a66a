from __future__ import annotations

from pathlib import Path

import pytest

from mtplx_tui import keys_file
from mtplx_tui.keymap import SCOPES
from mtplx_tui.keys_file import KEYS, STANDARD, Keys, trouble_with


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keymap.toml"


class TestTheAppsOwnKeys:
    @pytest.mark.parametrize("name", KEYS)
    def test_no_two_actions_want_the_same_key_at_once(self, name: str) -> None:
        assert STANDARD.clashes(name) == ()

    @pytest.mark.parametrize("name", KEYS)
    def test_every_key_could_be_chosen_by_a_person(self, name: str) -> None:
        assert [trouble for key in STANDARD.of(name) if (trouble := trouble_with(name, key))] == []

    def test_no_id_is_there_twice(self) -> None:
        ids = [key.id for scope in SCOPES for key in scope.keys]
        assert len(ids) == len(set(ids))


class TestFile:
    def test_without_one_there_are_the_apps_own(self, path: Path) -> None:
        assert keys_file.read(path) == (STANDARD, ())

    @pytest.mark.parametrize(
        ("text", "keys"),
        [
            ('"chat.new" = "ctrl+w"', "ctrl+w"),
            ('"chat.new" = "Ctrl+W, F11"', "ctrl+w,f11"),
            ('chat.new = "alt+n"', "alt+n"),
            ('[chat]\nnew = "shift+f9"', "shift+f9"),
            ('"chat.new" = "alt+/"', "alt+slash"),
        ],
    )
    def test_a_key_may_be_written_as_people_write_it(
        self, path: Path, text: str, keys: str
    ) -> None:
        path.write_text(text, "utf-8-sig")
        assert keys_file.read(path) == (Keys({"chat.new": keys}), ())

    def test_two_may_change_places(self, path: Path) -> None:
        path.write_text('"chat.new" = "ctrl+l"\n"chat.list" = "ctrl+n"\n')
        keys, problems = keys_file.read(path)
        assert problems == ()
        assert (keys.of("chat.new"), keys.of("chat.list")) == (("ctrl+l",), ("ctrl+n",))

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ('"chat.new" = "ctrl+l"', "chat.new: chat.list would want the same key"),
            ('"chat.new" = "f2"', "chat.new: app.chat would want the same key"),
            ('"app.palette" = "ctrl+g"', "app.palette: chat.regenerate would want the same key"),
            ('"turn.copy" = "ctrl+n"', "turn.copy: chat.new would want the same key"),
            ('"chat.new" = "n"', "chat.new: n is needed to type"),
            ('"chat.new" = "enter"', "chat.new: enter is needed to type"),
            ('"chat.new" = "ctrl+i"', "chat.new: a terminal sends tab for ctrl+i"),
            ('"chat.new" = "super+n"', "chat.new: a terminal does not send super"),
            ('"chat.new" = "ctrl+1"', "chat.new: most terminals can't send ctrl+1"),
            ('"chat.new" = "ctrl+shift+n"', "chat.new: most terminals can't send ctrl+shift+n"),
            ('"chat.new" = "f13"', "chat.new: terminals send f1 to f12"),
            ('"chat.new" = "hyperspace"', "chat.new: 'hyperspace' is no key"),
            ('"chat.new" = ""', "chat.new must be keys in quotes"),
            ('"chat.new" = 3', "chat.new must be keys in quotes"),
            ('"chat.new" = ["a"]', "chat.new must be keys in quotes"),
            ('"chat.newer" = "f9"', "'chat.newer' is no action with keys"),
            ('colour = "red"', "'colour' is no action with keys"),
        ],
    )
    def test_a_broken_line_is_named_and_the_others_count(
        self, path: Path, line: str, problem: str
    ) -> None:
        path.write_text(f'# mine\n"chat.fold" = "ctrl+w"\n{line}\n')
        keys, problems = keys_file.read(path)
        assert keys == Keys({"chat.fold": "ctrl+w"})
        assert len(problems) == 1
        assert problems[0].startswith(f"{path}:3: {problem}")

    def test_two_that_want_the_same_key_both_get_their_own_back(self, path: Path) -> None:
        path.write_text('"chat.new" = "f11"\n"chat.list" = "f11"\n"chat.fold" = "ctrl+w"\n')
        keys, problems = keys_file.read(path)
        assert keys == Keys({"chat.fold": "ctrl+w"})
        assert problems == (
            f"{path}:1: chat.new: chat.list would want the same key",
            f"{path}:2: chat.list: chat.new would want the same key",
        )

    @pytest.mark.parametrize("content", [b"\xff\xfe", b"a =", b'"chat.new" = "x'])
    def test_no_content_at_all_ends_the_app(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        keys, problems = keys_file.read(path)
        assert keys == STANDARD
        assert len(problems) == 1
        assert "the app's own keys are used" in problems[0]

    def test_a_folder_in_its_place_is_named(self, path: Path) -> None:
        path.mkdir()
        assert keys_file.read(path)[1] == (
            f"{path}: it is not a file; the app's own keys are used",
        )

    def test_a_change_leaves_all_else(self, path: Path) -> None:
        path.write_text('# mine\n"chat.fold" = "ctrl+w" # thought\nodd = 1\n[turn]\ncopy = "w"\n')
        keys_file.write(path, {"chat.fold": "f11", "turn.copy": "z", "chat.new": "alt+n"})
        assert path.read_text() == (
            '# mine\n"chat.fold" = "f11" # thought\nodd = 1\n'
            '"chat.new" = "alt+n"\n[turn]\ncopy = "z"\n'
        )
        assert keys_file.read(path)[0].changed == {
            "chat.fold": "f11",
            "chat.new": "alt+n",
            "turn.copy": "z",
        }


def test_a_text_gets_its_keys_and_keeps_foreign_braces() -> None:
    keys = Keys({"app.restart": "f9"})
    assert keys.fill("{app.restart} {server.next} {a.b} {x}") == "F9 → {a.b} {x}"
