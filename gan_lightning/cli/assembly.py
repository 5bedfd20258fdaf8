"""A model of ours put together of networks that were found in files of other programs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gan_lightning import loading, networks
from gan_lightning.core import AdversarialModule
from gan_lightning.networks.peers import Layout
from gan_lightning.runtime.sizes import Size, sides_of, size_of

SETTINGS = {  # what no shape shows -> its argument here
    "synthesis.b4.conv1.conv_clamp": "clamp",
    "b4.conv.conv_clamp": "clamp",
    "b4.mbstd.group_size": "group",
}
FIXED = {"activation": ("lrelu", "linear"), "mapping.fc0.bias_gain": (0.01,)}  # ends of settings -> what ours have
# Arguments that a discriminator that begins anew has in common with its generator.
SHARED = ("base", "widest", "clamp", "mapping_layers", "width", "blocks", "group", "expansion", "taps", "attention")
WRAPPERS = ("", "module", "_orig_mod", "model_state_dict")  # what programs save a network within
HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")  # an image has one at the most
CELEBA = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")  # StarGAN's attributes, in its code's order
RAFD = ("angry", "contemptuous", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")
SIZES = {"CycleGAN": 256, "Pix2Pix": 256, "StarGAN": 128}  # of the papers


class Network(NamedTuple):
    """One network of a file.

    Attributes:
        name: that the file has for it, such as "G_ema"; empty in a file of one network.
        stem: the file's name, without its ending.
        layout: whose names its tensors have.
        weights, settings: by the names within it.
    """

    name: str
    stem: str
    layout: Layout
    weights: dict[str, Tensor]
    settings: dict[str, Any]

    @property
    def kind(self) -> str:
        return self.layout.kind

    @property
    def own_name(self) -> str:
        """The name that says which network it is: the file's where all that it has are names of wrappers."""
        return ".".join(part for part in self.name.split(".") if part not in WRAPPERS) or self.stem

    @property
    def averaged(self) -> bool:
        return "ema" in self.own_name.lower()

    @property
    def channels(self) -> int:
        return self.arguments()["image_shape"][0]

    def called(self, several: bool) -> str:
        """What to call it in a line, where there are several files or one."""
        return self.own_name if several else self.name or "the file"

    def arguments(self) -> dict[str, Any]:
        """The arguments of our network of the same kind, `image_shape` among them.

        Raises:
            ValueError: one of its settings is not what ours has.
        """
        for name, value in self.settings.items():
            for end, known in FIXED.items():
                if name.endswith(end) and value not in known:
                    ours = " or ".join(map(repr, known))
                    raise ValueError(f"its {name} is {value!r}: {self.layout.model} has {ours} here")
        found = self.layout.arguments(self.weights)
        return found | {ours: self.settings[name] for name, ours in SETTINGS.items() if name in self.settings}

    def load_into(self, network: nn.Module, assign: bool = False) -> None:
        network.load_state_dict(self.layout.ours(self.weights), assign=assign)

    def check(self) -> None:
        """Compare names and shapes with ours before memory is taken: a few bytes can stand for any size.

        Raises:
            Exception: see :func:`model_of`.
        """
        arguments = self.arguments()
        channels, *sides = arguments["image_shape"]
        multiple = 2 ** arguments.get("halvings", 6)  # sides that no tensor shows do not matter here
        arguments["image_shape"] = (channels, *(side or multiple for side in sides))
        with torch.device("meta"):
            ours = getattr(networks, self.layout.network)(**arguments)
        self.load_into(ours, assign=True)


class Converted(NamedTuple):
    """A model, and where its weights are from.

    Attributes:
        model: ours.
        players: by what to call it, each network of ours and that of the file; None for one that begins anew.
        notes: what no tensor shows, by name.
    """

    model: AdversarialModule
    players: dict[str, tuple[nn.Module, Network | None]]
    notes: dict[str, str]


