"""Train the classifier whose features the digit scores are made of, and write its weights into the package.

    python -m scripts.train_digit_features [--mnist ROOT] [--out FILE]

It sees the training parts of MNIST and of scikit-learn's digits, shrunk and enlarged as they are between 8 and 64 px
and shifted a little, so that it knows both kinds of digit at every size that they are generated in. About five minutes
on two cores. Training again gives other features: scores made with them cannot be compared with older ones, which is
why `gan_lightning/metrics/digits.py` names the weights that it accepts by their SHA-256.
"""

from __future__ import annotations

import argparse
import hashlib
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_lightning.data import MNIST, Digits
from gan_lightning.metrics.digits import WEIGHTS, classifier, prepare


def augment(images: Tensor, draw: torch.Generator) -> Tensor:
    """Give a batch (B, 1, 28, 28) in [0, 1] the sharpness of another size, and shift each image by up to 2 px."""
    size = (8, 12, 16, 20, 28, 28, 32, 64)[torch.randint(8, (), generator=draw)]
    images = F.interpolate(
        F.interpolate(images, size, mode="bilinear", antialias=True), 28, mode="bilinear", antialias=True
    )
    windows = F.pad(images, (2, 2, 2, 2)).unfold(2, 28, 1).unfold(3, 28, 1)  # (B, 1, 5, 5, 28, 28)
    down, right = torch.randint(5, (2, len(images)), generator=draw)
    return windows[torch.arange(len(images)), :, down, right]


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of uint8 images (N, 1, H, W) that are classified right."""
    predictions = torch.cat([network(prepare(part)).argmax(1) for part in images.split(500)])
    return (predictions == labels).double().mean().item()


def train(images: Tensor, labels: Tensor, epochs: int, batch_size: int = 128, seed: int = 0) -> nn.Sequential:
    """Fit the classifier to uint8 images (N, 1, 28, 28)."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    network = classifier()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    steps = epochs * (len(images) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    start = time.perf_counter()
    for epoch in range(1, epochs + 1):
        for rows in torch.randperm(len(images), generator=draw).split(batch_size)[: len(images) // batch_size]:
            loss = F.cross_entropy(network(augment(prepare(images[rows]), draw)), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch}/{epochs}: loss {loss.item():.4f}, {time.perf_counter() - start:.0f} s", flush=True)
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", metavar="ROOT", help="MNIST's folder; by default as for --data MNIST")
    parser.add_argument("--out", default=str(WEIGHTS), help="the file to write")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()

    mnist, digits = MNIST(root=options.mnist), Digits(size=28)
    written, scanned = mnist.reference("train"), digits.reference("train")
    repeats = 8  # of 1,500 digits to 60,000: a sixth of what is seen
    images = torch.cat([written.image, scanned.image.repeat(repeats, 1, 1, 1)])
    labels = torch.cat([written.label, scanned.label.repeat(repeats)])
    network = train(images, labels, options.epochs)

    torch.save(network.state_dict(), options.out)
    for size in (28, 32, 64):
        for data in (MNIST(size=size, root=options.mnist), Digits(size=size)):
            held_out = data.reference("val")
            print(f"{data.name} held out, {size} px: {accuracy(network, held_out.image, held_out.label):.2%}")
    with open(options.out, "rb") as file:
        print(f"SHA-256, for gan_lightning/metrics/digits.py: {hashlib.sha256(file.read()).hexdigest()}")


if __name__ == "__main__":
    main()
