"""Which file becomes which: decided before the first is written, and injective."""

from __future__ import annotations

import hashlib
import os
import re
import string
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from img2img.errors import EnvironmentFault, UsageError, describe_os_error
from img2img.images import NO_RAW, RAW, Found, encode_format, is_picture_name, survey
from img2img.images import written_format as _written
from img2img.images.folders import A_CLIP, CLIPS
from img2img.inference.jobs import Job
from img2img.model_format.domains import Target, folders_of, name_key, vector_of
from img2img.model_format.info import ModelInfo
from img2img.model_format.labels import Labels

_FIELDS = ("stem", "model", "domain", "number")
_LONGEST = 255  # bytes of one name, on every common file system
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')


@dataclass(frozen=True)
class Naming:
    """How outputs are named.

    Attributes:
        suffix: replaces the inputs' suffixes; None keeps them where the format can be written.
        template: the name without suffix, of `{stem}`, `{model}`, `{domain}` and `{number}`
            (the place among the inputs, from 1; `{number:05}` fills with zeros).
        model: what `{model}` stands for.

    Raises UsageError for a template that is none.
    """

    suffix: str | None = None
    template: str = "{stem}"
    model: str = ""

    def __post_init__(self) -> None:
        try:
            parts = list(string.Formatter().parse(self.template))
        except ValueError as error:
            raise UsageError(f"`name` '{self.template}': {error}") from None
        literal = "".join(text for text, _, _, _ in parts)
        if _FORBIDDEN.search(literal):
            raise UsageError(
                f"`name` '{self.template}': a name cannot contain any of < > : \" / \\ | ? *"
            )
        used = []
        for _, name, spec, conversion in parts:
            if name is None:
                continue
            if name not in _FIELDS or conversion or (spec and name != "number"):
                known = ", ".join(f"{{{field}}}" for field in _FIELDS)
                raise UsageError(f"`name` '{self.template}': known are {known}")
            if spec and not re.fullmatch(r"0?\d{1,2}", spec):
                raise UsageError(f"`name` '{self.template}': {{number:05}} gives five digits")
            used.append(name)
        if "stem" not in used and "number" not in used:
            raise UsageError(f"`name` '{self.template}': needs {{stem}} or {{number}}")

    @property
    def names_domain(self) -> bool:
        """True when the template tells the domains apart, so that no folders are needed."""
        return "{domain}" in self.template

    def name(self, relative: Path, number: int, domain: str) -> Path:
        """The output's path below the output folder, before collisions are settled."""
        renamed = self._with_suffix(relative)
        if self.template == "{stem}":
            return renamed
        stem = self.template.format(
            stem=renamed.stem,
            model=_FORBIDDEN.sub("_", self.model),
            domain=domain,
            number=number,
        )
        return renamed.with_name((stem or "_") + renamed.suffix)

    def _with_suffix(self, relative: Path) -> Path:
        own = relative.suffix.lower()
        if self.suffix is None:  # what is read but not written (GIF, HEIC) becomes PNG
            if _written(relative):
                return relative
            if is_picture_name(relative.name):
                return relative.with_suffix(".png")
            return relative.with_name(relative.name + ".png")
        jpeg = self.suffix == ".jpg" and own in (".jpg", ".jpeg", ".jpe", ".jfif")
        if own == self.suffix or jpeg:
            return relative
        if is_picture_name(relative.name):
            return relative.with_suffix(self.suffix)
        return relative.with_name(relative.name + self.suffix)


_PLAIN = Naming()


