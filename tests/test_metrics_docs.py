"""docs/reference/metrics.md has a row for each figure, which says what the figure does not tell."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from img2img.evaluation.figures import FAITHFUL
from img2img.evaluation.rows import BICUBIC
from img2img.features import FEATURES
from img2img.metrics import METRICS
from img2img.metrics.set_figures import SET_METRICS, name_of
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
# What makes a figure, in img2img/evaluation: the name stands before it.
MAKERS = {"Figure", "figure_of", "_plain", "_resampled", "_share"}
PLACEHOLDER = r"[A-Z]+"


def rows() -> Iterator[tuple[list[str], list[str]]]:
    """The figures of each row of the page's tables, and its cells."""
    for line in PAGE.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            yield re.findall(r"`(\w+)`", cells[0]), cells


def documented(name: str) -> bool:
    return any(
        re.fullmatch(re.sub(PLACEHOLDER, r"\\w+", figure), name)
        for names, _ in rows()
        for figure in names
    )


def emitted() -> Iterator[str]:
    """The names under which the modules of the evaluation make figures; `x` for what is filled in."""
    for path in sorted((ROOT / "img2img" / "evaluation").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            pairs: list[tuple[ast.expr | None, ast.expr]] = []
            if isinstance(node, ast.Dict):
                pairs = list(zip(node.keys, node.values, strict=True))
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
                pairs = [(node.targets[0].slice, node.value)]
            for key, value in pairs:
                made = isinstance(value, ast.Call) and isinstance(value.func, ast.Name)
                if made and value.func.id in MAKERS:  # type: ignore[attr-defined]
                    yield from filled(key)


def filled(key: ast.expr | None) -> Iterator[str]:
    if isinstance(key, ast.Constant):
        yield str(key.value)
    elif isinstance(key, ast.JoinedStr):
        yield "".join(p.value if isinstance(p, ast.Constant) else "x" for p in key.values)  # type: ignore[misc]


def test_every_figure_has_a_row() -> None:
    found = {*emitted()}
    assert {"critic_accuracy", "mean_iou", "diversity_x", "success_x", "likeness_x"} <= found
    found -= {"x_x"}  # of FAITHFUL, below
    found |= {*METRICS, *FAITHFUL, "iou_ff0000", "is_lite0", "inception_score"}
    found |= {BICUBIC + name for name, metric in METRICS.items() if not metric.networks}
    found |= {name_of(short, network) for short in SET_METRICS for network in FEATURES}
    found |= {"flicker", "still", "skipped"}
    assert sorted(name for name in found if not documented(name)) == []
    assert not documented("l2") and not documented("fid_lite0")


def test_every_row_says_what_the_figure_does_not_tell() -> None:
    assert [cells[0] for _, cells in rows() if len(cells) != 3 or not all(cells)] == []
