"""What the tests share: quiet trainers, small data and tiny models."""

from __future__ import annotations

import csv
import inspect
import multiprocessing
import os
import signal
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gan_lightning import models, networks, optim
from gan_lightning.batches import LINKED_ARGUMENTS, Attributed, Captioned, Masked, Paired, Unpaired, gather_batch
from gan_lightning.core import AdversarialModule, Growth, ImageGenerator, ImageStep, Step, TextToImage, TwoPlayerGAN
from gan_lightning.core.translator import Translator
from gan_lightning.data import FactorialPatterns, ImplicitFeedback, OracleSequences, SingleImage, contents
from gan_lightning.data.base import Data, ImageData, to_unit
from gan_lightning.data.sets import InMemory, Rows, Split
from gan_lightning.networks.improved import MinibatchDiscrimination
from gan_lightning.noise import Noise, drawn_by_layers
from gan_lightning.text import SPECIAL, tokens_of

if os.name != "posix":  # they fork, make pipes, or send signals that Windows does not have
    collect_ignore = ["test_checkpoints.py", "test_pictures_as_they_are.py", "test_signals.py"]

# Commands are run as a user would, in folders of their own; the package need not be installed for that.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
if "GAN_LIGHTNING_CACHE" not in os.environ:  # the user's own is not ours to fill; processes of a test share this one
    _cache = tempfile.TemporaryDirectory()
    os.environ["GAN_LIGHTNING_CACHE"] = _cache.name
os.environ["GAN_LIGHTNING_TRUST"] = (
    "conftest,test_kinds,test_sample,test_translate"  # their own classes stand in checkpoints
)
torch.set_num_threads(1)  # tiny networks gain nothing from a second thread, and the machine may be shared
warnings.filterwarnings("ignore", module="lightning")


# What W&B and Lightning's launcher leave in the environment of a process, and with DDP its process group.
LEFT_BEHIND = {"WANDB_SERVICE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE"} - set(os.environ)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Else commands that start later write to W&B through this process, or wait for a launcher's other process."""
    yield
    for name in LEFT_BEHIND:
        os.environ.pop(name, None)
    if dist.is_initialized():
        dist.destroy_process_group()


GANS = [name for name in models.__all__ if issubclass(getattr(models, name), TwoPlayerGAN)]
TRANSLATORS = [name for name in models.__all__ if issubclass(getattr(models, name), Translator)]
TEXT_TO_IMAGE = [name for name in models.__all__ if issubclass(getattr(models, name), TextToImage)]
GAMES = [name for name in models.__all__ if name not in (*GANS, *TRANSLATORS, *TEXT_TO_IMAGE)]
SHAPE = (1, 16, 16)  # the least for which DCGAN's discriminator has batch norm


SMALL_GAN = [  # of `fit`: a few milliseconds a step
    "--data=Digits",
    "--model.generator=MLPGenerator",
    "--model.generator.width=16",
    "--model.discriminator=MLPDiscriminator",
    "--model.discriminator.width=16",
    "--data.batch_size=16",
]


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own; files come to rest at once."""
    monkeypatch.setenv("GAN_LIGHTNING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(contents, "REST", 0)
    return tmp_path / "cache"


class Noisy(ImageData):
    """A few random images with two classes: 4 batches of 16 in an epoch, order and flips keyed as ever.

    Bytes, as data sets have them; with `floating` floats that Lightning casts for a trainer in double precision.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = SHAPE,
        n: int = 64,
        batch_size: int = 16,
        num_workers: int = 0,
        flip: bool = False,
        floating: bool = False,
    ) -> None:
        super().__init__("Noisy", image_shape, 2, batch_size, num_workers, flip)
        self.n, self.floating = n, floating

    def load(self, split: Split) -> InMemory:
        n = self.n if split == "train" else 8
        generator = torch.Generator().manual_seed(n)
        image = torch.randint(256, (n, *self.image_shape), generator=generator, dtype=torch.uint8)
        return InMemory(to_unit(image) if self.floating else image, torch.arange(n) % 2)


