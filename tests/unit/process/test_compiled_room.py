"""Compiled parts find a place: beside the code, in the user's cache, or for this process alone."""

import os
import stat
from pathlib import Path

import pytest

from vitalwire_edge.process import compiled


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    # Set first, so that whatever the test leaves there is taken back.
    monkeypatch.setenv(compiled.VARIABLE, "x")
    monkeypatch.delenv(compiled.VARIABLE)
    monkeypatch.setattr(compiled.tempfile, "tempdir", str(tmp_path))


def test_where_the_code_lies_in_a_writable_folder_nothing_is_changed():
    compiled.find_room()
    assert compiled.VARIABLE not in os.environ


def test_a_folder_that_was_chosen_is_left(monkeypatch):
    monkeypatch.setenv(compiled.VARIABLE, "/chosen")
    monkeypatch.setattr(compiled, "_writable", lambda _folder: False)
    compiled.find_room()
    assert os.environ[compiled.VARIABLE] == "/chosen"


def test_the_users_cache_will_do(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    really = compiled._writable
    monkeypatch.setattr(compiled, "_writable", lambda folder: folder.name == "numba" and really(folder))
    compiled.find_room()
    assert compiled.VARIABLE not in os.environ


def test_without_any_place_this_process_gets_one_for_itself(monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    really, asked = compiled._writable, []

    def only_the_users(folder: Path) -> bool:
        asked.append(folder)
        return folder.name == "numba" and really(folder)

    monkeypatch.setattr(compiled, "_writable", only_the_users)
    compiled.find_room()
    folder = Path(os.environ[compiled.VARIABLE])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [each.name for each in asked] == ["__pycache__", "numba"]
    assert "set NUMBA_CACHE_DIR" in capsys.readouterr().err
