"""Generative adversarial networks, one paper a file, on PyTorch Lightning."""

import warnings
from typing import Any

__version__ = "0.1.0"

# What Lightning says of every GAN here, and is meant to be so: there is no validation step, since scores are callbacks;
# the generator's average and the extractors stay in evaluation mode; factories are no plain values, and checkpoints
# hold their import paths; a network that a model builds and hands to its base is no argument of its own; log lines are
# so many batches apart, in whatever epochs these are; a float16 scaler skips steps while it looks for its scale, and
# schedules go on. And Lightning 2.6 uses a torch name that is to go.
for _advice in (
    "no `validation_step`",
    "in eval mode at the start",
    "removed from hparams",
    "already saved during checkpointing",
    "logging interval",
    "Detected call of `lr_scheduler.step",
    "LeafSpec",
):
    warnings.filterwarnings("ignore", f".*{_advice}")


def __getattr__(name: str) -> Any:
    """What builds models, loaded when it is used: a mistyped flag is answered before torch is there."""
    if name in ("build", "load", "load_model"):
        from gan_lightning import loading

        return getattr(loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
