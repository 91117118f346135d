"""`img2img data check`: what a folder of training data is, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from img2img.data import Loading, PairedData
from img2img.data.checks import Report, check_data, check_sheet
from img2img.errors import DataError
from tests import broken_sets
from tests.broken_sets import BROKEN, save, scene
from tests.conftest import Main


def found(report: Report, kind: str) -> list[str]:
    return [str(f) for f in report.findings if f.kind == kind]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_set_is_named(name: str, tmp_path: Path) -> None:
    make, kind, stops, words = BROKEN[name]
    make(tmp_path)
    report = check_data(tmp_path).report
    texts = found(report, kind)
    assert any(all(word in text for word in words) for text in texts), report.findings
    assert report.refused == stops


def test_a_good_set_has_no_finding_but_its_size(tmp_path: Path) -> None:
    broken_sets.pairs(tmp_path, 16)
    report = check_data(tmp_path).report
    assert [f.kind for f in report.findings] == ["few"] and not report.refused
    assert report.method == "pix2pix" and report.counts == {"train A": 16, "train B": 16}
    assert report.registration["peak"] > 6.5 and report.registration["shift"] == [0, 0]
    assert report.command.startswith(f"img2img train pix2pix {tmp_path} -o runs/")
