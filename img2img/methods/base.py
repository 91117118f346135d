"""What every method is: networks, optimizers and one step. A step knows nothing of the world."""

from __future__ import annotations

import contextlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from img2img.augment import Augment, JudgedView
from img2img.data.dataset import Folder
from img2img.data.store import Loading, Progress, Split
from img2img.losses import (
    Gan,
    Judgement,
    Penalty,
    check_objective,
    clip_weights,
    discriminator_loss,
    gradient_penalty,
    r1_penalty,
)
from img2img.methods.descent import Descent
from img2img.methods.pause import Pause, check_pause, undecided
from img2img.nets import DISCRIMINATORS, Generator
from img2img.nets.discriminator import Discriminator
from img2img.settings import Settings


class GeneratorSettings(Settings):
    """A generator of `GENERATORS` and its options; `--set generator.NAME=VALUE` reaches one."""

    generator: str = Field("unet", description="generator network")
    generator_options: dict[str, Any] = Field(
        default_factory=dict, description="its options; generator.NAME=VALUE sets one"
    )

    @property
    def scale(self) -> int:
        """How many times as large as its input the generator makes a picture, as it was given."""
        return self.generator_options.get("scale", 1)


class GanSettings(GeneratorSettings):
    """What the adversarial methods share: networks, Adam, objective.

    `penalty` is weighted by `lambda_penalty`: gp (arXiv 1704.00028), r1 (arXiv 1801.04406) or
    zero-centred (arXiv 1902.03984). `clip` bounds the critic's weights (wgan). `smooth` lowers the
    real label (arXiv 1606.03498). A discriminator pauses while its running accuracy is above
    `pause_accuracy` (see `methods.pause`).
    """

    names_domains: ClassVar[bool] = False
    """Whether the discriminator must also name the domain of a picture."""

    discriminator: str = Field("patch", description="discriminator network")
    discriminator_options: dict[str, Any] = Field(
        default_factory=dict, description="its options; discriminator.NAME=VALUE sets one"
    )
    lr: float = Field(2e-4, gt=0, description="learning rate of Adam")
    beta1: float = Field(0.5, ge=0, lt=1, description="Adam's decay of the mean gradient")
    beta2: float = Field(0.999, ge=0, lt=1, description="Adam's decay of the mean square")
    gan: Gan = Field("vanilla", description="adversarial objective")
    penalty: Penalty = Field("none", description="penalty on the discriminator's gradient")
    lambda_penalty: float = Field(10.0, ge=0, description="weight of that penalty")
    penalty_every: int = Field(
        1, ge=1, description="steps between two penalties, whose weight is multiplied by this"
    )
    clip: float = Field(0.0, ge=0, description="bound of the critic's weights (wgan); 0: none")
    smooth: float = Field(
        0.0, ge=0, lt=0.5, description="amount by which the real label is lowered"
    )
    pause_accuracy: float = Field(
        0.0, ge=0, lt=1, description="accuracy above which the discriminator pauses; 0: never"
    )

    @field_validator("pause_accuracy")
    @classmethod
    def _better_than_chance(cls, value: float) -> float:
        if 0 < value < 0.5:
            raise ValueError(f"{value:g} is below chance; give 0.5 to 1, such as 0.85, or 0")
        return value

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        fit = [n for n, D in DISCRIMINATORS.items() if D.names_domains == self.names_domains]
        if self.discriminator in DISCRIMINATORS and self.discriminator not in fit:
            why = "does not name" if self.names_domains else "also names"
            raise ValueError(
                f"discriminator {self.discriminator} {why} the domains of pictures; give "
                f"`discriminator={fit[0]}`"
            )
        if self.penalty_every > 1 and self.penalty == "none":
            raise ValueError("penalty_every needs a penalty; give `penalty=r1`, or leave it out")
        return self


