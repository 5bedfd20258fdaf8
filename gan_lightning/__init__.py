"""Generative adversarial networks, one paper a file, on PyTorch Lightning."""

import warnings

# What Lightning says of every GAN here, and what is meant: there is no validation step, since scores are callbacks; the
# generator's average and the extractors stay in evaluation mode; and Lightning 2.6 uses a torch name that is to go.
warnings.filterwarnings("ignore", ".*(no `validation_step`|in eval mode at the start|LeafSpec)")

__version__ = "0.1.0"
