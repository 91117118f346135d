"""Which jobs the inputs of `img2img translate` make."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

from img2img.cli.wishes import Wishes
from img2img.errors import UsageError


class Planner:
    """Plans the jobs: first without the model, so that wrong inputs are found at once."""

    def __init__(self, w: Wishes, paths: list[Path], out: Path, single: bool):
        from img2img.images import encode_format

        self._w, self._paths, self._out, self._single = w, paths, out, single
        self._suffix = encode_format(w.format)[1] if w.format else None
        self._info: Any = None
        self._first: list[Any] = []

    def before_the_model(self) -> list[Any]:
        """The jobs of a model without domains."""
        from img2img.inference import Naming, plan, plan_file

        if self._single:
            return plan_file(self._paths[0], self._out)
        naming = Naming(self._suffix, self._w.name)
        if self._w.watch and not self._filled():
            return []
        self._first = plan(self._paths, self._out, naming, self._w.follow_links)
        return self._first

    def with_model(self, info: Any) -> list[Any]:
        """The jobs of the model `info`."""
        self._info = info
        from img2img.model_format.domains import targets_of

        targets = targets_of(info, self._w.domains, self._w.labels is not None)
        if self._single and len(targets) > 1:
            raise UsageError("several domains need a folder as -o")
        if self._first and not targets and "{model}" not in self._w.name:
            return self._first  # the model changes nothing: no second walk through the folders
        return self.again()

    def again(self) -> list[Any]:
        """The same, of the files that are there now."""
        from dataclasses import replace

        from img2img.inference import Naming, plan, plan_domains, plan_file
        from img2img.model_format.domains import ALL, targets_of, vector_of
        from img2img.model_format.labels import Labels

        w, info = self._w, self._info
        if w.watch and not self._filled():
            return []
        targets = targets_of(info, w.domains, w.labels is not None)
        known = Labels(w.labels, info.domains) if w.labels else None
        naming = Naming(self._suffix, w.name, info.name)
        if self._single:
            jobs = plan_file(self._paths[0], self._out)
            if not targets:
                return jobs
            own = known.of(self._paths[0]) if known else None
            if known and own is None:
                raise UsageError(f"{self._paths[0]}: no label in {w.labels}")
            vector = vector_of(info, targets[0], own)
            return [replace(job, domain=vector, domain_name=targets[0].name) for job in jobs]
        if not targets:
            return plan(self._paths, self._out, naming, w.follow_links)
        apart = len(targets) > 1 or (ALL in w.domains and ALL not in info.domains)
        return plan_domains(
            self._paths, self._out, naming, info, targets, known, apart, w.follow_links
        )

    def _filled(self) -> bool:
        """False for a watched folder without a picture, which is no fault."""
        from img2img.images import survey

        return any(
            not path.is_dir() or any(f.ignored is None for f in survey(path, self._w.follow_links))
            for path in self._paths
        )


def is_single(inputs: list[str], out: Path) -> bool:
    """True for one file and an output that names a file."""
    from img2img.images import written_format

    if len(inputs) != 1 or out.is_dir() or written_format(out) is None:
        return False
    return not Path(inputs[0]).is_dir() and not glob.has_magic(inputs[0])


def expand(inputs: list[str]) -> list[Path]:
    """Globs that the shell left alone (Windows, quotes) are expanded; names that exist win."""
    paths: list[Path] = []
    for text in inputs:
        path = Path(text)
        if path.exists() or not glob.has_magic(text):
            paths.append(path)
            continue
        found = sorted(glob.glob(text, recursive=True))
        if not found:
            raise UsageError(f"{text}: nothing matches")
        paths += [Path(p) for p in found]
    return paths