def model_of(found: Sequence[Network], size: Size | None = None, attributes: str | None = None) -> Converted:
    """The model of the networks of some files.

    Args:
        found: with a generator among them.
        size: of images, where no tensor shows it; None for the paper's.
        attributes: names with commas between, of StarGAN; None for those of its code.

    Raises:
        Exception: weights are missing, fit no network of ours or none of the others, or an argument is for others.
    """
    model = next(network for network in found if network.kind == "Generator").layout.model
    if attributes is not None and model != "StarGAN":
        raise ValueError(f"--attributes is for StarGAN, and this is {model}")
    for network in found:
        network.check()
    if model in ("CycleGAN", "Pix2Pix"):
        made = translator(found, size)
    elif model == "StarGAN":
        made = attribute_translator(found, size, attributes)
    else:
        made = image_generator([network for network in found if network.layout.model == model], size)
    for ours, network in made.players.values():
        if network is not None:
            network.load_into(ours)
    return made


def image_generator(found: Sequence[Network], size: Size | None) -> Converted:
    """A generator of images: its networks are "generator", "average" and "discriminator".

    Without an average the generator is its own; without a generator but for an average, that is the generator; a
    discriminator that the files do not have begins anew, as wide as the generator.
    """
    generators = [network for network in found if network.kind == "Generator"]
    average = next((network for network in generators if network.averaged), generators[0])
    live = next((network for network in generators if not network.averaged), average)
    judge = next((network for network in found if network.kind == "Discriminator"), None)
    arguments = live.arguments()
    facts = {name: arguments.pop(name) for name in ("image_shape", "num_classes")}
    _require_size(facts["image_shape"], size)
    if judge is None:
        others = {name: value for name, value in arguments.items() if name in SHARED}
        network = DISCRIMINATORS[live.layout.model]
    else:
        others, network = judge.arguments(), judge.layout.network
        for name, value in facts.items():
            if (its := others.pop(name)) != value:
                raise ValueError(
                    f"the generator's {name} is {value}, the discriminator's {its}: they are of two models"
                )
    if live.layout.model in ("StyleGAN2", "R3GAN"):
        facts["conditional"] = facts["num_classes"] is not None
    model = loading.build(
        live.layout.model,
        **facts,
        generator=_described(live.layout.network, arguments),
        discriminator=_described(network, others),
    )
    players = {"generator": (model.generator, live), "average": (model.ema.network, average)}
    return Converted(model, players | {"discriminator": (model.discriminator, judge)}, {})


DISCRIMINATORS = {  # that begin anew
    "StyleGAN2": "StyleGAN2Discriminator",
    "R3GAN": "R3GANDiscriminator",
    "BigGAN": "BigGANDiscriminator",
    "SNGAN": "ResNetDiscriminator",
}


def translator(found: Sequence[Network], size: Size | None) -> Converted:
    """CycleGAN or Pix2Pix: what it is, a discriminator says, which sees one image or two.

    Without one, a U-Net alone is Pix2Pix's, and a ResNet CycleGAN's. Theirs calls discriminators after the generator
    whose images they judge: D_A judges those of G_A, which are of domain B.
    """
    generators = [network for network in found if network.kind == "Generator"]
    judges = [network for network in found if network.kind == "Discriminator"]
    first, channels = generators[0], generators[0].channels
    pairs = [judge.channels == 2 * channels for judge in judges]
    paired = all(pairs) if pairs else first.layout.model == "Pix2Pix" and len(generators) == 1
    made, arguments = _common(generators, "generators")
    judged, judge_arguments = _common(judges, "discriminators")
    if not made.keys() <= ({"A"} if paired else {"A", "B"}) or (paired and len(judges) > 1):
        raise ValueError("Pix2Pix has one generator and one discriminator: leave out the others")
    kind = "Pix2Pix" if paired else "CycleGAN"
    usual = 2 ** arguments["halvings"] if "halvings" in arguments else SIZES[kind]
    sides = sides_of(usual if size is None else size)
    model = loading.build(
        kind,
        image_shape=(channels, *sides),
        generator=_described(first.layout.network, arguments),
        discriminator=_described("PatchDiscriminator", judge_arguments or {"affine": paired}),
    )
    note = {} if size is not None else {"size": f"{size_of(sides)} px, the usual one; no tensor shows it: --size"}
    if paired:
        players = {"generator": (model.generator, made["A"]), "discriminator": (model.discriminator, judged.get("A"))}
        return Converted(model, players, note)
    players = {f"G {way}": (model.generator[at], made.get("AB"[at])) for at, way in enumerate(model.directions)}
    players |= {f"D of {'AB'[at]}": (model.discriminator[at], judged.get("BA"[at])) for at in range(2)}
    return Converted(model, players, note)