LAPTOP: dict[str, Any] = {
    "schedule": "time",
    "max_minutes": 60.0,
    "memory_format": "channels_last",
    "sample_every": 250,
    "save_every": 250,
    "log_every": 10,
}
"""What the presets for an hour on two cores share: the loop follows the clock, and shows and saves
what it has every few minutes."""

ConfigT = TypeVar("ConfigT", bound=Settings)
DataT = TypeVar("DataT")
BatchT = TypeVar("BatchT")


class Method(ABC, Generic[ConfigT, DataT, BatchT]):
    """A method: `Config` (its settings), `Data` (the layout it learns from), and `step`.

    Attributes:
        defaults: settings of the loop that the method's paper or reference has.
        compared: columns (see `columns`) of translated pictures, and of the real ones that they are
            compared with as sets.
        made_of: columns of translated pictures, and those that they are made of; where it is empty,
            all but real pictures and truths are made of the first column.
        presets: named settings of the loop, and under `settings` of the method. `tiny` makes the
            networks small enough to train in a few minutes on a laptop.
        path_settings: names of settings that are paths; a model file keeps only their last part.
        working_size: long side in pixels at which the networks work after training, written into
            the model file unless the setting `working_size` says otherwise; 0: each picture's own
            size, None: the size of the training crops.
        upsampling: how their answer is enlarged to a larger picture: `plain`, or `guided` by its
            edges, where the answer keeps the outlines of the source. Generators with
            `output=chroma` are enlarged by their colour alone, whatever is said here.
        enlarges: whether its outputs may be larger than its inputs.
        nets, optimizers: by name; both are saved and restored by the loop.
        across: the mean of a tensor over the processes that share a batch, set by the loop;
            gradients pass through it.
        frozen_nets: networks that are used and never learn, by name; moved, but not saved.
        generators: what is published, by the name of its model file.
        discriminators: the networks that tell real from fake, by name; may be empty.
        undecided: what a discriminator answers where real and fake are equally likely.
        pauses: by the name of the discriminator, what lets it pause, where the settings ask for it;
            saved and restored by the loop.
        directions: for each of them, what goes in and what comes out, in words.
        one_hot, exclusive, relative: which domain vectors make sense, as `ModelInfo` has them.
        augment: the augmentation, set by the loop before the first step.
        view: how a discriminator looks at pictures: `view(x, condition_channels)`.
        observe_real: called with what a discriminator answered to how many real pictures.
        descent: how a gradient is followed.
        number: of the step, from 0, set by the loop.
        period: after how many steps the work repeats itself.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Settings]]
    Data: ClassVar[Any]
    defaults: ClassVar[dict[str, Any]] = {}
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    compared: ClassVar[dict[str, str]] = {}
    made_of: ClassVar[dict[str, str]] = {}
    path_settings: ClassVar[tuple[str, ...]] = ()
    working_size: ClassVar[int | None] = None
    upsampling: ClassVar[Literal["plain", "guided"]] = "plain"
    enlarges: ClassVar[bool] = False

    nets: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    generators: dict[str, Generator]
    directions: dict[str, str]
    one_hot: bool = False
    exclusive: tuple[tuple[str, ...], ...] = ()
    relative: bool = False
    augment: Augment

    def __init__(self) -> None:
        self.number, self.period = 0, 1
        self.across: Callable[[Tensor], Tensor] = lambda mean: mean
        self.frozen_nets: dict[str, nn.Module] = {}
        self.discriminators: dict[str, Discriminator] = {}
        self.pauses: dict[str, Pause] = {}
        self.undecided = 0.0
        self.descent = Descent()
        self.view = JudgedView(0)
        self.observe_real: Callable[[Any, int], None] = lambda answer, count: None

    def judged_by(self, discriminators: Mapping[str, Discriminator], c: GanSettings) -> None:
        """Take the discriminators over and check that they fit the objective.

        Raises:
            ConfigError: a combination that makes no sense, with a proposal.
        """
        for D in discriminators.values():
            check_adversary(c, D)
        self.discriminators, self.undecided = dict(discriminators), undecided(c.gan)
        if c.pause_accuracy:
            self.pauses = {
                name: Pause(c.pause_accuracy, self.undecided, lambda mean: self.across(mean))
                for name in discriminators
            }

    @classmethod
    def check(cls, config: ConfigT) -> None:
        """Raise ConfigError for what is missing on this machine, before any picture is read."""
        return None

    @classmethod
    def channels(cls, config: ConfigT) -> tuple[int, int]:
        """How many channels the networks take and give: 3 for RGB, 1 for grey."""
        options = config.generator_options if isinstance(config, GeneratorSettings) else {}
        return options.get("in_channels", 3), options.get("out_channels", 3)

    @classmethod
    def required_features(cls, config: ConfigT) -> tuple[str, ...]:
        """Names in `FEATURES` of the networks that its discriminators look through."""
        named = config.discriminator if isinstance(config, GanSettings) else ""
        return DISCRIMINATORS[named].required_features if named in DISCRIMINATORS else ()

    @classmethod
    def usual_size(cls, config: ConfigT) -> int | None:
        """The working size that a model file states unless the setting says otherwise: that of the
        class, or another where `config` asks for it."""
        return cls.working_size

    @classmethod
    def warm_up_steps(cls, config: ConfigT) -> int:
        """How many steps come before the ones that use every network, and so the most memory."""
        return 0

    @classmethod
    def swaps_sides(cls, config: ConfigT) -> bool:
        """True where B of paired data is the input."""
        return False

    @classmethod
    @abstractmethod
    def build(cls, config: ConfigT, data: DataT, size: int) -> Self:
        """Make the trainer for `data` (which may tell domains) and crops of `size` pixels."""

    @classmethod
    def open(
        cls, config: ConfigT, root: Folder, split: Split, loading: Loading, progress: Progress
    ) -> DataT:
        """Open the data that the method learns from."""
        return cls.Data(root, split, loading, progress)

    def prepare(self, data: DataT) -> None:
        """Compute once, before the first step of a new run, what the training data give; it is
        part of `state_dict`. The networks are on their device."""
        return None

    @abstractmethod
    def step(self, batch: BatchT) -> dict[str, Tensor]:
        """Learn from one batch of pictures in [-1, 1]; return detached losses by name."""

    @abstractmethod
    def columns(self, batch: BatchT) -> dict[str, Tensor]:
        """For held-out pictures: named columns of a sample sheet, (N, C, H, W) in [-1, 1].
        Figures are computed for every `X` that has a `truth X` beside it (also with X empty)."""

    def reals(self, data: DataT, index: int) -> dict[str, Tensor]:
        """Real pictures that `compared` names and no column shows, (1, C, H, W) in [-1, 1], beside
        picture `index` of the held-out `data`. By default none."""
        return {}

    def seen(self, batch: BatchT) -> list[Tensor]:
        """What a step sees of a batch, augmented, for a sheet to look at: (N, C, H, W) in [-1, 1]
        each, from top to bottom. By default two sets, A and B, that move apart."""
        a, b = batch.a, batch.b  # type: ignore[attr-defined]
        return [self.augment(x)[0] for x in (a, b)]

    def viewed(self, seen: Sequence[Tensor]) -> list[Tensor]:
        """What the discriminators see of these pictures, as `seen` gave them, through `view`, for
        the same sheet: (N, C, H, W) each, may leave [-1, 1]. By default each of them."""
        return [self.view(x) for x in seen]

    def inputs(self, batch: BatchT) -> dict[str, Tensor]:
        """What each generator gets of a batch, by its key, as a step makes it: (N, C, H, W) in
        [-1, 1]. By default the n-th of `seen` for the n-th generator."""
        return dict(zip(self.generators, self.seen(batch), strict=False))

    def judged_real(self, batch: BatchT) -> dict[str, Tensor]:
        """What each of the `discriminators` is given of the real pictures of a batch, (N, C, H, W)
        in [-1, 1] by its name, for figures of the health. By default nothing: none are computed."""
        return {}

    def judged_fake(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same of outputs; `columns` of held-out pictures, as the method gives them."""
        return {}

    def descend(self, name: str, loss: Tensor) -> None:
        """One step of optimizer `name` down the gradient of `loss`: the only place where a
        gradient is taken.

        Raises:
            Diverged: loss or gradient is not finite; the parameters are left as they were.
        """
        self.descent(name, self.optimizers[name], loss)

    def descend_judge(self, name: str, loss: Tensor) -> None:
        """`descend` for discriminators: where all of them pause there is no gradient to follow.

        Raises:
            Diverged: as `descend`.
        """
        if loss.requires_grad:
            self.descend(name, loss)

    def state_dict(self) -> dict[str, Any]:
        """What else must survive a resume (image pools, turns); plain data and tensors."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""


def adversary_loss(
    D: Callable[[Tensor], Any],
    real: Tensor,
    fake: Tensor,
    c: GanSettings,
    alpha: Tensor,
    observe_real: Callable[[Any, int], None],
    number: int = 0,
    pause: Pause | None = None,
) -> Tensor:
    """What a discriminator minimises: its objective and the weighted penalty. `alpha`, one number
    in [0, 1) for each picture, places the points between real and fake at which a gradient penalty
    looks. `observe_real` gets the answer to the real pictures and their number. `number` of the
    step decides whether the penalty is due: every `penalty_every` steps, with as many times its
    weight (lazy regularisation, arXiv 1912.04958, app. B). While `pause` lasts the loss has no
    gradient, and no penalty."""
    answers: list[Any] = []

    def listening(x: Tensor) -> Judgement:
        answers.append(D(x))
        return answers[-1]

    loss = discriminator_loss(listening, real, fake, c.gan, c.smooth)
    observe_real(answers[0], len(real))  # the real pictures are judged first
    if pause:
        pause.observe(*answers)
        if pause.paused:
            return loss.detach()
    if c.penalty == "none" or number % c.penalty_every:
        return loss
    weight = c.lambda_penalty * c.penalty_every
    if c.penalty == "r1":
        return loss + weight * r1_penalty(D, real)
    centre = 1.0 if c.penalty == "gp" else 0.0
    return loss + weight * gradient_penalty(D, real, fake.detach(), alpha, centre)


def check_adversary(c: GanSettings, D: nn.Module) -> None:
    """Raise ConfigError, with a proposal, for a combination that makes no sense."""
    check_pause(c.gan, c.pause_accuracy)
    check_objective(
        c.gan,
        penalty=c.penalty,
        lambda_penalty=c.lambda_penalty,
        clip=c.clip,
        smooth=c.smooth,
        spectral=getattr(D.config, "spectral", False),
        norm=getattr(D.config, "norm", "none"),
    )


def clip_critic(net: nn.Module, c: GanSettings) -> None:
    """Bound the critic's weights where the objective asks for it."""
    if c.clip:
        clip_weights(net, c.clip)


def adam(nets: Sequence[nn.Module], lr: float, beta1: float, beta2: float) -> torch.optim.Optimizer:
    """Adam (arXiv 1412.6980) over the parameters of several networks, in one fused kernel."""
    parameters = itertools.chain.from_iterable(net.parameters() for net in nets)
    return torch.optim.Adam(parameters, lr=lr, betas=(beta1, beta2), fused=True)


@contextlib.contextmanager
def evaluating(*nets: nn.Module) -> Iterator[None]:
    """Run `nets` in evaluation mode and without gradients inside the block."""
    before = [net.training for net in nets]
    for net in nets:
        net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for net, was in zip(nets, before, strict=True):
            net.train(was)
