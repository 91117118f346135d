"""One evaluation from its request to its report: the library beneath `img2img evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from img2img.data.dataset import DataKind
from img2img.errors import (
    DataError,
    MemoryFault,
    MissingFeatures,
    PictureError,
    UsageError,
)
from img2img.evaluation import extras
from img2img.evaluation.figures import Figure, figures_of
from img2img.evaluation.gather import (
    Asked,
    Extractor,
    Gathered,
    Translate,
    coloured,
    gather,
)
from img2img.evaluation.page import Section
from img2img.evaluation.protocol import protocol_of
from img2img.evaluation.report import Report
from img2img.evaluation.request import EvaluateRequest
from img2img.evaluation.showing import sections_of
from img2img.evaluation.sources import (
    Item,
    Material,
    for_enlarging,
    for_model,
    two_folders,
)
from img2img.features import missing_features, open_features
from img2img.images import Pixels
from img2img.inference.translator import Translator, model_path
from img2img.methods import METHODS
from img2img.metrics import METRICS
from img2img.metrics.small_nets import one_thread
from img2img.model_format.info import ModelInfo
from img2img.system.digest import file_sha256

# The networks of a default evaluation, where their weights are found. Each has a reason: Lite0 sees
# kinds of things best, MobileNetV2 is the judge that no training uses, Inception gives the FID.
DEFAULT_NETWORKS = ("lite0", "mobilenetv2", "inception")


@dataclass(frozen=True)
class Evaluated:
    """A report, and what it was made from, for pages.

    Attributes:
        report: figures and protocol.
        material: the pictures.
        found: what was gathered from them.
        sections: of pictures to show.
    """

    report: Report
    material: Material
    found: Gathered
    sections: tuple[Section, ...]


def evaluate(
    request: EvaluateRequest, progress: Callable[[int, int], None] = lambda done, total: None
) -> Evaluated:
    """Judge a model or a folder of translated pictures.

    `progress` is called with (pictures done, pictures in all).

    Raises:
        UsageError, ConfigError: an impossible request; a network's weights are missing.
        DataError: folders without pictures, without partners, or not one picture can be read.
        ModelError, EnvironmentFault: the model cannot be opened.
    """
    request.check()
    networks = networks_of(request.networks)
    metrics = request.metrics or tuple(n for n, m in METRICS.items() if m.available())
    with subject(request) as (material, side, translate, facts, info):
        some = material.some(request.most, request.seed)
        _check_truths(request, some)
        edits = info is not None and bool(info.domains) and request.data is not None
        asked = Asked(side, metrics, networks, small=request.critic or edits)
        found = gather(some, asked, translate, progress)
        with one_thread():  # so that they do not depend on the number of cores either
            figures, warnings = figures_of(found, request.seed)
        warnings += some.notes
        warnings += _left_out(request, some, networks, metrics)
        sections = sections_of(some, found, side, translate, request.seed)
        more = _Extras(request, some, found, side, translate, networks, info)
        more.run()
    figures |= more.figures
    warnings += more.warnings
    warnings += [f"{n}: the pictures are too small for it" for n in metrics
                 if some.paired and n not in figures]  # fmt: skip
    sections += more.sections
    if len(some.judged) < len(material.judged):
        warnings.append(
            f"{len(some.judged)} of {len(material.judged)} pictures were used; `most` 0 uses all"
        )
    title = str(facts.pop("title"))
    protocol = facts | protocol_of(
        request, some, found, side, networks, metrics if some.paired else ()
    )
    report = Report(title, protocol, figures, tuple(warnings), found.rows, found.problems)
    return Evaluated(report, some, found, tuple(sections))


def _check_truths(request: EvaluateRequest, material: Material) -> None:
    if material.paired:
        return
    if request.labels:
        raise UsageError("label maps are compared with their truths; these pictures have none")
    if request.metrics:
        names = ", ".join(request.metrics)
        raise UsageError(f"{names}: for pairs only, and these pictures have no truths")


class _Extras:
    """What needs more than the one pass; what cannot be computed becomes a warning."""

    def __init__(
        self, request: EvaluateRequest, material: Material, found: Gathered, side: int,
        translate: Translate | None, networks: list[Extractor], info: ModelInfo | None,
    ):  # fmt: skip
        self.figures: dict[str, Figure] = {}
        self.warnings: list[str] = []
        self.sections: list[Section] = []
        self._given = request, material, found, side, translate, networks, info

    def run(self) -> None:
        request, material, found, side, translate, _, info = self._given
        if not material.domains:  # edits of one picture are no different inputs
            self._take("diversity", lambda: extras.collapse_figures(found))
        if request.critic:
            self._take("critic", lambda: extras.critic_figures(found, request.seed))
        if info is not None and info.domains and request.data is not None:
            data = Path(request.data)
            self._take(
                "edits", lambda: extras.edit_figures(data, info, material, found, request.seed)
            )
        if request.labels:
            seed = request.seed
            self._take("label maps", lambda: extras.label_figures(material, side, translate, seed))
        if request.training is not None:
            self._take("copies", self._copies)

    def _copies(self) -> dict[str, Figure]:
        request, material, found, side, translate, networks, _ = self._given
        assert request.training is not None
        figures, self.sections, warnings = extras.memory_figures(
            Path(request.training), found, networks, material, side, translate, request.most,
            request.seed,
        )  # fmt: skip
        self.warnings += warnings
        return figures

    def _take(self, what: str, compute: Callable[[], dict[str, Figure]]) -> None:
        try:
            self.figures |= compute()
        except (DataError, PictureError, MemoryFault) as error:
            self.warnings.append(f"{what}: {error}")


def networks_of(names: tuple[str, ...]) -> list[Extractor]:
    """The feature networks to use: those named, or the default ones that are found.

    Raises:
        ConfigError: the weights of a named one are missing; or a file of weights that is given or
            found cannot be read or is not the known one.
    """
    if names == ("none",):
        return []
    if names:
        return [open_features(name) for name in dict.fromkeys(names)]
    found: list[Extractor] = []
    for name in DEFAULT_NETWORKS:
        try:
            found.append(open_features(name))
        except MissingFeatures:
            continue  # said by `_left_out`
    return found


def _left_out(
    request: EvaluateRequest,
    material: Material,
    networks: Sequence[Extractor],
    metrics: Sequence[str],
) -> list[str]:
    """What to install for the figures of a default evaluation that are missing; `metrics` are those
    of pairs."""
    wanted: dict[str, tuple[str, ...]] = {}
    if not request.networks:
        opened = {network.name for network in networks}
        for name in DEFAULT_NETWORKS:
            # Inception has figures only against real pictures.
            if name not in opened and (name != "inception" or material.reals):
                figures = "fid and kid" if name == "inception" else f"figures of {name}"
                wanted[figures] = (name,)
    if material.paired and not request.metrics:
        wanted |= {name: METRICS[name].networks for name in METRICS if name not in metrics}
    texts = {what: missing_features(*names) for what, names in wanted.items()}
    return [f"no {what}: {text}" for what, text in texts.items() if text]


@contextmanager
def subject(
    request: EvaluateRequest,
) -> Iterator[tuple[Material, int, Translate | None, dict[str, object], ModelInfo | None]]:
    """The pictures of a request, the long side to reduce them to, how a model translates them,
    facts for the protocol, and what the model says of itself. It is closed at the end."""
    if request.fake is not None and request.real is not None:
        fake, real = Path(request.fake), Path(request.real)
        asked = True if request.metrics or request.labels else None
        material = two_folders(fake, real, asked if request.paired is None else request.paired)
        title = f"{fake.resolve().name} against {real.resolve().name}"
        yield material, request.size or 0, None, {"title": title, "model": None}, None
        return
    assert request.model is not None and request.data is not None
    path = model_path(request.model, request.runner, request.direction)
    with Translator(
        path,
        runner=request.runner,
        device=request.device,
        precision=request.precision,
        size=request.size,
    ) as translator:
        info = translator.info
        data = Path(request.data)
        material = _material(request, info, data)
        if info.domains:
            material = extras.expand(material, info, data)

        def translate(pixels: Pixels, item: Item) -> Pixels:
            return coloured(translator(pixels, domains=item.target or None))

        facts = {
            "title": f"{info.name} on {data.resolve().name}",
            "model": info.name,
            "model_sha256": file_sha256(path),
            "method": info.method,
            "steps": info.training.get("step"),
            "runner": translator.description,
        }
        yield material, translator.size, translate, facts, info


def _material(request: EvaluateRequest, info: ModelInfo, data: Path) -> Material:
    backwards, held_out = is_backwards(request, info.direction), info.training.get("held_out")
    if info.scale > 1:
        learned = str(info.training.get("data_fingerprint", ""))
        return for_enlarging(data, info.scale, backwards, held_out, learned)
    kind: DataKind = METHODS[info.method].Data.kind if info.method in METHODS else "sets"
    return for_model(data, kind, backwards, info.domains, held_out)


def is_backwards(request: EvaluateRequest, direction: str) -> bool:
    """Whether the data's B is the model's input."""
    if request.backwards is not None:
        return request.backwards
    return direction.replace(" ", "") in ("B->A", "BtoA")
