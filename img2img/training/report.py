"""The report of a training, and of several beside each other, as one self-contained page.

`RUN/report.html` is written while the training runs. It holds what it shows and needs no network:
curves, reduced to a few hundred points each, are JSON that a small script draws; sample sheets are
embedded as JPEG.
"""

from __future__ import annotations

import base64
import io
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from img2img._version import __version__
from img2img.data.mirror import copy_of
from img2img.errors import EnvironmentFault, describe_os_error
from img2img.system.atomic import write_atomic
from img2img.system.pages import asset, fill, head, scrolled
from img2img.system.pages import shown_text as _text
from img2img.system.places import is_address
from img2img.training.curves import GROUPS, curves_of, evenly, number
from img2img.training.differences import changed_settings
from img2img.training.runs import RunFiles, read_run

PAGE = "report.html"
SHEETS = 24  # of the history
_SIDE = 720  # of a sheet in the history, in pixels
_NEWEST = 1_500_000  # most bytes of the newest sheet, embedded as it is
_GAP, _HEAD = 4, 16  # of a contact sheet, in pixels
_COMMANDS = (
    ("Translate your pictures", "img2img translate PHOTOS -o OUT -m {run}"),
    ("Evaluate it on the held-out pictures", "img2img evaluate {run} {data} -o {run}/evaluation"),
    ("Export it to ONNX", "img2img export {run} -o {name}.onnx"),
)


class Sheets:
    """Reduced sample sheets as `data:` URLs; each is made once."""

    def __init__(self) -> None:
        self._made: dict[Path, str] = {}

    def of(self, sheets: Mapping[int, Path]) -> list[dict[str, Any]]:
        """At most `SHEETS` of them, evenly chosen, the first and the last among them."""
        chosen = []
        for step in evenly(list(sheets), SHEETS):
            path = sheets[step]
            if path not in self._made:
                self._made[path] = _reduced(path)
            if self._made[path]:
                chosen.append({"step": step, "src": self._made[path]})
        return chosen


def write_report(run: RunFiles, sheets: Sheets | None = None, path: Path | None = None) -> Path:
    """Write the page of `run` and return its path, by default report.html in the run folder.

    Args:
        sheets: of an earlier call for the same run, so that no sheet is reduced twice.

    Raises:
        EnvironmentFault: the page cannot be written.
    """
    path = path or run.folder / PAGE
    _write(path, page_of(run, sheets or Sheets()))
    return path


def write_comparison(path: Path, folders: Sequence[Path]) -> None:
    """Write a page of several runs beside each other.

    Raises:
        UsageError: one is no run folder.
        EnvironmentFault: the page cannot be written.
    """
    runs = [read_run(folder) for folder in folders]
    _write(path, comparison_of(runs))


def page_of(run: RunFiles, sheets: Sheets) -> str:
    """The page of one run."""
    newest = _newest(run)
    data: dict[str, Any] = {
        "runs": [curves_of(run)],
        "sheets": sheets.of(run.sheets),
        "newest": newest,
    }
    parts = [
        _samples(data["sheets"], newest),
        _plots(data["runs"]),
        _next(run),
        _differing(run),
        _facts("Environment", run.record.get("environment", {})),
        _facts("Training data", _data_summary(run)),
        _events(data["runs"][0]["events"]),
    ]
    return _page(run.name, _about(run), _warnings(run), parts, data)


def comparison_of(runs: Sequence[RunFiles]) -> str:
    """The page of several runs: a table, their curves over each other, their newest samples."""
    data: dict[str, Any] = {"runs": [curves_of(run) for run in runs]}
    legend = "".join(
        f"<li class='run{k % 6}'><bdi>{_text(run.name)}</bdi></li>" for k, run in enumerate(runs)
    )
    samples = "".join(
        f"<h3><bdi>{_text(run.name)}</bdi>, step {step}</h3>"
        f"<img class='sheet' alt='samples of {_text(run.name)}' src='{_reduced(path)}'>"
        for run in runs
        for step, path in list(run.sheets.items())[-1:]
    )
    parts = [
        f"<ul class='legend'>{legend}</ul>",
        _table(runs),
        _plots(data["runs"]),
        f"<section><h2>Newest samples</h2>{samples}</section>" if samples else "",
        *(_differing(run, run.name) for run in runs),
    ]
    return _page(" / ".join(run.name for run in runs), "", "", parts, data)


