"""Which jobs the inputs of a TranslateRequest make."""

from __future__ import annotations

import difflib
import glob
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from img2img.errors import UsageError
from img2img.images import encode_format, is_picture_name, survey, written_format
from img2img.images.formats import READABLE
from img2img.inference.jobs import Job
from img2img.inference.naming import Naming, plan, plan_domains, plan_file
from img2img.inference.request import TranslateRequest
from img2img.model_format.domains import ALL, Target, targets_of, vector_of
from img2img.model_format.info import ModelInfo
from img2img.model_format.labels import Labels


class Planner:
    """Plans the jobs: first without the model, so that wrong inputs are found at once.

    Attributes:
        paths: the inputs, patterns expanded.
        out: the output: a folder or, when `single`, a file.
        single: one picture goes to one file.
        notes: what to tell about how the request was understood.

    Raises UsageError for inputs and an output that do not go together.
    """

    def __init__(self, request: TranslateRequest):
        self._request = request
        self.paths = expand(request.inputs)
        self.out = Path(request.out)
        self.single = is_single(self.paths, self.out)
        self.notes: list[str] = []
        self._check_output()
        self._suffix = encode_format(request.format)[1] if request.format else None
        self._first: list[Job] = []

    @property
    def place(self) -> Path:
        """The folder of the outputs."""
        return self.out.parent if self.single else self.out

    def before_the_model(self) -> list[Job]:
        """The jobs of a model without domains."""
        if self.single:
            return plan_file(self.paths[0], self.out)
        naming = Naming(self._suffix, self._request.name)
        if self._request.watch and not self._filled():
            return []
        self._first = plan(self.paths, self.out, naming, self._request.follow_links)
        return self._first

    def with_model(self, info: ModelInfo) -> list[Job]:
        """The jobs of the model `info`."""
        request = self._request
        targets = targets_of(info, request.domains, request.labels is not None)
        if self.single and len(targets) > 1:
            raise UsageError("several domains need a folder as `out`")
        if self._first and not targets and "{model}" not in request.name:
            return self._first  # the model changes nothing: no second walk through the folders
        return self.again(info)

    def again(self, info: ModelInfo) -> list[Job]:
        """The same, of the files that are there now."""
        request = self._request
        if request.watch and not self._filled():
            return []
        targets = targets_of(info, request.domains, request.labels is not None)
        known = Labels(request.labels, info.domains) if request.labels else None
        if self.single:
            return self._single(info, targets, known)
        naming = Naming(self._suffix, request.name, info.name)
        links = request.follow_links
        if not targets:
            return plan(self.paths, self.out, naming, links)
        apart = len(targets) > 1 or (ALL in request.domains and ALL not in info.domains)
        return plan_domains(self.paths, self.out, naming, info, targets, known, apart, links)

    def _single(
        self, info: ModelInfo, targets: Sequence[Target], known: Labels | None
    ) -> list[Job]:
        jobs = plan_file(self.paths[0], self.out)
        if not targets:
            return jobs
        own = known.of(self.paths[0]) if known else None
        if known and own is None:
            raise UsageError(f"{self.paths[0]}: no label in {self._request.labels}")
        vector = vector_of(info, targets[0], own)
        return [replace(job, domain=vector, domain_name=targets[0].name) for job in jobs]

    def _filled(self) -> bool:
        """False for a watched folder without a picture, which is no fault."""
        links = self._request.follow_links
        return any(
            not path.is_dir() or any(f.ignored is None for f in survey(path, links))
            for path in self.paths
        )

    def _check_output(self) -> None:
        request, out = self._request, self.out
        if self.single:
            if request.watch or request.name != "{stem}":
                option = "watch" if request.watch else "name"
                raise UsageError(f"`{option}` needs a folder as `out`, not the file {out}")
            return
        if out.exists():
            return
        one = len(self.paths) == 1 and self.paths[0].is_file()
        if written_format(out) is not None and not one:
            many = "a folder" if len(self.paths) == 1 else f"{len(self.paths)} inputs"
            raise UsageError(
                f"`out` {out}: the name of one picture, but {many} would go into it; give a folder "
                f"such as {out.with_suffix('')}"
            )
        if one and out.suffix and not request.watch:
            _check_suffix(out)
        if one and not out.suffix and not str(request.out).endswith(("/", "\\")):
            example = out.with_suffix(self.paths[0].suffix.lower() or ".png")
            self.notes.append(
                f"`out` {out}: no suffix of a picture, so it is a folder; {example} would be a file"
            )


def _check_suffix(out: Path) -> None:
    """Raise UsageError where a folder `out` would be made of a file name that is misspelt."""
    suffix = out.suffix.lower()
    if is_picture_name(out.name):
        raise UsageError(
            f"`out` {out}: {suffix[1:].upper()} can be read but not written; "
            f"use {out.with_suffix('.png')} or another format"
        )
    near = difflib.get_close_matches(suffix, sorted(READABLE), 1, 0.7)
    if near:
        raise UsageError(
            f"`out` {out}: no picture format has the suffix {suffix}. Did you mean {near[0]}? A "
            "folder of that name can be made beforehand."
        )


def is_single(paths: Sequence[Path], out: Path) -> bool:
    """True for one file and an output that names a file."""
    if len(paths) != 1 or out.is_dir() or written_format(out) is None:
        return False
    return not paths[0].is_dir()


def expand(inputs: Sequence[str | Path]) -> list[Path]:
    """The inputs as paths. Patterns that the shell left alone (Windows, quotes) are expanded, in
    the order of the names; a name that exists is itself, whatever characters it has.

    Raises UsageError for an input that is not there, with the file that may have been meant.
    """
    paths: list[Path] = []
    for given in inputs:
        path = Path(given)
        if path.exists() or path.is_symlink():
            paths.append(path)
            continue
        if isinstance(given, Path) or not glob.has_magic(given):
            raise UsageError(f"{path}: no such file or folder{_meant(path)}")
        found = sorted(glob.glob(given, recursive=True))
        if not found:
            raise UsageError(f"{given}: nothing matches")
        paths += [Path(p) for p in found]
    return paths


def _meant(path: Path) -> str:
    """` ; did you mean ...` for a name without its suffix, or slightly misspelt."""
    try:
        names = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        return ""
    near = [n for n in names if Path(n).stem == path.name and is_picture_name(n)]
    near = near or difflib.get_close_matches(path.name, names, 1, 0.8)
    return f"; did you mean {path.with_name(near[0])}?" if near else ""
