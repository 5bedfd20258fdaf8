"""Pictures in shards, of a folder or an object store."""

from __future__ import annotations

from typing import Any

from gan_lightning.data.base import ImageData
from gan_lightning.data.decoding import MODES
from gan_lightning.data.sets import Examples, Split
from gan_lightning.data.shards import Beside, Shards, index_of
from gan_lightning.data.store import MEGABYTE, Store, located, require_room
from gan_lightning.runtime.errors import nearest, printable
from gan_lightning.runtime.reading import MAX_PIXELS, Reading
from gan_lightning.runtime.sizes import Size, sides_of
from gan_lightning.text import Unit, vocabulary_from


class StreamedImages(ImageData):
    """Pictures in shards that `python -m gan_lightning.pack` has made, in a folder or by URL.

    Shards are tar files in the layout of webdataset, with a table of their rows at the end, so that any picture is one
    read. The order of training is a function of the seed and the epoch: the shards in random order, the pictures of
    `window` megabytes of consecutive shards mixed; on any number of processes and workers, and from any batch on. A
    worker holds open the shards of one window; memory does not grow with the number of pictures. Each machine fetches
    each shard of a URL, the next window while one trains, into a folder of at most `cache_size` megabytes.

    Batches are `Captioned` where the shards have captions, else `Attributed` where they have attributes, else
    `Labeled`; `beside` chooses. A wrong caption is one of another picture of the same shard. Pictures that were held
    out when the shards were packed validate.

    Args:
        root: the folder of the shards, or its URL: file://, s3://, gs://, hf://datasets/USER/NAME, http:// and others
            of fsspec.
        size: of the images, one number for both sides or [height, width]; the middle is taken in its proportions.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA); any number of .npy files.
        flip: mirror training images left to right at random.
        beside: "classes", "attributes" or "captions"; None for the last of these that the shards have.
        attributes: names, in the order of the columns; None for all.
        unit: what a token of captions is, a "word" or a "character".
        length: tokens of a caption, longer ones are cut; None for the longest of the training captions.
        min_count: occurrences in the training captions that a word of the vocabulary has.
        window: megabytes of shards that are mixed.
        cache_size: megabytes of fetched shards that each machine keeps, of all sets together, in
            $GAN_LIGHTNING_CACHE/shards.
        batch_size: over all processes.
        num_workers: loader processes.
        white: the level that is white, 4095 for 12 bits in files of 16; None for the greatest of each file's type.
        max_pixels: a picture of more is refused before it is decoded.

    Raises:
        FileNotFoundError: there is no index.
        OSError: a URL cannot be read.
        ValueError: the index is damaged, the shards do not have what is asked for, a URL needs a package, or an
            argument is out of range.
    """

    def __init__(
        self,
        root: str,
        size: Size = 64,
        channels: int = 3,
        flip: bool = False,
        beside: Beside | None = None,
        attributes: list[str] | None = None,
        unit: Unit = "word",
        length: int | None = None,
        min_count: int = 1,
        window: int = 1024,
        cache_size: int = 50_000,
        batch_size: int = 64,
        num_workers: int = 2,
        white: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        sides = sides_of(size)
        if window < 1 or min_count < 1 or (length is not None and length < 1):
            raise ValueError(f"window ({window}), min_count ({min_count}) and length ({length}) must be at least 1")
        self.root, self.store = located(root), Store(cache_size * MEGABYTE)
        self.index, self.window, self.reading = index_of(self.root), window, Reading(white, max_pixels)
        self.beside = self._beside(beside)
        classes = self.index["classes"] if self.beside == "classes" else None
        name = f"StreamedImages({printable(self.root)})"
        super().__init__(name, (channels, *sides), len(classes) if classes else None, batch_size, num_workers, flip)
        if channels not in MODES and not self.index["arrays"]:
            raise ValueError(f"channels must be 1 (grey), 3 (RGB) or 4 (RGBA) for image files, not {channels}")
        self.classes, self._columns = classes, []
        if self.beside == "attributes":
            self.attributes = list(self.index["attributes"] if attributes is None else attributes)
            self._columns = self._columns_of(self.attributes)
        elif attributes is not None:
            raise ValueError(f"{name}: attributes are asked for, and beside is {self.beside!r}")
        if self.beside == "captions":
            counted = self.index["captions"][unit]
            self.vocabulary = vocabulary_from(counted["counts"], unit, min_count)
            self.length = counted["longest"] if length is None else length
        sizes = [shard["bytes"] for shards in self.index["shards"].values() for shard in shards]
        require_room(self.name, self.root, self.store, window, sizes)

    def _beside(self, asked: Beside | None) -> Beside:
        kinds: tuple[Beside, ...] = ("captions", "attributes", "classes")
        has = [kind for kind in kinds if self.index[kind]]
        if asked is None or asked in has:
            return asked or (has[0] if has else "classes")
        raise ValueError(
            f"{printable(self.root)} has no {asked}, but {' and '.join(has) or 'pictures alone'}"
            f"{nearest(asked, kinds)}: pack it with --{asked}, or leave out --data.beside"
        )

    def _columns_of(self, names: list[str]) -> list[int]:
        known = self.index["attributes"]
        for name in names:
            if name not in known:
                raise ValueError(
                    f"{self.name} has the attributes {', '.join(known)}, not {name!r}{nearest(name, known)}"
                )
        if not names or len(set(names)) < len(names):
            raise ValueError(f"attributes must be one or more different names, not {names}")
        return [known.index(name) for name in names]

    def load(self, split: Split) -> Shards:
        vocabulary, length = self.vocabulary or [], self.length or 0
        given: Any = self.window, self.beside, self._columns, vocabulary, length, self.reading
        return Shards(self.root, self.store, self.index, split, self.image_shape, *given)

    def setup(self, stage: str) -> None:
        """Look whether all shards are there, which takes one look at each; see :meth:`ImageData.setup`."""
        for split in ("train", "val"):
            self.reference(split).check()
        super().setup(stage)

    def training_set(self) -> Examples:
        return self.reference("train").in_training(self._seed)