def next_commands(run: RunFiles, elsewhere: bool = False) -> list[tuple[str, str]]:
    """What to type after a training: a sentence and a command for each. Of data that are an
    address their copy is named; `elsewhere`, on another machine, neither the data nor more of the
    run folder than its name."""
    data = str(run.config.get("data", "DATA"))
    if is_address(data):
        cache = run.config.get("cache_folder")
        data = "DATA" if elsewhere else str(copy_of(data, "data", Path(cache) if cache else None))
    values = {
        "run": shlex.quote(run.folder.name if elsewhere else str(run.folder)),
        "data": shlex.quote(data),
        "name": shlex.quote(run.name),
    }
    return [(why, command.format(**values)) for why, command in _COMMANDS]


# --- the parts of the page


def _page(title: str, about: str, warnings: str, parts: Iterable[str], data: object) -> str:
    style = asset("look.css") + asset("report.css") + asset("training.css")
    script = asset("slider.js") + asset("training.js")
    values = {
        "title": _text(title),
        "head": head(_text(title), style, script),
        "script": script,
        "version": __version__,
        "about": about,
        "warnings": warnings,
        "sections": "\n".join(part for part in parts if part),
        "data": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    }
    return fill(asset("training.html"), values)


def _about(run: RunFiles) -> str:
    record, best = run.record, run.best()
    steps = f" of {run.steps}" if run.steps else ""
    memory = record.get("memory_bytes")
    rates = [row["steps_per_second"] for row in run.rows if row["event"] == "step"]
    per_step = run.config.get("batch_size", 1) * run.config.get("accumulate", 1)
    said = {
        "method": run.config.get("method"),
        "state": run.state,
        "steps": f"{run.step}{steps}",
        "time": None if run.minutes is None else _duration(60 * run.minutes),
        "speed": f"{number(rates[-1] * per_step)} pictures/s" if rates else None,
        "memory, at most": f"{memory / 2**30:.1f} GiB" if memory else None,
        f"best {best.name}" if best else "": best
        and f"{number(best.value)} at step {best.step}",
    }  # fmt: skip
    return "".join(
        f"<div><dt>{_text(label)}</dt><dd><bdi>{_text(str(value))}</bdi></dd></div>"
        for label, value in said.items()
        if value
    )


def _warnings(run: RunFiles) -> str:
    notes = {row["problem"]: row for row in run.rows if row["event"] == "health"}
    items = "".join(
        f"<li>Step {row['step']}: {_text(str(row.get('text', '')))}</li>" for row in notes.values()
    )
    return f'<ul class="warnings">{items}</ul>' if items else ""


def _plots(runs: Sequence[Mapping[str, Any]]) -> str:
    return "".join(
        f"<section><h2>{heading}</h2><p>{text}</p>"
        f"<div class='plots' data-group='{group}'></div></section>"
        for group, (heading, text) in GROUPS.items()
        if any(run["curves"][group] for run in runs)
    )


def _samples(sheets: Sequence[Mapping[str, Any]], newest: Mapping[str, Any] | None) -> str:
    if not sheets:
        return ""
    between = (
        "<section><h2>Before and after</h2><p>The newest samples; drag the bar.</p>"
        "<div id='compare'><p class='chosen'><label>picture <select></select></label>"
        "<label>output <select></select></label></p>"
        "<div class='slider' role='slider' tabindex='0' aria-label='before and after' "
        "aria-valuemin='0' aria-valuemax='100' aria-valuenow='50'>"
        "<canvas class='after'></canvas><canvas class='before'></canvas>"
        "<span class='bar'></span></div></div></section>"
        if newest
        else ""
    )
    return (
        "<section><h2>Samples</h2><p>The same held-out pictures at each validation; move the "
        "slider through the training.</p><div id='history'><label class='chosen'>"
        "<input type='range' min='0' step='1' aria-label='step'><output></output></label>"
        f"<img id='sheet' alt=''></div></section>{between}"
    )


def _next(run: RunFiles) -> str:
    address = str(run.config.get("out", ""))
    elsewhere = is_address(address)  # the page is read wherever the run is fetched to
    lines = "".join(
        f"<p>{_text(why)}:</p><pre tabindex='0'>{_text(command)}</pre>"
        for why, command in next_commands(run, elsewhere)
    )
    if elsewhere:
        lines = f"<p>In a folder with a copy of <bdi>{_text(address)}</bdi>.</p>{lines}"
    return f"<section><h2>Next steps</h2>{lines}</section>"


