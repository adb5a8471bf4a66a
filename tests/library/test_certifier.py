"""The app's certifier: asks once the model is loaded, follows, keeps; says why where it can't."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.protocol import (
    Cancel,
    Certify,
    CertifyDone,
    CertifyProgress,
    Command,
    ErrorInfo,
    LoadFailed,
    ModelLoaded,
    RequestFailed,
    Verdict,
)
from mtplx_tui.library.certifier import Certifier
from mtplx_tui.view import EngineState, EngineView
from tests.fakes.streams import MODEL
from tests.library.test_certificates import made

HERE = replace(MODEL, name="mine", path="/models/mine")
READY = EngineView(state=EngineState.READY, model=HERE)


class House:
    """A certifier and the engine around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sent: list[Command] = []
        self.can_send = True
        self.changes = 0
        self.certifier = Certifier(self._send, folder / "kept", self._changed)

    def _send(self, command: Command) -> bool:
        self.sent.append(command)
        return self.can_send

    def _changed(self) -> None:
        self.changes += 1

    def start(self, view: EngineView = READY) -> str:
        return self.certifier.start("mine", "/models/mine", 60.0, view)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_loaded_model_is_asked_for_at_once_and_followed(house: House) -> None:
    assert house.start() == ""
    (asked,) = house.sent
    assert isinstance(asked, Certify)
    assert asked.budget_s == 60.0
    house.certifier.take([CertifyProgress(asked.request, "rules", 15.0, 60.0)])
    assert house.certifier.words == "certifying mine: 25 %"
    folder = house.folder / "mine"
    folder.mkdir()
    certificate = replace(made(folder), summary="every law was kept")
    house.certifier.take([CertifyDone(asked.request, certificate)])
    assert not house.certifier.is_active
    assert house.certifier.note == "mine: exact: every law was kept"
    assert len(list((house.folder / "kept").iterdir())) == 1


def test_another_model_is_waited_for(house: House) -> None:
    assert house.start(EngineView(state=EngineState.LOADING)) == ""
    assert house.sent == []
    assert "waits" in house.certifier.words
    house.certifier.take([ModelLoaded("load-1", HERE)])
    assert isinstance(house.sent[0], Certify)


def test_two_at_a_time_are_refused(house: House) -> None:
    house.start()
    assert "being certified" in house.start()
    assert len(house.sent) == 1


def test_without_an_engine_it_says_what_to_do(house: House) -> None:
    assert "{app.restart}" in house.start(EngineView(state=EngineState.DEAD))
    assert not house.certifier.is_active
    house.can_send = False
    house.start()
    assert "no engine" in house.certifier.note


def test_it_is_stopped_and_keeps_nothing(house: House) -> None:
    house.start()
    house.certifier.stop()
    assert isinstance(house.sent[-1], Cancel)
    house.certifier.take([CertifyDone("certify-1", made(house.folder, Verdict.BROKEN))])
    assert not (house.folder / "kept").exists()
    assert "nothing was certified" in house.certifier.note


@pytest.mark.parametrize("is_asked", [False, True])
def test_what_goes_wrong_ends_it_with_a_sentence(house: House, *, is_asked: bool) -> None:
    view = READY if is_asked else EngineView(state=EngineState.LOADING)
    for event, said in (
        (LoadFailed("load-1", ErrorInfo("no", "")), "could not be loaded"),
        (ModelLoaded("load-1", MODEL), "another model"),
    ):
        house.start(view)
        house.certifier.take([event])
        assert not house.certifier.is_active
        assert said in house.certifier.note
    house.start(view)
    house.certifier.engine_died(ErrorInfo("it crashed", ""))
    assert "it crashed" in house.certifier.note


def test_a_refusal_of_the_engine_is_told(house: House) -> None:
    house.start()
    error = ErrorInfo("there is no head to certify", "")
    house.certifier.take([RequestFailed("other", error), RequestFailed("certify-1", error)])
    assert "no head to certify" in house.certifier.note
