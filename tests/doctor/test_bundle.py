"""Secrets in every place: none of them is in the bundle."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mtplx_tui.chats.store import Store
from mtplx_tui.config import HubPlace, Login
from mtplx_tui.doctor.bundle import BundleRefused, log_lines, redactor_for, write_bundle
from mtplx_tui.doctor.check import Check
from mtplx_tui.doctor.examination import examine
from mtplx_tui.doctor.redaction import Redactor
from mtplx_tui.files import Places
from tests.doctor.broken import PYTHON, sound

PROMPT = "my neighbour Ottokar owes me money"
SECRETS = {
    "environment token": "hf_Zq81environment",
    "environment password": "pw7",
    "environment without a telling name": "plumtree-9-sesame",
    "token file": "tokenfile-entry-77",
    "server key": "sk-mtplx-aBcDeFgHiJ12345",
    "url password": "urlpass8",
    "url query": "querykey5",
    "config value": "confidential-theme",
    "config of unknown key": "unknown-value-3",
    "model folder": "acme-merger",
    "chat": PROMPT,
    "chat file": "diary-of-march",
    "repository": "private-owner",
    "mail": "someone.else@example.org",
    "ipv4": "10.20.30.40",
    "ipv6": "2001:db8::7a",
    "bearer": "Qx.bearer-word",
    "random": "9f8e7d6c5b4a39281706f5e4d3c2b1a0ffee",
    "folder": "hunter-two",
    "server host": "plum.corp.internal",
    "key of the keymap": "merger-key",
    "keys of the keymap": "ctrl-hyperspace",
    "table of the config": "merger-table",
    "log prompt": "tell me about the divorce",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's home folder, with the environment of that person."""
    folder = tmp_path / "hunter-two" / "ottilie"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("LOGNAME", "ottilie")
    monkeypatch.setenv("HF_TOKEN", SECRETS["environment token"])
    monkeypatch.setenv("PGPASSWORD", SECRETS["environment password"])
    monkeypatch.setenv("FAVOURITE", SECRETS["environment without a telling name"])
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRETS['url password']}@proxy:3128")
    return folder


def fill(home: Path) -> None:
    """Put secrets into all that is kept."""
    data = home / "data"
    for folder in ("state/logs", "chats"):
        (data / folder).mkdir(parents=True)
    (home / "token").write_text(f"{SECRETS['token file']}\n")
    (data / "state" / "server-key").write_text(f"{SECRETS['server key']}\n")
    settings = f'theme = "{SECRETS["config value"]}"\nfeed_hz = "{SECRETS["config value"]}"\n'
    settings += f'depht = "{SECRETS["config of unknown key"]}"\n[more]\nx = "{SECRETS["mail"]}"\n'
    settings = f'last_model = "{home}/{SECRETS["model folder"]}"\nblas = "stock"\n{settings}'
    settings += f"[{SECRETS['table of the config']}]\ndepth = 3\n"
    (data / "config.toml").write_text(settings)
    keys = (
        f'"{SECRETS["key of the keymap"]}" = "f9"\nchat.new = "{SECRETS["keys of the keymap"]}"\n'
    )
    (data / "keymap.toml").write_text(keys)
    for name in ("bookmark.json", "setup.json"):
        (data / "state" / name).write_text(f'{{"draft": "{PROMPT}"')
    chats = data / "chats"
    (chats / f"{SECRETS['chat file']}.jsonl").write_text(f"{PROMPT}\n{PROMPT}")
    journal = Store(chats).new_journal("kept")
    journal.add(json.dumps({"is": "created", "title": PROMPT}).encode() + b"\n", b'{"cut')
    journal.flush()
    journal.close()
    blobs = home / "hub" / f"models--{SECRETS['repository']}--name" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{'a' * 64}.incomplete").write_bytes(b"half")
    (data / "state" / "logs" / "engine.log").write_text(log(home))


def log(home: Path) -> str:
    stamp = "2026-11-25 14:00:00,123"
    said = [
        f"{stamp} engine.profiles {home}/{SECRETS['folder']}/x.json is no depth profile",
        f"{stamp} engine.model.load asked {SECRETS['ipv4']} and [{SECRETS['ipv6']}] on "
        f"{socket.gethostname()} for ottilie",
        f"{stamp} engine.worker Authorization: Bearer {SECRETS['bearer']}",
        f"{stamp} engine.worker https://a:{SECRETS['url password']}@b/?api_key={SECRETS['url query']}",
        f"{stamp} engine.worker {SECRETS['random']} {SECRETS['mail']} {SECRETS['token file']}",
        f"{stamp} engine.worker {SECRETS['server key']} {SECRETS['environment password']}",
        f"{stamp} transformers {PROMPT}",
        SECRETS["log prompt"],
        "Traceback (most recent call last):",
        f'  File "{home}/engine/worker.py", line 3, in run',
        f"    raise ValueError({PROMPT!r})",
        f"ValueError: {PROMPT}",
        f"jinja2.exceptions.TemplateError: {SECRETS['log prompt']}",
    ]
    return "\n".join([*said, ""])


def bundle(home: Path, tmp_path: Path) -> str:
    code = f"import sys; sys.stderr.write({SECRETS['environment token']!r}); sys.exit(9)"
    url = f"http://me:{SECRETS['url password']}@127.0.0.1:1/?token={SECRETS['url query']}"
    s = sound(
        tmp_path,
        places=Places(home / "data", home / "data", home / "cache"),
        hub_cache=home / "hub",
        hub=HubPlace(url, is_offline=False),
        is_offline=False,
        login=Login("", home / "token"),
        examining=(PYTHON, "-c", code),
        address=(SECRETS["server host"], 8080),
    )
    checks = [*examine(s), Check("extra", "", f"in {home}/{SECRETS['folder']}/file")]
    assert len({check.group for check in checks}) > 6
    return write_bundle(tmp_path / "report.json", s, checks).read_text("utf-8")