def _differing(run: RunFiles, name: str = "") -> str:
    preset = run.config.get("preset") or ""
    than = f"preset {preset}" if preset else "the defaults"
    rows = "".join(
        f"<tr><td>{_text(setting)}</td><td>{_text(now)}</td><td>{_text(then)}</td></tr>"
        for setting, now, then in changed_settings(run.config)
    )
    of = f"Settings of <bdi>{_text(name)}</bdi>" if name else "Settings"
    heading = f"<h2>{of} that differ from {_text(than)}</h2>"
    if not rows:
        return f"<section>{heading}<p>None.</p></section>"
    return (
        f"<section>{heading}{scrolled('Settings')}<table class='facts'><thead><tr><th>setting</th>"
        f"<th>here</th><th>there</th></tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _facts(heading: str, facts: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{_text(str(name))}</td><td>{_text(_words(value))}</td></tr>"
        for name, value in facts.items()
        if value not in (None, "", [])
    )
    if not rows:
        return ""
    return (
        f"<section><h2>{heading}</h2><table class='facts'><tbody>{rows}</tbody></table></section>"
    )


def _data_summary(run: RunFiles) -> dict[str, Any]:
    started = run.record.get("started", {})
    return {
        "folder": run.config.get("data"),
        "pictures or pairs": started.get("pictures"),
        "left out": len(run.record.get("skipped", ())) or None,
        "held out": started.get("held_out"),
        "domains": started.get("domains"),
        "fingerprint": run.record.get("data_fingerprint"),
        "read to": f"{run.config.get('load_size')} px, crops of {run.config.get('crop_size')} px",
    }


def _events(events: Sequence[Mapping[str, Any]]) -> str:
    items = "".join(f"<li>step {e['step']}: {_text(str(e['text']))}</li>" for e in events)
    return f"<section><h2>Events</h2><ul class='events'>{items}</ul></section>" if items else ""


def _table(runs: Sequence[RunFiles]) -> str:
    rows = []
    for run in runs:
        best = run.best()
        cells = (
            run.name, str(run.config.get("method", "")), run.state,
            f"{run.step} of {run.steps}" if run.steps else str(run.step),
            f"{best.name} {number(best.value)} at {best.step}" if best else "",
            "" if run.minutes is None else _duration(60 * run.minutes),
        )  # fmt: skip
        rows.append("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{n}</th>" for n in ("run", "method", "state", "steps", "best", "time"))
    return (
        f"<section><h2>Runs</h2>{scrolled('Runs')}<table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


# --- pictures and words


def _newest(run: RunFiles) -> dict[str, Any] | None:
    """The newest sheet at full size and the grid of its pictures; None where it has none."""
    side = int(run.config.get("crop_size", 0))
    if not run.sheets or not side:
        return None
    path = list(run.sheets.values())[-1]
    try:
        with Image.open(path) as sheet:
            width, height = sheet.size
        data = path.read_bytes()
    except (OSError, UnidentifiedImageError):
        return None
    across, odd = divmod(width - _GAP, side + _GAP)
    down, uneven = divmod(height - _GAP - _HEAD, side + _GAP)
    if odd or uneven or across < 2 or down < 1 or len(data) > _NEWEST:
        return None
    names = run.record.get("columns") or []
    if len(names) != across:
        names = [f"column {k + 1}" for k in range(across)]
    src = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    return {
        "src": src, "side": side, "head": _HEAD, "gap": _GAP, "columns": names, "rows": down,
    }  # fmt: skip


def _reduced(path: Path) -> str:
    """A sheet of at most `_SIDE` pixels as a `data:` URL; empty where it cannot be read."""
    try:
        with Image.open(path) as sheet:
            small = sheet.convert("RGB")
    except (OSError, UnidentifiedImageError):
        return ""
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    data = io.BytesIO()
    small.save(data, "JPEG", quality=70, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def _write(path: Path, page: str) -> None:
    try:
        write_atomic(path, page.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise EnvironmentFault(f"{path}: not written: {describe_os_error(error)}") from None


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
