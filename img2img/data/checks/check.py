"""Everything that can be known of a folder of training data before a training."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from img2img.data.checks import rules
from img2img.data.checks.findings import Finding, Report
from img2img.data.checks.layout import WORDS, Kind, Layout, recognise
from img2img.data.checks.pairs import Pair, pairing
from img2img.data.checks.pictures import Progress, look
from img2img.data.checks.seen import Seen
from img2img.data.dataset import Wanted
from img2img.data.halves import photographs_refused
from img2img.data.labelled import rows_of
from img2img.data.paired import pairs_of
from img2img.data.photographs import photographs_of
from img2img.data.unpaired import sets_of
from img2img.errors import DataError
from img2img.images import survey


@dataclass(frozen=True)
class Checked:
    """A report with what it was made of.

    Attributes:
        report: what to tell.
        layout: how the folder was taken.
        seen: its pictures.
        suspected: pairs to look at first.
    """

    report: Report
    layout: Layout
    seen: dict[Path, Seen]
    suspected: tuple[Pair, ...]


def check_data(
    root: Path,
    wanted: Wanted | None = None,
    seconds: float | None = None,
    on_progress: Progress | None = None,
    settings: Sequence[str] = (),
    name: str = "",
) -> Checked:
    """Look at every picture of a folder of training data and say what is wrong, all at once.

    Args:
        root: the folder.
        wanted: what the method that is to learn from it needs; by default, those of the one that
            fits.
        seconds: stop decoding after that time; pictures are then taken from all over the folder.
        settings: NAME=VALUE that are given to the training; `pairs=degrade`, `pairs=edges` and
            `side_by_side=true` change what is expected.
        name: of the folder in the command that trains on it; by default its path.

    Raises:
        DataError: there is no such folder.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of training data")
    entries = list(survey(root, links_to_files=True))
    files = [entry.path for entry in entries if entry.ignored is None]
    seen = look(files, seconds, on_progress)
    alone = any(text in ("pairs=degrade", "pairs=edges") for text in settings)
    layout = recognise(root, seen, wanted, alone)
    good = [s for s in seen.values() if not s.error]
    findings = list(layout.findings)
    used = {p for group in layout.groups.values() for p in group}
    findings += _refused(root, layout, "side_by_side=true" in settings, name or str(root))
    findings += rules.unreadable(root, seen, used)
    findings += rules.sizes(root, good, layout)
    findings += rules.modes(root, good)
    findings += rules.flat(root, good)
    findings += rules.duplicates(root, good, layout)
    findings += rules.amounts(layout)
    wrong, measured, suspected = pairing(root, layout, seen)
    photographs = any(f.kind == "photographs" for f in findings)
    if photographs or layout.wants != "pairs":  # no pairs, or not used as such
        wrong = []
    findings += wrong
    findings += rules.left_alone(root, [e for e in entries if e.ignored])
    findings.sort(key=lambda f: not f.stops)
    report = Report(
        root,
        WORDS[layout.kind],
        layout.method,
        layout.preset,
        _command(root, layout, name),
        {" ".join(filter(None, key)): len(group) for key, group in layout.groups.items()},
        _counted(f"{s.width}x{s.height}" for s in good),
        _counted(s.mode for s in good),
        _counted(s.format for s in good),
        len(seen),
        len(files),
        tuple(findings),
        measured,
    )
    return Checked(report, layout, seen, tuple(suspected))


def _refused(root: Path, layout: Layout, side_by_side: bool, name: str) -> list[Finding]:
    """What the data set itself refuses and no other finding says."""
    halves = layout.halves
    if layout.kind == "side by side" and halves and halves.photographs and not side_by_side:
        text, _, fix = photographs_refused(len(layout.pairs), halves, name).partition(". ")
        return [Finding("photographs", True, text, fix)]
    if any(finding.stops for finding in layout.findings):
        return []
    error = _refusal(root, layout)
    return [Finding("layout", True, str(error).removeprefix(f"{root}: "), "")] if error else []


def _refusal(root: Path, layout: Layout) -> DataError | None:
    """What the data set of the layout's method says against the folder, short of decoding."""
    calls: dict[Kind, Callable[[], object]] = {
        "side by side": lambda: pairs_of(root, "train"),
        "A and B paired": lambda: pairs_of(root, "train"),
        "A and B": lambda: sets_of(root, "train"),
        "domains": lambda: rows_of(root, "train"),
        "table": lambda: rows_of(root, "train"),
        "photographs": lambda: photographs_of(root, "train"),
    }
    try:
        calls.get(layout.kind, lambda: None)()
    except DataError as error:
        return error
    return None


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _command(root: Path, layout: Layout, name: str) -> str:
    if not layout.method:
        return ""
    words = ["img2img", "train", layout.method, name or str(root)]
    words += ["-o", f"runs/{root.resolve().name}"]
    words += ["--preset", layout.preset] if layout.preset else []
    for text in layout.settings:
        words += ["--set", text]
    return shlex.join(words)