class TestSecrets:
    def test_none_is_in_the_bundle(self, home: Path, tmp_path: Path) -> None:
        fill(home)
        text = bundle(home, tmp_path)
        assert {what for what, secret in SECRETS.items() if secret in text} == set()
        assert "ottilie" not in text
        assert socket.gethostname() not in text
        assert str(tmp_path) not in text
        assert "127.0.0.1" not in text

    def test_what_helps_is_in_it(self, home: Path, tmp_path: Path) -> None:
        fill(home)
        report = json.loads(bundle(home, tmp_path))
        found = {check["name"]: check for check in report["checks"]}
        assert found["MLX"]["found"] == "the engine's process ended with exit code 9: (hidden)"
        assert found["downloads"]["found"].startswith("1 not done")
        assert found["settings"]["severity"] == "warning"
        assert "CONFIG/config.toml:" in found["settings"]["found"]
        assert [check["found"] for check in report["checks"] if check["name"] == "keys"] == [
            "CONFIG/keymap.toml:1: (hidden) is no action with keys",
            "CONFIG/keymap.toml:2: chat.new: (hidden) is no key",
        ]
        assert "/state/bookmark.json" in found["bookmark"]["found"]
        assert "/state/setup.json" in found["set-up"]["found"]
        assert report["settings"]["blas"] == "stock"
        assert report["settings"]["last_model"] == "(hidden)"
        assert report["packages"]["mlx"].count(".") == 2
        assert report["engine_log"][0] == "(3 other lines left out)"
        stamped = "2026-11-25 14:00:00,123 engine.profiles ~/(hidden) is no depth profile"
        assert report["engine_log"][1] == stamped
        assert "ValueError (hidden)" in report["engine_log"]

    def test_the_command_leaves_none_either(self, home: Path, tmp_path: Path) -> None:
        fill(home)
        environment = {**os.environ, "MTPLX_TUI_HOME": str(home / "data"), "HF_HOME": str(home)}
        command = [Path(sys.executable).with_name("mtplx-tui"), "doctor", "--offline", "--json"]
        report = tmp_path / "sent.json"
        done = subprocess.run(
            [*command, "--bundle", str(report)],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        text = report.read_text("utf-8")
        assert {what for what, secret in SECRETS.items() if secret in text} == set()
        assert "ottilie" not in text
        tokens = ("environment token", "environment password", "token file", "server key")
        for what in tokens:
            assert SECRETS[what] not in done.stdout + done.stderr


class TestRedaction:
    def test_a_value_of_the_environment_goes_wherever_it_stands(self) -> None:
        redactor = Redactor((), {"se", "secret"}, ())
        assert redactor.text("xsecretx se") == "x(hidden)x (hidden)"

    def test_names_go_as_whole_words(self) -> None:
        redactor = Redactor((), (), {"ada", "box.lan"})
        assert redactor.text("Ada, ada-x on BOX.LAN; adage") == "(name), (name)-x on (name); adage"

    def test_folders_get_their_labels_the_deepest_first(self, tmp_path: Path) -> None:
        folders = [(tmp_path, "HOME"), (tmp_path / "cache", "CACHE")]
        redactor = Redactor(folders, (), ())
        text = f"{tmp_path}/cache/x and {tmp_path}/y and {tmp_path}/cached"
        assert redactor.text(text) == "CACHE/x and HOME/y and HOME/cached"

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("at 192.168.0.1:80", "at (address):80"),
            ("at [fe80::1]:80", "at [(address)]:80"),
            ("mlx 0.32.4 took 0:12:30 h", "mlx 0.32.4 took 0:12:30 h"),
            ("to a.b+c@mail.example.org", "to (e-mail)"),
            ("see /srv/people/ada/x", "see /(hidden)"),
            ("see /sys/class/hwmon", "see /sys/class/hwmon"),
            ("password=abc; next", "password=(hidden); next"),
            ("api-key: abc", "api-key: (hidden)"),
            ("token sk-abcdefgh", "token (hidden)"),
            ("https://a:b@c.d/e", "https://(hidden)@c.d/e"),
        ],
    )
    def test_what_looks_private_goes(self, text: str, shown: str) -> None:
        assert Redactor((), (), ()).text(text) == shown

    def test_of_a_log_only_known_lines_stay(self) -> None:
        lines = ["hello", "OSError: no", "libc++abi: terminating", "2026 engine.x no stamp"]
        assert log_lines(lines) == [
            "(2 other lines left out)",
            "OSError (hidden)",
            "libc++abi: terminating",
        ]

    def test_this_person_s_names_are_known(self, tmp_path: Path) -> None:
        host = socket.gethostname()
        assert host not in redactor_for(sound(tmp_path)).text(f"on {host}")


class TestTheFile:
    def test_nothing_is_overwritten(self, tmp_path: Path) -> None:
        place = tmp_path / "kept"
        place.write_text("mine")
        with pytest.raises(BundleRefused, match="is there already"):
            write_bundle(place, sound(tmp_path), [])
        assert place.read_text() == "mine"

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(BundleRefused, match="there is no folder"):
            write_bundle(tmp_path / "no" / "such", sound(tmp_path), [])

    def test_it_is_for_its_owner_alone(self, tmp_path: Path) -> None:
        place = write_bundle(tmp_path / "report.json", sound(tmp_path), [])
        assert place.stat().st_mode & 0o777 == 0o600