def plan(
    inputs: Sequence[Path],
    out: Path,
    naming: Naming = _PLAIN,
    follow_links: bool = False,
    domain: str = "",
) -> list[Job]:
    """Decide every output name before the first is written; the mapping is injective.

    Folders are searched recursively and their trees kept below `out`; single files land directly
    in it. What is no picture becomes a job to be ignored, with the reason. Where two inputs would
    meet in one output (also where names are compared without case or by Unicode form), the one
    whose name stays as it is keeps it, or else the first; the others keep their whole name:
    `a.png` stays `a.png`, and `a.jpg` becomes `a.jpg.png`. Names too long for a file system are
    shortened.

    Raises:
        UsageError: an input is missing; nothing in it is a picture; `out` lies in an input folder,
            is that of an input, or an output would take the place of an input.
    """
    rows = _rows(inputs, out, follow_links)
    jobs: list[Job | None] = [None] * len(rows)
    # No file takes the name of a folder that holds others.
    taken = {_key(folder) for _, relative in rows for folder in relative.parents}

    def settle(place: int, name: Path) -> None:
        found, relative = rows[place]
        unique, number = fit_name(name), 1
        while _key(unique) in taken:
            more = relative.suffix if number == 1 else f"-{number}"
            unique, number = fit_name(name.with_name(name.stem + more + name.suffix)), number + 1
        taken.add(_key(unique))
        jobs[place] = Job(found.path, out / unique, domain_name=domain)

    later: list[tuple[int, Path]] = []
    number = 0
    for place, (found, relative) in enumerate(rows):
        if found.ignored is not None:
            jobs[place] = Job(found.path, out / relative, ignored=found.ignored)
            continue
        number += 1
        name = naming.name(relative, number, domain)
        if name.name == relative.name:
            settle(place, name)
        else:
            later.append((place, name))
    for place, name in later:
        settle(place, name)
    done = [job for job in jobs if job is not None]
    _check_targets(done)
    return done


def plan_domains(
    inputs: Sequence[Path],
    out: Path,
    naming: Naming,
    info: ModelInfo,
    targets: Sequence[Target],
    labels: Labels | None = None,
    apart: bool = True,
    follow_links: bool = False,
) -> list[Job]:
    """`plan` for each of the `targets`, `apart` in a folder of its own below `out` (unless the
    template names the domain); mapping and exceptions as there. The jobs of one picture follow
    each other. With `labels`, a picture that they do not name fails with that reason."""
    names = folders_of(targets)
    apart = apart and not naming.names_domain
    vectors: list[list[Job]] = []
    for target, name in zip(targets, names, strict=True):
        jobs = plan(inputs, out / name if apart else out, naming, follow_links, name)
        vectors.append([_to(job, info, target, labels) for job in jobs])
    mixed = [job for row in zip(*vectors, strict=True) for job in row]
    kept = [job for place, job in enumerate(mixed) if not job.ignored or place % len(targets) == 0]
    keys = [_key(job.target) for job in kept if not job.ignored]
    if len(set(keys)) < len(keys):
        raise UsageError("two domains would write the same output; put {domain} into `name`")
    return kept


def _to(job: Job, info: ModelInfo, target: Target, labels: Labels | None) -> Job:
    if job.ignored:
        return job
    own = labels.of(job.source) if labels else None
    problem = f"no label in {labels.path}" if labels and own is None else None
    return replace(
        job,
        domain=vector_of(info, target, own),
        domain_name=target.name,
        problem=job.problem or problem,
    )


def plan_file(source: Path, target: Path) -> list[Job]:
    """One picture to one file whose suffix says the format.

    Raises UsageError when the source is missing, no file, or the target itself.
    """
    if not source.exists():
        raise UsageError(f"{source}: no such file or folder")
    encode_format(target.suffix)
    jobs = [Job(source, target)]
    _check_targets(jobs)
    return jobs


