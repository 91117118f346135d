"""Which clips become which files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from img2img.errors import UsageError, proposal
from img2img.images import is_picture_name
from img2img.images.folders import CLIPS
from img2img.inference.jobs import Job
from img2img.inference.naming import Naming
from img2img.inference.planning import expand
from img2img.inference.request import TranslateRequest
from img2img.inference.video.encoding import CONTAINERS
from img2img.inference.video.reading import is_clip_name
from img2img.model_format.domains import folders_of, name_key, targets_of, vector_of
from img2img.model_format.info import ModelInfo

# Options that say something about pictures alone, and what they are when they are not given.
_PICTURES_ONLY: dict[str, object] = {
    "labels": None, "watch": False, "follow_links": False, "compare": None, "gallery": None,
    "salvage": False, "timeout": 60.0,
}  # fmt: skip


def are_clips(inputs: Sequence[str | Path]) -> bool:
    """True where the inputs are video clips, by their names. Raises UsageError for clips and other
    things together."""
    names = [str(given) for given in inputs]
    clips = [name for name in names if is_clip_name(name) and not Path(name).is_dir()]
    others = [name for name in names if name not in clips]
    if clips and others:
        raise UsageError(
            f"{clips[0]} is a video clip, {others[0]} is not: translate clips with a separate "
            f"command"
        )
    return bool(clips)


class ClipPlanner:
    """Plans the jobs of clips, first without the model, so that wrong inputs are found at once.

    Attributes:
        paths: the clips, patterns expanded.
        out: the output: a folder or, when `single`, a file.
        single: one clip goes to one file.

    Raises UsageError for inputs, an output and options that do not go together.
    """

    def __init__(self, request: TranslateRequest):
        for name, usual in _PICTURES_ONLY.items():
            if getattr(request, name) != usual:
                raise UsageError(f"`{name}` is for pictures; leave it out for a video clip")
        self._request = request
        self.paths = list(dict.fromkeys(expand(request.inputs)))
        others = [p for p in self.paths if not (is_clip_name(p) and p.is_file())]
        if others:
            raise UsageError(f"{others[0]}: not a video clip ({_known(CLIPS)})")
        self.out = Path(request.out)
        self._suffix = _suffix(request.format)
        self.single = self._is_single()
        self._naming = Naming(".png", request.name)
        self.jobs_of(None)

    @property
    def place(self) -> Path:
        """The folder of the outputs."""
        return self.out.parent if self.single else self.out

    def jobs_of(self, info: ModelInfo | None) -> list[Job]:
        """The jobs of the model `info`; None: of one without domains."""
        request = self._request
        targets = targets_of(info, request.domains) if info is not None else ()
        if self.single:
            if len(targets) > 1:
                raise UsageError("several domains need a folder as `out`")
            jobs = [Job(self.paths[0], self.out)]
        else:
            jobs = self._in_folder("" if info is None else info.name)
        if targets:
            assert info is not None
            names = folders_of(targets)
            apart = len(targets) > 1
            jobs = [
                Job(
                    job.source,
                    self.out / name / job.target.name if apart else job.target,
                    vector_of(info, target),
                    target.name,
                )
                for job in jobs
                for target, name in zip(targets, names, strict=True)
            ]
        sources = {path.resolve() for path in self.paths}
        for job in jobs:
            if job.target.resolve() in sources:
                raise UsageError(
                    f"{job.target}: this output would replace an input; use another `out`"
                )
        return jobs

    def _is_single(self) -> bool:
        out, suffix = self.out, self.out.suffix.lower()
        if out.is_dir():
            return False
        if suffix in CONTAINERS:
            if len(self.paths) > 1:
                raise UsageError(
                    f"`out` {out}: the name of one clip, but {len(self.paths)} inputs would go "
                    f"into it; give a folder such as {out.with_suffix('')}"
                )
            if self._request.name != "{stem}":
                raise UsageError(f"`name` needs a folder as `out`, not the file {out}")
            if self._suffix is not None and CONTAINERS[self._suffix] != CONTAINERS[suffix]:
                raise UsageError(
                    f"`format` {self._request.format} and `out` {out} contradict each other"
                )
            return True
        if suffix in CLIPS or is_picture_name(out.name):
            raise UsageError(
                f"`out` {out}: clips are written as {_known(CONTAINERS)}, not as {suffix}; "
                f"use {out.with_suffix('.mp4')}"
            )
        return False

    def _in_folder(self, model: str) -> list[Job]:
        taken: set[str] = set()
        jobs = []
        for number, source in enumerate(self.paths, 1):
            own = source.suffix.lower()
            suffix = self._suffix or (own if own in CONTAINERS else ".mp4")
            stem = Naming(".png", self._request.name, model).name(
                Path(source.stem + ".png"), number, ""
            ).stem  # fmt: skip
            name, more = stem + suffix, 1
            while name_key(name) in taken:
                more += 1
                name = f"{stem}-{more}{suffix}"
            taken.add(name_key(name))
            jobs.append(Job(source, self.out / name))
        return jobs


def _suffix(format: str | None) -> str | None:
    if format is None:
        return None
    suffix = "." + format.lower().lstrip(".")
    if suffix not in CONTAINERS:
        names = [name.lstrip(".") for name in CONTAINERS]
        raise UsageError(f"unknown video format '{format}'.{proposal(format, names)}")
    return suffix


def _known(suffixes: object) -> str:
    assert isinstance(suffixes, (dict, frozenset))
    return ", ".join(sorted(name.lstrip(".") for name in suffixes))