def attribute_translator(found: Sequence[Network], size: Size | None, names: str | None) -> Converted:
    """StarGAN."""
    made = {kind: [network for network in found if network.kind == kind] for kind in ("Generator", "Discriminator")}
    if any(len(networks) > 1 for networks in made.values()):
        raise ValueError("StarGAN has one generator and one discriminator: leave out the others")
    (generator,), judge = made["Generator"], next(iter(made["Discriminator"]), None)
    arguments = generator.arguments()
    channels, count = arguments.pop("image_shape")[0], arguments.pop("attributes")
    given = names.split(",") if names else list({5: CELEBA, 8: RAFD}.get(count, ()))
    if len(given) != count:
        raise ValueError(f"main.0.weight is of {count} attributes: name as many by --attributes, not {len(given)}")
    notes = {} if names else {"attributes": f"{', '.join(given)}, as in its code; no tensor shows them: --attributes"}
    others: dict[str, Any] = {}
    sides = sides_of(SIZES["StarGAN"] if size is None else size)
    if judge is not None:
        others = judge.arguments()
        shape, own = others.pop("image_shape"), others.pop("attributes")
        if (shape[0], own) != (channels, count):
            raise ValueError(f"conv2.weight is of {own} attributes, main.0.weight of {count}: trained on two data sets")
        _require_size(shape, size)
        sides = tuple(shape[1:])
    elif size is None:
        notes["size"] = f"{size_of(sides)} px, the usual one; no tensor shows it: --size"
    model = loading.build(
        "StarGAN",
        image_shape=(channels, *sides),
        attributes=given,
        exclusive=given if given == list(RAFD) else [name for name in given if name in HAIR] or None,
        generator=_described(generator.layout.network, arguments),
        discriminator=_described("AttributeDiscriminator", others),
    )
    players = {"generator": (model.generator, generator), "discriminator": (model.discriminator, judge)}
    return Converted(model, players, notes)


def _common(networks: Sequence[Network], what: str) -> tuple[dict[str, Network], dict[str, Any]]:
    """Networks by their letter A or B, and the arguments that all have; the file's name has the letter, or the order.

    Raises:
        ValueError: two have the same letter, or other arguments.
    """
    placed: dict[str, Network] = {}
    arguments: dict[str, Any] = {}
    for network in networks:
        letter = re.search(r"(?:^|_)([AB])$", network.own_name)
        place = letter[1] if letter else next((free for free in "AB" if free not in placed), "")
        if not place or place in placed:
            raise ValueError(f"{network.stem}: there are too many {what}, or two of {place or 'one letter'}")
        own = network.arguments()
        del own["image_shape"]
        if placed and own != arguments:
            raise ValueError(f"{network.stem}: the two {what} differ in width or depth, and ours are alike")
        placed[place], arguments = network, own
    return placed, arguments


def _require_size(shape: Sequence[int], size: Size | None) -> None:
    if size is not None and sides_of(size) != tuple(shape[1:]):
        raise ValueError(f"--size {size}: the tensors are those of {size_of(tuple(shape[1:]))} px, leave it out")


def _described(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"class_path": f"{networks.__name__}.{name}", "init_args": arguments}
