"""Makes the product images that ship with the product: `python features/data/make_products.py FASHION_MNIST_FOLDER`.

The folder holds `train-images-idx3-ubyte.gz` and `train-labels-idx1-ubyte.gz` as published. products.parquet has the first
12,000 images (item, category, image: 784 bytes, row by row, the item bright on black), in the order that compresses best.
They are as published; damage is made when a model is trained (pipelines/returns/damage.py)."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

IMAGES = 12_000
PIXELS = 28 * 28
CATEGORIES = ("t_shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot")
TARGET = Path(__file__).parent / "products.parquet"


def main(source: Path) -> None:
    import polars as pl

    images = gzip.decompress((source / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((source / "train-labels-idx1-ubyte.gz").read_bytes())[8:]
    pixels = [images[at : at + PIXELS] for at in range(0, IMAGES * PIXELS, PIXELS)]
    order = sorted(range(IMAGES), key=lambda i: (labels[i], sum(pixels[i])))
    table = pl.DataFrame(
        {
            "item": [f"item-{i:05d}" for i in order],
            "category": [CATEGORIES[labels[i]] for i in order],
            "image": pl.Series([pixels[i] for i in order], dtype=pl.Binary),
        }
    )
    table.write_parquet(TARGET, compression="zstd", compression_level=19, row_group_size=IMAGES, statistics=False)
    sys.stdout.write(f"{TARGET.name}: {len(table):,} images, {TARGET.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python make_products.py FASHION_MNIST_FOLDER")
    main(Path(sys.argv[1]))
