"""Where uploads lie, and what is removed of killed servers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from img2img.server import folder
from img2img.server.folder import UploadFolder, sweep

_LEAVES = """
import os
from img2img.server.folder import UploadFolder
folder = UploadFolder()
(folder.path / "0").write_bytes(b"picture")
print(folder.path.parent.name, flush=True)
os._exit(9)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def abandoned(temporary: Path) -> Path:
    """The folder of a process that ended without a word."""
    done = subprocess.run(
        [sys.executable, "-c", _LEAVES], capture_output=True, text=True,
        env={**os.environ, "TMPDIR": str(temporary), "TEMP": str(temporary)},
    )  # fmt: skip
    found = temporary / done.stdout.strip()
    assert (found / "uploads" / "0").is_file(), done.stderr
    return found


def test_what_a_killed_server_left_is_removed(temporary: Path) -> None:
    left = abandoned(temporary)
    living = UploadFolder()
    assert not left.exists() and living.path.is_dir()
    other = UploadFolder()  # of the same process, as two containers have the same number
    assert living.path.is_dir() and other.path != living.path
    other.close()
    living.close()
    assert [*temporary.iterdir()] == []


@pytest.mark.skipif(os.name != "posix", reason="links and owners as POSIX has them")
def test_what_is_not_ours_is_left_alone(
    temporary: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for place in (elsewhere, temporary / "img2img-serve-mine", temporary / "img2img-serve-1-a"):
        place.mkdir(exist_ok=True)
        (place / "precious").touch()
    (elsewhere / "lock").touch()
    (temporary / "img2img-serve-1-b").symlink_to(elsewhere)
    (temporary / "img2img-serve-1-c").touch()
    inner = temporary / "img2img-serve-1-d"
    inner.mkdir()
    (inner / "lock").symlink_to(elsewhere / "lock")
    before = sorted(temporary.rglob("*"))
    assert sweep() == 0
    left = abandoned(temporary)
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 12345)  # another user's
        assert sweep() == 0
    assert sweep() == 1 and not left.exists()
    assert sorted(temporary.rglob("*")) == before
    assert (elsewhere / "precious").exists()


@pytest.mark.skipif(os.name != "posix", reason="an open file can be removed")
def test_a_folder_that_another_server_sweeps_at_once_is_made_anew(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, swept = folder.lock_file, []

    def late(descriptor: int) -> None:
        if not swept:
            swept.append(0)
            swept[0] = sweep()
        lock(descriptor)

    monkeypatch.setattr(folder, "lock_file", late)
    made = UploadFolder()
    assert swept == [1] and made.path.is_dir()
    made.close()
    assert [*temporary.iterdir()] == []
