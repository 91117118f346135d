"""What translating a great many pictures takes, calculated from measured figures.

    python benchmarks/plan.py [--pictures 1000000 10000000 1000000000] [--days 7]

Prints for each number of pictures: bytes, requests, core and GPU hours, machines, the manifest,
the planning, what failures cost, and what breaks first. The formulas and where the figures were
measured are in docs/explanation/scale.md; every figure is an option.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, fields

PICTURES = (10**6, 10**7, 10**9)
_HOUR = 3600.0


@dataclass(frozen=True)
class Figures:
    """What was measured, or is asked for.

    Attributes:
        megabytes_in, megabytes_out: of a picture's file.
        megapixels: of a picture.
        core_seconds: of one picture, in all, where the network runs on the processor.
        gpu_seconds: of the network for one picture on a GPU; `beside_seconds`: core seconds of its
            decoding and encoding.
        overhead: what Ray costs, as a part of the throughput.
        days: until all are done; `cores`, `gpus`: of one machine.
        page: names in one answer of a listing; `page_seconds`: until it comes.
        plan_seconds: of the planner for one name, besides the listing.
        plan_bytes: of one name in the planner's temporary files; `row_bytes`: of one name in
            memory, in the group that is planned and the wave that is worked on.
        record_bytes: of one row of the manifest, compressed.
        block_megabytes: decoded bytes of a block; `wave`: pictures that are given out at a
            time, 2000 for each core.
        machine_hours: between two failures of one machine.
        request_rate: requests per second that one prefix of a bucket answers.
    """

    megabytes_in: float = 4.0
    megabytes_out: float = 4.0
    megapixels: float = 12.0
    core_seconds: float = 4.4
    gpu_seconds: float = 0.05
    beside_seconds: float = 1.0
    overhead: float = 0.15
    days: float = 7.0
    cores: int = 64
    gpus: int = 8
    page: int = 1000
    page_seconds: float = 0.2
    plan_seconds: float = 130e-6
    plan_bytes: float = 500.0
    row_bytes: float = 1000.0
    record_bytes: float = 110.0
    block_megabytes: float = 128.0
    wave: int = 128_000
    machine_hours: float = 2000.0
    request_rate: float = 3500.0


def calculated(count: int, figures: Figures) -> dict[str, float]:
    """The figures of `count` pictures, by name."""
    f = figures
    per_block = max(1.0, f.block_megabytes / (3 * f.megapixels))
    parts = count / per_block
    shards = 1 if count <= 100_000 else 256 if count <= 20_000_000 else 4096
    core_hours = count * f.core_seconds / (1 - f.overhead) / _HOUR
    gpu_hours = count * f.gpu_seconds / (1 - f.overhead) / _HOUR
    beside_hours = count * f.beside_seconds / (1 - f.overhead) / _HOUR
    hours = f.days * 24
    machines = core_hours / hours / f.cores
    gpu_machines = max(gpu_hours / hours / f.gpus, beside_hours / hours / f.cores)
    waves = max(1.0, count / f.wave)
    failures = machines * hours / f.machine_hours
    # Of a machine that dies the blocks in work, a decoding, translating and writing one a core.
    redone = failures * 3 * f.cores * per_block
    lists = 2 * count / f.page
    merges = 2 * parts + waves * min(shards, f.wave) * 2
    requests = count * 2 + parts + lists + merges
    return {
        "bytes read (TB)": count * f.megabytes_in / 1e6,
        "bytes written (TB)": count * f.megabytes_out / 1e6,
        "requests (million)": requests / 1e6,
        "requests per second": requests / (hours * _HOUR),
        "core hours": core_hours,
        "machines without GPUs": machines,
        "GPU hours": gpu_hours,
        "core hours beside the GPUs": beside_hours,
        "machines with GPUs": gpu_machines,
        "planning (hours)": (lists * f.page_seconds + count * f.plan_seconds) / _HOUR,
        "planner's disk (GB)": count * f.plan_bytes / 1e9,
        "planner's memory (GB)": (max(count / 256, 16384) + f.wave) * f.row_bytes / 1e9
        + count / shards * f.record_bytes * 3 / 1e9,
        "manifest (GB)": count * f.record_bytes / 1e9,
        "shards": shards,
        "parts before compaction (million)": parts / 1e6,
        "failures of a machine": failures,
        "pictures done again for them": redone,
        "of all, one in": count / redone if redone else float("inf"),
    }


def breaks_first(count: int, figures: Figures) -> str:
    """The narrowest place, in words."""
    rows = calculated(count, figures)
    hours = figures.days * 24
    if rows["requests per second"] > figures.request_rate:
        return (
            "the bucket: more requests than one prefix answers; spread the inputs over prefixes "
            "and give more days"
        )
    if rows["planning (hours)"] > hours / 4:
        return (
            "the planner: one process lists and judges all names; give each folder of the bucket "
            "a command and an output of its own"
        )
    if rows["planner's disk (GB)"] > 100 or rows["planner's memory (GB)"] > 4:
        return "the planner's disk and memory; set TMPDIR to a large disk, or divide the bucket"
    if rows["machines without GPUs"] > 100:
        return "the number of machines; GPUs, a smaller working size, or more days"
    return "nothing but time: the cores"


def lines(counts: list[int], figures: Figures) -> Iterator[str]:
    """A table, one column for each count."""
    columns = [calculated(count, figures) for count in counts]
    yield " " * 36 + "".join(f"{count:>16,}" for count in counts)
    for name in columns[0]:
        yield f"{name:<36}" + "".join(f"{_short(column[name]):>16}" for column in columns)
    for count in counts:
        yield f"{count:,}: first breaks {breaks_first(count, figures)}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=int, nargs="+", default=list(PICTURES))
    for field in fields(Figures):
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=type(field.default), default=field.default)
    given = vars(parser.parse_args())
    counts = given.pop("pictures")
    for line in lines(counts, Figures(**given)):
        print(line)


if __name__ == "__main__":
    main()