class NoisyBatches(ImageData):
    """Random batches of the kind that a translator takes: 4 of 8 in an epoch.

    Args:
        name: the translator's.
    """

    def __init__(self, name: str) -> None:
        super().__init__("NoisyBatches", SHAPE, None, 8, 0)
        self.kind = name

    def load(self, split: Split) -> Rows:
        n, generator = 32 if split == "train" else 8, torch.Generator().manual_seed(5)

        def images(size: int = SHAPE[1]) -> Tensor:
            return torch.randint(256, (n, SHAPE[0], size, size), generator=generator, dtype=torch.uint8)

        if self.kind == "StarGAN":
            return Rows(Attributed(images(), torch.randint(2, (n, 2), generator=generator).float()))
        if self.kind == "ContextEncoder":
            hole = torch.zeros(n, 1, *SHAPE[1:], dtype=torch.bool)
            hole[:, :, 4:12, 4:12] = True
            return Rows(Masked(images(), hole))
        if self.kind in ("Pix2Pix", "SRGAN"):
            return Rows(Paired(images(SHAPE[1] // 4 if self.kind == "SRGAN" else SHAPE[1]), images()))
        return Rows(Unpaired(images(), images()))


COLOURS = ["red", "green", "blue"]
CAPTIONED_SHAPE = (3, 16, 16)


class CaptionedRows(Rows):
    """Images with captions, and the captions as text."""

    def __init__(self, every: Captioned, captions: list[str]) -> None:
        super().__init__(every)
        self.captions = captions


class NoisyCaptions(ImageData):
    """Random images of a colour, captioned "a red one" and the like: 4 batches of 8 in an epoch."""

    vocabulary: ClassVar[list[str]] = [*SPECIAL, "a", "one", *COLOURS]
    length = 4

    def __init__(self, batch_size: int = 8) -> None:
        super().__init__("NoisyCaptions", CAPTIONED_SHAPE, None, batch_size, 0)

    def load(self, split: Split) -> CaptionedRows:
        n, generator = 32 if split == "train" else 9, torch.Generator().manual_seed(5)
        colour = torch.arange(n) % 3
        image = torch.randint(128, (n, *CAPTIONED_SHAPE), generator=generator, dtype=torch.uint8)
        image[torch.arange(n), colour] += 127
        captions = [f"A {COLOURS[c]} one." for c in colour.tolist()]
        token = tokens_of(captions, self.vocabulary, self.length)
        wrong = token.roll(1, 0)
        if len(token) % 3 == 1:  # the first and the last have one colour
            wrong[0] = token[1]
        return CaptionedRows(Captioned(image, token, wrong), captions)


def text_to_image(*options: dict[str, Any], seed: int = 0, step: ImageStep = ImageStep(), **more: Any) -> TextToImage:
    """A tiny StackGAN for :class:`NoisyCaptions`: four batches of 8 see the text encoder's phase and both stages."""
    networks_ = {
        "text_encoder": partial(networks.GRUEncoder, embedding=4, dim=6),
        "generator_1": partial(networks.Stage1Generator, noise_dim=3, condition_dim=4, width=2),
        "discriminator_1": partial(networks.StackGANDiscriminator, condition_dim=3, width=4),
        "generator_2": partial(networks.Stage2Generator, condition_dim=4, width=4, blocks=1),
        "discriminator_2": partial(networks.StackGANDiscriminator, condition_dim=3, width=4),
        "image_encoder": partial(networks.ImageEncoder, width=4),
    }
    stages = {"stage_1_side": 8, "text_images": 8, "stage_1_images": 16}
    data = NoisyCaptions()
    arguments = {"image_shape": data.image_shape, "vocabulary": data.vocabulary, "length": data.length, "step": step}
    arguments |= networks_ | stages
    for option in (*options, more):
        arguments |= option
    torch.manual_seed(seed)
    return models.StackGAN(**arguments)


def without_batch_norm(module: nn.Module) -> Any:
    """The same module, in which samples never meet: for exact equality."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(parent, name, nn.Identity())
    return module


def translator(name: str, *options: dict[str, Any], seed: int = 0, step: Step = Step(), **more: Any) -> Translator:
    """A translator by name, tiny, with the kind of networks that its paper has."""
    arguments: dict[str, Any] = {"image_shape": SHAPE, "step": step} | TINY[name]
    for option in (*options, more):
        arguments |= option
    torch.manual_seed(seed)
    return getattr(models, name)(**arguments)


WITH_BATCH_NORM = ("ContextEncoder", "SRGAN")
PATCHES = partial(networks.PatchDiscriminator, layers=1, width=4)
TINY: dict[str, dict[str, Any]] = {
    "Pix2Pix": {"generator": partial(networks.UNetGenerator, width=4), "discriminator": PATCHES},
    "CycleGAN": {
        "generator": partial(networks.ResNetTranslator, width=4, blocks=1),
        "discriminator": PATCHES,
        "pool": 12,
    },
    "StarGAN": {
        "attributes": ["Left", "Right"],
        "generator": partial(networks.AttributeTranslator, width=4, blocks=1),
        "discriminator": partial(networks.AttributeDiscriminator, width=4, halvings=3),
        "n_critic": 2,
    },
    "SimGAN": {
        "generator": partial(networks.Refiner, width=4, blocks=1),
        "discriminator": partial(networks.LocalDiscriminator, width=4),
        "refiner_warmup": 1,
        "discriminator_warmup": 3,
        "history": 12,
    },
    "FaceSwap": {"generator": partial(networks.FaceSwapper, width=4, code=8), "discriminator": PATCHES},
    "ContextEncoder": {
        "generator": partial(networks.ContextGenerator, width=4, bottleneck=8),
        "discriminator": partial(networks.DCGANDiscriminator, width=4),
    },
    "SRGAN": {
        "generator": partial(networks.SRResNet, width=4, blocks=1),
        "discriminator": partial(networks.SRDiscriminator, width=4, units=8),
        "features": partial(networks.RandomFeatures, channels=1, width=4),
        "pretraining": 2,
    },
}


def own_networks(name: str, width: int = 4) -> dict[str, Any]:
    """The kind of networks that a model's paper has, at tiny width: with batch norm where it has it."""
    if name == "GAN":
        return {
            "generator": partial(networks.MLPGenerator, latent_dim=6, width=4 * width),
            "discriminator": partial(networks.MaxoutDiscriminator, units=width, pieces=2),
        }
    if name == "CGAN":
        units = {"label_units": width, "joint_units": 2 * width}
        return {
            "generator": partial(networks.ConditionalMLPGenerator, latent_dim=6, noise_units=width, **units),
            "discriminator": partial(networks.ConditionalMaxoutDiscriminator, image_units=width, **units),
        }
    if name == "ACGAN":
        return {
            "generator": partial(networks.DCGANGenerator, latent_dim=6, width=width),
            "discriminator": partial(networks.AuxiliaryDiscriminator, width=width),
        }
    if name == "BEGAN":
        return {
            "generator": partial(networks.BEGANGenerator, latent_dim=6, width=width),
            "discriminator": partial(networks.BEGANDiscriminator, hidden=6, width=width),
        }
    if name == "CoGAN":
        return {
            "generator": partial(networks.CoupledGenerator, latent_dim=6, width=width),
            "discriminator": partial(networks.CoupledDiscriminator, width=width, units=2 * width),
        }
    if name == "BigBiGAN":
        return {
            "generator": partial(networks.BigGANGenerator, latent_dim=6, embedding=width, width=width),
            "discriminator": partial(networks.BigBiGANDiscriminator, width=width, units=2 * width),
            "encoder": partial(networks.BigBiGANEncoder, width=width, units=2 * width),
        }
    if name == "InfoGAN":
        return {
            "generator": partial(networks.InfoGANGenerator, width=width),
            "discriminator": partial(networks.InfoGANDiscriminator, width=width),
        }
    if name == "LAPGAN":
        return {
            "coarsest_generator": partial(networks.MLPGenerator, latent_dim=6, width=2 * width),
            "coarsest_discriminator": partial(networks.MLPDiscriminator, width=2 * width, dropout=0.5),
            "generator": partial(networks.LAPGANGenerator, width=width),
            "discriminator": partial(networks.LAPGANDiscriminator, width=width),
            "conditional": True,
        }
    if name == "ImprovedGAN":
        return {
            "generator": partial(networks.ImprovedGenerator, latent_dim=6, width=width, reference=4),
            "discriminator": partial(networks.ImprovedDiscriminator, width=width, minibatch_kernels=3, reference=4),
        }
    if name in ("ProGAN", "StyleGAN"):
        maps = {"base": 16 * width, "widest": 4 * width}
        style = {"style_dim": 5, "mapping_layers": 2} if name == "StyleGAN" else {}
        generator = networks.StyleGANGenerator if name == "StyleGAN" else networks.ProGANGenerator
        return {
            "generator": partial(generator, latent_dim=6, **style, **maps),
            "discriminator": partial(networks.ProGANDiscriminator, blur=name == "StyleGAN", **maps),
            "growth": Growth(stabilise=16, fade=32),  # in four batches of `Noisy` the second level is whole
        }
    if name == "SAGAN":
        wide = {"width": 2 * width, "widest": 4 * width, "attention": 8}
        return {
            "generator": partial(networks.ResNetGenerator, latent_dim=6, spectral_norm=True, **wide),
            "discriminator": partial(networks.ResNetDiscriminator, plain_blocks=1, **wide),
        }
    if name == "BigGAN":
        wide = {"width": 2 * width, "attention": 8}
        return {
            "generator": partial(networks.BigGANGenerator, latent_dim=6, embedding=width, **wide),
            "discriminator": partial(networks.BigGANDiscriminator, **wide),
        }
    if name == "StyleGAN2":
        narrow = {"base": 16 * width, "widest": 2 * width}
        return {
            "generator": partial(networks.StyleGAN2Generator, latent_dim=6, style_dim=6, mapping_layers=2, **narrow),
            "discriminator": partial(networks.StyleGAN2Discriminator, **narrow),
        }
    if name in ("R3GAN", "R3GAN2"):
        sizes = {"width": width, "blocks": 1, "embedding": width}
        return {
            "generator": partial(getattr(networks, f"{name}Generator"), latent_dim=6, **sizes),
            "discriminator": partial(getattr(networks, f"{name}Discriminator"), **sizes),
            "conditional": True,
        }
    if name in ("SNGAN", "WGANGP"):
        spectral = name == "SNGAN"
        return {
            "generator": partial(networks.ResNetGenerator, latent_dim=6, width=width),
            "discriminator": partial(
                networks.ResNetDiscriminator, width=width, spectral_norm=spectral, sum_pool=spectral
            ),
        }
    return {
        "generator": partial(networks.DCGANGenerator, latent_dim=6, width=width),
        "discriminator": partial(networks.DCGANDiscriminator, width=width),
    }


class PlainAuxiliary(networks.MLPDiscriminator):
    """A perceptron that gives a score and class logits, as ACGAN's discriminator does."""

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int, width: int = 12) -> None:
        super().__init__(image_shape, width=width)
        self.layers[-1] = nn.Linear(width, 1 + num_classes)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (n,) and logits (n, num_classes)."""
        score, *logits = self.layers(image).unbind(1)
        return score, torch.stack(logits, 1)


class PlainLatent(networks.MLPGenerator):
    """A perceptron whose model says how long the latent is."""

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int, width: int = 12) -> None:
        super().__init__(image_shape, latent_dim=latent_dim, width=width)


class PlainHalves(networks.MLPDiscriminator):
    """A perceptron that gives scores of the left and the right half, as CoGAN's discriminator does."""

    def __init__(self, image_shape: tuple[int, int, int], width: int = 12) -> None:
        super().__init__((*image_shape[:2], image_shape[2] // 2), width=width)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Twice (n,) scores."""
        left, right = (self.layers(half).squeeze(1) for half in image.chunk(2, 3))
        return left, right


class PlainInfo(networks.MLPDiscriminator):
    """A perceptron that gives a score, category logits and means, as InfoGAN's discriminator does."""

    def __init__(self, image_shape: tuple[int, int, int], categories: int, continuous: int, width: int = 12) -> None:
        super().__init__(image_shape, width=width)
        self.layers[-1] = nn.Linear(width, 1 + categories + continuous)
        self.parts = [1, categories, continuous]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (n,), logits (n, categories) and means (n, continuous)."""
        score, logits, means = self.layers(image).split(self.parts, 1)
        return score.squeeze(1), logits, means


class PlainFeatures(networks.MLPDiscriminator):
    """A perceptron whose last hidden layer can be looked at, with minibatch discrimination over the whole batch."""

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int | None = None, width: int = 12) -> None:
        super().__init__(image_shape, width=width)
        self.minibatch, self.head = (
            MinibatchDiscrimination(width, 3, 2),
            nn.Linear(width + 3, num_classes or 1),
        )

    def features(self, image: Tensor) -> Tensor:
        """(n, width)."""
        return self.layers[:-1](image)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of the whole batch in training, (n,) in evaluation."""
        h = self.features(image)
        return self.head(self.minibatch(gather_batch(h) if self.training else h)).squeeze(1)


def plain_networks(name: str = "", width: int = 12) -> dict[str, Any]:
    """Perceptrons, in which a sample never meets another sample unless the model says so: for exact equality."""
    if name in ("BEGAN", "ProGAN", "StyleGAN"):  # in theirs samples meet in none, or in whole groups
        return own_networks(name)
    if name == "LAPGAN":  # its own without dropout
        exact = {"coarsest_discriminator": partial(networks.MLPDiscriminator, width=width)}
        return own_networks(name) | exact | {"discriminator": partial(networks.LAPGANDiscriminator, width=4, dropout=0)}
    if name == "StyleGAN2":  # its game is of styles
        return own_networks(name) | {"discriminator": partial(networks.MLPDiscriminator, width=width)}
    own = {"ACGAN": PlainAuxiliary, "InfoGAN": PlainInfo, "ImprovedGAN": PlainFeatures, "CoGAN": PlainHalves}
    latent = {} if name == "InfoGAN" else {"latent_dim": 6}
    generator = PlainLatent if name == "InfoGAN" else networks.MLPGenerator
    return {
        "generator": partial(generator, width=width, **latent),
        "discriminator": partial(own.get(name, networks.MLPDiscriminator), width=width),
    }


def sgd(lr: float = 0.05) -> dict[str, Any]:
    """Both players' optimizers."""
    return both(partial(torch.optim.SGD, lr=lr))


def adam(lr: float = 1e-2) -> dict[str, Any]:
    return both(partial(optim.PaperAdam, lr=lr, beta1=0.5, beta2=0.9))


def both(optimizer: Any) -> dict[str, Any]:
    return {"generator_optimizer": optimizer, "discriminator_optimizer": optimizer}


def tiny(
    name: str, *options: dict[str, Any], seed: int = 0, step: ImageStep = ImageStep(), **more: Any
) -> TwoPlayerGAN:
    """A model by name from the same initial weights each time; `options` such as `plain_networks()`, `sgd()`."""
    arguments: dict[str, Any] = {"image_shape": SHAPE, "step": step} | own_networks(name)
    if "num_classes" in inspect.signature(getattr(models, name)).parameters:
        arguments["num_classes"] = 2  # of `Noisy`
    for option in (*options, more):
        arguments |= option
    if "n_critic" not in inspect.signature(getattr(models, name)).parameters:  # a game whose papers have no such choice
        arguments.pop("n_critic", None)
    torch.manual_seed(seed)
    return getattr(models, name)(**arguments)


def played(name: str) -> Data:
    """Data of the kind that a game beyond two players of images needs."""
    return {
        "SeqGAN": lambda: OracleSequences(words=12, length=5, n=40, batch_size=8),
        "IRGAN": lambda: ImplicitFeedback(batch_size=8),
        "PredictabilityMinimization": lambda: FactorialPatterns(causes=3, n=40, batch_size=8),
        "SinGAN": lambda: SingleImage(max_size=24, min_size=12, batch_size=4),
    }[name]()


def game(name: str, *options: dict[str, Any], seed: int = 0, step: Step = Step(), **more: Any) -> AdversarialModule:
    """A game by name for `played(name)`, tiny: a few batches see all of its stages."""
    data, kind = played(name), getattr(models, name)
    facts = {fact: getattr(data, fact) for fact in LINKED_ARGUMENTS if fact in inspect.signature(kind).parameters}
    if issubclass(kind, ImageGenerator) and not isinstance(step, ImageStep):
        step = ImageStep(**vars(step), ema_half_life=0.0)
    arguments: dict[str, Any] = facts | {"step": step} | STAGED[name]
    for option in (*options, more):
        arguments |= option
    torch.manual_seed(seed)
    return kind(**arguments)


STAGED: dict[str, dict[str, Any]] = {
    "SeqGAN": {
        "generator": partial(networks.LSTMGenerator, embedding=4, hidden=6),
        "discriminator": partial(networks.TextDiscriminator, embedding=4, kernels=(1, 2), maps=(4, 4), dropout=0.0),
        "pretraining": 2,
        "discriminator_pretraining": 1,
        "discriminator_turns": 1,
        "rollouts": 2,
        "baseline": "mean",
    },
    "IRGAN": {
        "pretraining": 2,
        "discriminator_turns": 1,
        "generator_turns": 1,
        "samples": 4,
        "generator_optimizer": partial(torch.optim.SGD, lr=0.1),
        "discriminator_optimizer": partial(torch.optim.SGD, lr=0.1),
    },
    "PredictabilityMinimization": {"predictor_turns": 2, "reconstruction_weight": 1.0},
    "SinGAN": {  # without batch norm, in which a sample meets the others of its part
        "generator": partial(networks.SinGANGenerator, width=4, batch_norm=False),
        "discriminator": partial(networks.SinGANDiscriminators, width=4, batch_norm=False),
        "min_size": 12,
        "steps_per_scale": 2,
        "decay_after": 1,
        "discriminator_turns": 2,
        "generator_turns": 2,
    },
}


def made(name: str, exact: bool = False, **options: Any) -> tuple[AdversarialModule, Data]:
    """A tiny model of a name and its data.

    Args:
        exact: with optimizers whose step is continuous in the gradient, as Adam's first ones are not.
    """
    optimizers = sgd(1e-2) if exact else {}
    if name in GANS:
        return tiny(name, own_networks(name), optimizers, step=ImageStep(**options)), Noisy()
    if name in TRANSLATORS:
        return translator(name, optimizers, step=Step(**options)), NoisyBatches(name)
    if name in TEXT_TO_IMAGE:
        matching = {"text_optimizer": optimizers["generator_optimizer"]} if exact else {}
        return text_to_image(optimizers, matching, step=ImageStep(**options)), NoisyCaptions()
    kind = ImageStep if issubclass(getattr(models, name), ImageGenerator) else Step
    return game(name, step=kind(**options)), played(name)


def quiet(**options: Any) -> Trainer:
    """A CPU trainer that writes and prints nothing."""
    silent: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "limit_val_batches": 0,
        "max_epochs": -1,
    }
    return Trainer(**(silent | options))


def trained(model: LightningModule, steps: int, data: ImageData | None = None, **options: Any) -> Trainer:
    """The trainer after `steps` generator steps of a model (and from `ckpt_path`, where given)."""
    ckpt_path = options.pop("ckpt_path", None)
    trainer = quiet(max_steps=steps, **options)
    trainer.fit(model, data or Noisy(), ckpt_path=ckpt_path)
    return trainer


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def run_in_copies(act: Callable[..., object], arguments: list[tuple[Any, ...]]) -> None:
    """Call `act(*given)` for each of the arguments, all at once, in copies of this process, which must end well.

    Copies have nothing to import, which takes each new process ten seconds of a core.
    """
    if not hasattr(os, "fork"):
        pytest.skip("copies a process")
    fork, deadline = multiprocessing.get_context("fork"), time.monotonic() + 500
    copies = [fork.Process(target=act, args=given) for given in arguments]
    for copy in copies:
        copy.start()
    for copy in copies:
        copy.join(max(deadline - time.monotonic(), 0))
        copy.kill()  # one that hangs; others have ended
        copy.join()
    assert [copy.exitcode for copy in copies] == [0] * len(copies)


def in_two_processes(act: Callable[[Path], dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """What `act(folder)` returns in each of two copies of this process, which find each other as Lightning's do.

    They share a cache in the folder. test_processes.py starts its own processes, as a user would.
    """
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "NODE_RANK": "0", "WORLD_SIZE": "2"}
    shared["GAN_LIGHTNING_CACHE"] = str(folder / "cache")
    run_in_copies(_as_rank, [(rank, shared, act, folder) for rank in (0, 1)])
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def _as_rank(rank: int, shared: dict[str, str], act: Callable[[Path], dict[str, Any]], folder: Path) -> None:
    os.environ |= shared | {"LOCAL_RANK": str(rank)}
    os.environ.pop("PL_GLOBAL_SEED", None)
    rank_zero_only.rank = rank  # as at an import
    torch.manual_seed(0)
    torch.save(act(folder), folder / f"{rank}.pt")


class SaveAt(Callback):
    """Save a checkpoint at the end of some batches, and at the end of an epoch."""

    def __init__(self, folder: Path, batches: list[int], epoch_end: int = -1) -> None:
        self.folder, self.batches, self.epoch_end = folder, batches, epoch_end

    def on_train_batch_end(self, trainer: Trainer, model: AdversarialModule, *_: Any) -> None:
        if model.iteration in self.batches:
            trainer.save_checkpoint(self.folder / f"batch{model.iteration}.ckpt")

    def on_train_epoch_end(self, trainer: Trainer, model: AdversarialModule) -> None:
        if model.iteration == self.epoch_end:
            trainer.save_checkpoint(self.folder / "epoch.ckpt")


def last_step(metrics: Path) -> int:
    """The step of the last whole line of a `metrics.csv` that a run is writing; -1 before there is one."""
    text = metrics.read_text()
    rows = list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))
    return int(rows[-1]["step"]) if rows else -1


def finish_wandb() -> None:
    """Let W&B write all that it holds, and end its own process: until then the file may lack its last records.

    It also reads the environment once in a process, so that one test's mode would be the next one's.
    """
    import wandb

    wandb.finish()
    wandb.teardown()
    for name in ("WANDB_SERVICE", "WANDB_DATA_DIR"):
        os.environ.pop(name, None)


@contextmanager
def within_turn(model: AdversarialModule, number: int | None = None) -> Iterator[None]:
    """Random numbers as in a turn, its `number`-th of the batch, for losses that a test computes outside of one."""
    before = model._turn_in_batch
    model._turn_in_batch = before if number is None else number
    try:
        with model._part(0, None):
            yield
    finally:
        model._turn_in_batch = before


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the tensors of a state_dict."""
    return {name: value.clone() for name, value in module.state_dict().items() if torch.is_tensor(value)}


class NoNumbers(Noise):
    """Noise of a shape alone."""

    def _rows(self, draw: Any, n: int, shape: tuple[int, ...]) -> Tensor:
        return torch.empty(n, *shape)


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Networks and images without numbers, and without spectral norm's iterations on them, which take most time."""
    no_power = patch.object(parametrizations._SpectralNorm, "_power_method", lambda *_: None)
    with torch.device("meta"), no_power, drawn_by_layers(NoNumbers()):
        yield


def gap(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The relative error of all tensors together, |a - b| / |b|."""
    assert a.keys() == b.keys()
    difference = sum((a[name].double() - b[name].double()).square().sum() for name in a)
    return float((difference / sum(value.double().square().sum() for value in b.values())).sqrt())


def assert_same(a: Any, b: Any, where: str = "") -> None:
    """Equal in every bit, however the containers are nested."""
    if torch.is_tensor(a):
        assert torch.equal(a, b), f"{where} differs by up to {(a.double() - b.double()).abs().max()}"
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for name in a:
            assert_same(a[name], b[name], f"{where}/{name}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for index, (left, right) in enumerate(zip(a, b, strict=True)):
            assert_same(left, right, f"{where}/{index}")
    else:
        assert a == b, f"{where}: {a} is not {b}"


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers that depend on the seed alone."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_inception(path: Path) -> Path:
    """A weights file of Inception's form, with random weights that keep activations at a sane size."""
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    class Random(theirs.FeatureExtractorInceptionV3):
        def load_state_dict(self, state: None) -> None:
            torch.manual_seed(0)
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                elif isinstance(layer, nn.BatchNorm2d):
                    layer.running_mean.normal_(0, 0.1)
                    layer.running_var.uniform_(0.5, 1.5)
                    nn.init.uniform_(layer.weight, 0.8, 1.2)
                    nn.init.normal_(layer.bias, 0, 0.1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: None)
        torch.save(Random("random", ["2048"]).state_dict(), path)
    return path


@pytest.fixture
def signals_at_default() -> Iterator[None]:
    """As a shell starts a program: nothing is ignored, as it would be where pytest itself runs under nohup."""
    ordinary = {name: signal.SIG_DFL for name in ("SIGTERM", "SIGHUP", "SIGUSR1")} | {
        "SIGINT": signal.default_int_handler
    }
    before = {name: signal.signal(getattr(signal, name), handler) for name, handler in ordinary.items()}
    yield
    for name, handler in before.items():
        assert signal.getsignal(getattr(signal, name)) == ordinary[name], f"{name} is still handled"
        signal.signal(getattr(signal, name), handler)


@pytest.fixture(autouse=True)
def own_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees another's `seed_everything`."""
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    torch.manual_seed(0)
