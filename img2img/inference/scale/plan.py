"""What is to be done with each picture: names, records and outputs joined group by group.

The inputs and the outputs are listed once, as streams, and laid on the disk by the digest of their
names; then one group after another is named and judged. So the memory holds one group, however many
pictures there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from img2img.errors import EnvironmentFault, UsageError, describe_os_error
from img2img.inference.manifest import FOLDER, THERE
from img2img.inference.naming import Naming, fit_name
from img2img.inference.request import TranslateRequest
from img2img.inference.scale.records import Entry, Records
from img2img.inference.scale.sources import Inputs
from img2img.inference.scale.spill import Spill, key_of
from img2img.model_format.domains import ALL, folders_of, name_key, targets_of, vector_of
from img2img.model_format.info import ModelInfo
from img2img.model_format.labels import Labels
from img2img.system.atomic import sweep_stale
from img2img.system.places import UNKNOWN, Place, same_stamp

_OTHER = "the output was made by another model or with other settings; `overwrite` replaces it"
_SOURCE, _FOLDER, _THERE = 0, 1, 2

Task = dict[str, Any]


@dataclass(frozen=True)
class Domain:
    """A target domain: its place among the chosen ones, its name, and the folder of its outputs."""

    number: int
    name: str
    folder: str = ""


class Plan:
    """The tasks of a request, on the disk.

    A task is a dictionary of plain JSON types: `place`, `name`, `stamp` of the source; `output` its
    name below the output place; `key`; `settings`; `domain` and `domain_name`; `redone`; `digest`
    and `stamps` of what is recorded, where only they can tell that nothing is to be done.

    Attributes:
        inputs: files found; `todo`: tasks; `ended`: files that need no task.

    Raises UsageError where an output would take the place of an input, or `out` holds what another
    model or other settings made; EnvironmentFault where a listing or the disk fails.
    """

    def __init__(
        self,
        request: TranslateRequest,
        inputs: Inputs,
        out: Place,
        records: Records,
        settings: str,
        info: ModelInfo,
        naming: Naming,
        folder: Path,
    ):
        self._request, self._inputs, self._out = request, inputs, out
        self._records, self._settings, self._info, self._naming = records, settings, info, naming
        self._folder = folder
        self.inputs = self.todo = self.ended = self.ignored = 0
        self._others, self._other = 0, ""  # how many have other settings, and those of one
        self._labels = Labels(request.labels, info.domains) if request.labels else None
        self._targets = targets_of(info, request.domains, request.labels is not None)
        self._domains = self._domains_of()
        try:
            self._lay_out()
        except OSError as error:
            words = describe_os_error(error)
            raise EnvironmentFault(f"{folder}: the plan cannot be written: {words}") from None

    def tasks(self) -> Iterator[Task]:
        """Yield the tasks, in the order of their keys."""
        return self._rows("todo")

    def ends(self) -> Iterator[Task]:
        """Yield files that need no task: `source`, `output`, `status`, `reason`, `domain_name`."""
        return self._rows("ended")

    def _rows(self, name: str) -> Iterator[Task]:
        with open(self._folder / f"{name}.jsonl", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)

    def _domains_of(self) -> list[Domain]:
        targets, request = self._targets, self._request
        if not targets:
            return [Domain(0, "")]
        apart = len(targets) > 1 or (ALL in request.domains and ALL not in self._info.domains)
        apart = apart and not self._naming.names_domain
        names = folders_of(targets)
        return [Domain(n, name, name if apart else "") for n, name in enumerate(names)]

    def _lay_out(self) -> None:
        with (
            open(self._folder / "todo.jsonl", "w", encoding="utf-8") as todo,
            open(self._folder / "ended.jsonl", "w", encoding="utf-8") as ended,
        ):
            spill = Spill(self._folder / "names")

            def end(row: Task) -> None:
                ended.write(json.dumps(row) + "\n")
                self.ended += 1

            for row in self._spill(spill):
                end(row)
            self._records.compact(spill.count)
            for prefix, rows in spill.groups():
                for task, verdict in self._group(prefix, rows):
                    if verdict is None:
                        todo.write(json.dumps(task) + "\n")
                        self.todo += 1
                    else:
                        end(self._ended(task, *verdict))
        if self._others:
            self._refuse()

    def _spill(self, spill: Spill) -> Iterator[Task]:
        """Put every name where those are that it may meet; yields what is left alone."""
        number, folder = 0, ""
        for source in self._inputs:
            self.inputs += 1
            if source.ignored is not None:
                self.ignored += 1
                task = {"place": source.place, "name": source.name, "output": source.name}
                yield self._ended(task, "ignored", source.ignored)
                continue
            number += 1
            name = PurePosixPath(source.name)
            if str(name.parent) != folder:
                folder = str(name.parent)
                for parent in name.parents:
                    if str(parent) != ".":
                        spill.add(key_of(str(parent)), [_FOLDER, str(parent)])
            for domain in self._domains:
                wanted = self._naming.name(Path(source.name), number, domain.name).as_posix()
                row = [_SOURCE, domain.number, source.place, source.name, source.stamp, wanted]
                spill.add(key_of(wanted), row)
        folders = {domain.folder: None for domain in self._domains}
        stale: set[Path] = set()
        for below in folders:
            for entry in self._out.entries(below):
                name_below = entry.name[len(below) + 1 :] if below else entry.name
                if self._out.local and PurePosixPath(name_below).name.startswith(".i2i-"):
                    stale.add(Path(self._out.path(entry.name)).parent)
                elif not name_below.startswith(f"{FOLDER}/"):
                    row = [_THERE, below, name_below, entry.stamp]
                    spill.add(key_of(name_below), row)
        for leftover in stale:
            sweep_stale(leftover)

    def _group(
        self, prefix: str, rows: list[list[Any]]
    ) -> Iterator[tuple[Task, tuple[str, str] | None]]:
        there = {(row[2], row[3]): row[4] for row in rows if row[1] == _THERE}
        folders = [row[2] for row in rows if row[1] == _FOLDER]
        recorded = self._records.entries(prefix)
        outputs: set[str] = set()
        for domain in self._domains:
            taken = {name_key(folder) for folder in folders}
            mine = [row for row in rows if row[1] == _SOURCE and row[2] == domain.number]
            for row, name in _settled(mine, taken):
                output = f"{domain.folder}/{name}" if domain.folder else name
                if name_key(output) in outputs:
                    raise UsageError(
                        "two domains would write the same output; put {domain} into `name`"
                    )
                outputs.add(name_key(output))
                if self._meets_an_input(output):
                    raise UsageError(
                        f"{self._out.full(output)}: this output would replace an input; "
                        "use another `out`"
                    )
                key, _, _, place, source, stamp, _ = row
                task: Task = {"key": key, "place": place, "name": source, "stamp": stamp,
                              "output": output, "settings": self._settings,
                              "domain_name": ""}  # fmt: skip
                problem = self._to(task, domain) if self._targets else None
                if problem:
                    yield task, ("failed", problem)
                    continue
                found = there.get((domain.folder, name))
                yield task, self._judge(task, recorded.get(output), found)

    def _to(self, task: Task, domain: Domain) -> str | None:
        """Add the domain to a task, or say what is wrong."""
        target = self._targets[domain.number]
        own = self._labels.of(Path(task["name"])) if self._labels else None
        if self._labels and own is None:
            return f"no label in {self._labels.path}"
        vector = vector_of(self._info, target, own)
        task |= {"domain": vector, "domain_name": target.name}
        task["settings"] = f"{self._settings}/{''.join(f'{v:g}' for v in vector)}"
        return None

    def _judge(self, task: Task, entry: Entry | None, there: str | None) -> tuple[str, str] | None:
        """What a record and the output make of a task: None when it is to be done; as
        `Manifest.verdict`."""
        request = self._request
        ours = entry is not None and any(same_stamp(there or "", s) for s in entry.stamps)
        if entry is not None and ours and not request.overwrite and self._is_other(entry, task):
            self._others, self._other = self._others + 1, self._other or entry.settings
            return "skipped", _OTHER
        if entry is not None and there is not None and there.startswith("0:"):
            task["redone"] = True  # what a power cut left of an output of ours
            return None
        if there is None:
            if entry is None:
                return None
            if not entry.done:
                return self._again(task, entry)
            if self._same(task, entry) and not request.overwrite:
                task["stamps"] = entry.stamps  # a listing may be old: its task looks once more
            return None
        if request.overwrite:
            task["redone"] = True
            return None
        if entry is None or not entry.stamps:
            return "skipped", THERE
        if not ours:
            return "skipped", "the output was modified since; `overwrite` replaces it"
        if not entry.done:
            verdict = self._again(task, entry)
            task["redone"] = verdict is None
            return verdict
        newest = same_stamp(there, entry.stamps[-1])
        if newest and self._same(task, entry):
            return "skipped", "done already"
        task["redone"] = True
        of_size, size = entry.of.partition(":")[0], task["stamp"].partition(":")[0]
        unknown = task["stamp"] == UNKNOWN
        if unknown and newest and entry.settings == task["settings"]:
            task["of"] = entry.of  # its reader asks the web server first
        if newest and entry.settings == task["settings"] and (unknown or size == of_size):
            task["digest"] = entry.digest  # only touched, perhaps: its reader compares the bytes
        return None

    def _again(self, task: Task, entry: Entry) -> tuple[str, str] | None:
        request = self._request
        if request.retry_failed or request.overwrite or not self._same(task, entry):
            return None
        return "failed", f"{entry.reason} (as before; `retry_failed` tries again)"

    def _same(self, task: Task, entry: Entry) -> bool:
        return entry.settings == task["settings"] and entry.of == task["stamp"]

    def _is_other(self, entry: Entry, task: Task) -> bool:
        if self._labels:
            return entry.settings.partition("/")[0] != self._settings
        return entry.settings != task["settings"]

    def _refuse(self) -> None:
        count = f"{self._others} picture{'s' * (self._others > 1)}"
        header = self._records.meaning(self._other)
        made = "made by another model or with other settings"
        if header.get("model") and header["model"] != self._info.name:
            made = f"made by model {header['model']}, not {self._info.name}"
        raise UsageError(
            f"{self._out.address}: holds {count} {made}; give `overwrite` to replace, or another "
            "folder as `out`"
        )

    def _meets_an_input(self, output: str) -> bool:
        path = self._out.path(output)
        return any(
            place.scheme == self._out.scheme and path.startswith(f"{place.root}/")
            for place in self._inputs.places
        )

    def _ended(self, task: Task, status: str, reason: str) -> Task:
        place = self._inputs.places[task["place"]]
        return {"source": place.full(task["name"]), "output": self._out.full(task["output"]),
                "status": status, "reason": reason,
                "domain": task.get("domain_name", "")}  # fmt: skip


def _settled(rows: list[list[Any]], taken: set[str]) -> Iterator[tuple[list[Any], str]]:
    """The rows of a group with the names of their outputs, which meet neither each other nor what
    is `taken`; as `naming.plan`."""
    later = []
    for row in rows:
        if PurePosixPath(row[6]).name == PurePosixPath(row[4]).name:
            yield row, _settle(row, taken)
        else:
            later.append(row)
    for row in later:
        yield row, _settle(row, taken)


def _settle(row: list[Any], taken: set[str]) -> str:
    name, own = Path(row[6]), Path(row[4]).suffix
    unique, number = fit_name(name), 1
    while name_key(unique.as_posix()) in taken:
        # Names of one key only, so that no other group can have taken it.
        more = own if number == 1 else f"-{number}" if number < 10 else f".{number}"
        unique, number = fit_name(name.with_name(name.stem + more + name.suffix)), number + 1
    taken.add(name_key(unique.as_posix()))
    return unique.as_posix()
