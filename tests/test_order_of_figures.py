"""Real networks and real photographs: the more a picture is damaged, the worse are its figures.

`test_evaluate.py` has the same of a network made for the test, in a second, and `test_critic.py` of the
critic."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.order_of_figures import (
    COPY,
    DAMAGES,
    ORDERS,
    SHUFFLED,
    as_pairs,
    as_sets,
    crops,
    out_of_order,
)
from img2img.evaluation.figures import Figure
from img2img.features import FEATURES, missing_features
from img2img.metrics import METRICS
from tests.conftest import ROOT

PHOTOS = sorted((ROOT / "examples" / "photos").iterdir())
NETWORKS = [name for name in FEATURES if name != "vgg19"]


def need(network: str) -> None:
    if why := missing_features(network):
        pytest.skip(why)


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_sets_are_ordered_as_anybody_would(network: str, tmp_path: Path) -> None:
    """Halves of one set, against halves that are damaged less and more. Of so few pictures nearly
    all may lie among the others after little damage, so of shares only the ends must differ.
    `recall` is left out: damage that spreads the outputs raises it; and so is the Inception score,
    which knows nothing of the reals."""
    need(network)
    found = as_sets(tmp_path, crops(PHOTOS, 80, 128), [network])
    fd, kd = ("fid", "kid") if network == "inception" else (f"fd_{network}", f"kd_{network}")
    assert not [line for name in (fd, kd) for line in out_of_order(found, name)]
    for name in (f"{kind}_{network}" for kind in ("precision", "density", "coverage")):
        least, most = (found[damage][name].value for damage in (COPY, "blur 3"))
        assert least > most + 0.2, name


@pytest.mark.slow
def test_copies_are_ordered_by_vgg19_as_anybody_would(tmp_path: Path) -> None:
    """Against the very pictures that were damaged. Between halves of so few pictures the draw
    decides: see docs/reference/metrics.md."""
    need("vgg19")
    damages = {name: DAMAGES[name] for name in (COPY, "JPEG 10", "blur 3")}
    found = as_sets(tmp_path, 2 * crops(PHOTOS, 12, 128), ["vgg19"], damages)
    assert not [line for name in ("fd_vgg19", "kd_vgg19") for line in out_of_order(found, name)]


@pytest.mark.slow
def test_pairs_are_ordered_as_anybody_would(tmp_path: Path) -> None:
    names = [name for name, metric in METRICS.items() if metric.available()]
    assert "ms_ssim" in names
    found = as_pairs(tmp_path, crops(PHOTOS, 10, 176), names)
    assert all(set(names) <= set(figures) for figures in found.values())
    assert not [line for name in names for line in out_of_order(found, name)]


def test_what_is_out_of_order_is_reported() -> None:
    values = {COPY: 3.0, "JPEG 60": 2.0, "JPEG 10": 4.0, "blur 1": 3.5, "blur 3": 3.5, SHUFFLED: 9}
    assert {name for order in ORDERS for name in order} == set(values)
    found = {n: {"l1": Figure(v, v, v, 9, better="lower")} for n, v in values.items()}
    assert out_of_order(found, "l1") == ["l1: copy 3, JPEG 60 2", "l1: blur 1 3.5, blur 3 3.5"]
    found = {n: {"psnr": Figure(-v, -v, -v, 9, better="higher")} for n, v in values.items()}
    assert len(out_of_order(found, "psnr")) == 2