def check_output(out: Path) -> None:
    """Make the output folder and see that a file can be written there, before a picture is read.

    Raises UsageError when `out` is a file, EnvironmentFault when nothing can be written.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; `out` needs a folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise EnvironmentFault(f"{out}: cannot be written: {describe_os_error(error)}") from None


def check_beside(folder: Path, inputs: Sequence[Path], jobs: Sequence[Job], out: Path) -> None:
    """See that a second file for each job, of its output's name but in `folder`, meets nothing.

    Raises UsageError when `folder` lies in an input folder or a file would meet an input or output.
    """
    place = folder.resolve()
    for source in inputs:
        real = source.resolve()
        if source.is_dir() and (place == real or real in place.parents):
            raise UsageError(f"{folder}: lies in the input folder {source}; use another")
    mine = [replace(job, target=folder / job.target.relative_to(out)) for job in jobs]
    if place == out.resolve():
        raise UsageError(f"{folder}: is the folder of the outputs; use another")
    _check_targets(mine)
    place_of = _Places()
    keys = {place_of(job.target) for job in jobs}
    for job in mine:
        if place_of(job.target) in keys:
            raise UsageError(f"{job.target}: would replace an output; use another folder")


def _rows(inputs: Sequence[Path], out: Path, follow_links: bool) -> list[tuple[Found, Path]]:
    """Each file of the inputs once, as given first, with its path below the output folder."""
    place = out.resolve()
    rows: list[tuple[Found, Path]] = []
    for source in inputs:
        if source.is_dir():
            folder = source.resolve()
            if place == folder or folder in place.parents:
                raise UsageError(
                    f"{out}: the output lies in the input folder {source} and would be read again; "
                    "use another `out`"
                )
            found = list(survey(source, follow_links, skip=place))
            if all(f.ignored is not None for f in found):
                clips = [f.path for f in found if f.ignored == A_CLIP]
                if clips:
                    raise UsageError(
                        f"{source}: no picture in this folder, but video clips; clips are "
                        f"translated only if given by name, such as {clips[0]}"
                    )
                others = f" among {len(found)} files" if found else ""
                raise UsageError(
                    f"{source}: no picture in this folder{others} "
                    "(jpg, png, webp, avif, heic, tiff, bmp, gif)"
                )
            rows += [(f, f.path.relative_to(source)) for f in found]
        elif os.path.lexists(source):
            if source.parent.resolve() == place:
                raise UsageError(
                    f"{out}: the output folder is that of the input {source.name}; "
                    "use another `out`"
                )
            suffix = source.suffix.lower()
            ignored = NO_RAW if suffix in RAW else A_CLIP if suffix in CLIPS else None
            rows.append((Found(source, ignored), Path(source.name)))
        else:
            raise UsageError(f"{source}: no such file or folder")
    if len(inputs) == 1:
        return rows
    folders = {found.path.parent: found.path.parent.resolve() for found, _ in rows}
    once = {
        folders[found.path.parent] / found.path.name: (found, relative)
        for found, relative in reversed(rows)
    }
    return [*reversed(once.values())]


class _Places:
    """Where a file really is, as a key; each folder is resolved once."""

    def __init__(self) -> None:
        self._parents: dict[Path, Path] = {}

    def __call__(self, path: Path) -> str:
        if path.parent not in self._parents:
            self._parents[path.parent] = path.parent.resolve()
        return _key(self._parents[path.parent] / path.name)


def _check_targets(jobs: Sequence[Job]) -> None:
    """No output takes the place of an input, whatever links and letters lie between."""
    real = _Places()
    sources = {real(job.source): job for job in jobs if not job.ignored}
    for job in jobs:
        if not job.ignored and real(job.target) in sources:
            raise UsageError(f"{job.target}: this output would replace an input; use another `out`")


def fit_name(name: Path) -> Path:
    """`name`, its last part cut to what a file system takes, with a digest to keep it apart."""
    size = len(os.fsencode(name.name))
    if size <= _LONGEST:
        return name
    mark = "~" + hashlib.blake2b(os.fsencode(name.name), digest_size=4).hexdigest() + name.suffix
    stem = os.fsencode(name.stem)[: _LONGEST - len(os.fsencode(mark))]
    while not name.stem.startswith(os.fsdecode(stem)):  # cut in the middle of a character
        stem = stem[:-1]
    return name.with_name(os.fsdecode(stem) + mark)


def _key(name: Path) -> str:
    return name_key(str(name))
