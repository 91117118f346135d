"""Which domain a picture goes to: from words such as `Blond_Hair+Young` to domain vectors."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from img2img.errors import UsageError, proposal
from img2img.model_format.info import ModelInfo

ALL = "all"
_OFF = "no-"
_UNSAFE = '<>:"/\\|?*'
# Names that Windows keeps for devices, whatever suffix follows.
_DEVICES = {"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10)}


@dataclass(frozen=True)
class Target:
    """One place to go: the places `on` of the domain vector become 1, those `off` become 0, or -1
    for a model that is given the change."""

    name: str
    on: frozenset[int]
    off: frozenset[int] = frozenset()


def targets_of(info: ModelInfo, choices: Sequence[str], labels: bool = False) -> list[Target]:
    """What the `choices` mean for the model: a domain's name, `all` for each of them, or, for
    attributes, `A+B`; with `labels` (the pictures' own are known), or where the model is given the
    change, also `no-A`. A target chosen twice is there once.

    Raises:
        UsageError: no choice at a model with domains, one at a model without, an unknown name, or a
            combination that cannot be. The text lists the domains.
    """
    if not info.domains:
        if choices or labels:
            option = "domains" if choices else "labels"
            raise UsageError(f"model {info.name} has no domains; leave `{option}` out")
        return []
    if not choices:
        raise UsageError(
            f"model {info.name} has several domains: {', '.join(info.domains)}; "
            f"choose with `domains`, one or several, or {ALL}"
        )
    if info.one_hot and labels:
        raise UsageError(
            f"model {info.name}: exactly one of its domains applies, so a picture's own label "
            f"has no effect; leave `labels` out"
        )
    if info.relative and labels:
        raise UsageError(
            f"model {info.name} takes the changes to make and needs no labels; leave `labels` out"
        )
    found: dict[tuple[frozenset[int], frozenset[int]], Target] = {}
    for choice in choices:
        every = choice == ALL and ALL not in info.domains
        for word in info.domains if every else (choice,):
            target = _target(info, word, labels or info.relative)
            found.setdefault((target.on, target.off), target)
    return list(found.values())


def vector_of(
    info: ModelInfo, target: Target, own: Sequence[float] | None = None
) -> tuple[float, ...]:
    """The domain vector: `own` label (or zeros) with `target` applied; what is set clears the rest
    of its exclusive groups. For a model that is given the change: 1 and -1 where `target` changes
    something (or, with `own`, where that does not hold yet), else 0."""
    if info.relative:
        change = [0.0] * len(info.domains)
        for places, value, held in ((target.on, 1.0, 1.0), (target.off, -1.0, 0.0)):
            for place in places:
                change[place] = value if own is None or own[place] != held else 0.0
        return tuple(change)
    values = list(own) if own is not None else [0.0] * len(info.domains)
    for group in _groups(info):
        if group & target.on:
            for place in group:
                values[place] = 0.0
    for place in target.off:
        values[place] = 0.0
    for place in target.on:
        values[place] = 1.0
    return tuple(values)


def folders_of(targets: Sequence[Target]) -> list[str]:
    """A folder name for each target, safe on every system and all different."""
    names: list[str] = []
    for target in targets:
        safe = "".join("_" if c in _UNSAFE or not c.isprintable() else c for c in target.name)
        safe = safe.rstrip(". ") or "_"
        safe = f"_{safe}" if safe.split(".")[0].casefold() in _DEVICES or safe[0] == "." else safe
        number, unique = 2, safe
        while name_key(unique) in map(name_key, names):
            unique, number = f"{safe}-{number}", number + 1
        names.append(unique)
    return names


def name_key(name: str) -> str:
    """The same for names that a file system may not tell apart, by case or Unicode form."""
    return unicodedata.normalize("NFC", name).casefold()


def _target(info: ModelInfo, choice: str, labels: bool) -> Target:
    on: set[int] = set()
    off: set[int] = set()
    for word in [choice] if choice in info.domains else choice.split("+"):
        if word in info.domains:
            on.add(info.domains.index(word))
        elif word.removeprefix(_OFF) in info.domains:
            off.add(info.domains.index(word.removeprefix(_OFF)))
        else:
            raise UsageError(
                f"`domains` {choice}: no domain '{word}'.{proposal(word, info.domains)}"
            )
    if off and not labels:
        raise UsageError(
            f"`domains` {choice}: clearing needs the pictures' own labels; give a table as `labels`"
        )
    exclusive = [k for group in _groups(info) for k in group & off] if info.relative else []
    if exclusive:
        names = ", ".join(info.domains[k] for k in exclusive)
        raise UsageError(
            f"`domains` {choice}: {names} cannot be cleared alone; name what replaces it"
        )
    if on & off:
        raise UsageError(f"`domains` {choice}: sets and clears the same domain")
    for group in _groups(info):
        if len(group & on) > 1:
            names = " and ".join(info.domains[k] for k in sorted(group & on))
            raise UsageError(f"`domains` {choice}: {names} exclude each other; name one")
    return Target(choice, frozenset(on), frozenset(off))


def _groups(info: ModelInfo) -> list[set[int]]:
    if info.one_hot:
        return [set(range(len(info.domains)))]
    return [{info.domains.index(name) for name in group} for group in info.exclusive]
