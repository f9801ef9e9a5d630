"""Images of products by category: a part of Fashion-MNIST. Returns are made of them, by damage to the images.

rows    item category image (784 bytes: 28 rows of 28 pixels, the item bright on black)
"""

import polars as pl

from tidegate.api.data import Column, Dataset, Rule

CATEGORIES = ("t_shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot")
PIXELS = 28 * 28

DATASET = Dataset(
    name="products",
    columns={
        "item": Column(("item",), "identifier"),
        "category": Column(("category",), "category", values=CATEGORIES),
        "image": Column(("image",), "bytes"),
    },
    identity=("item",),
    rules=(Rule("no_image", pl.col("image").bin.size() != PIXELS, "not an image of 28 x 28 pixels"),),
)
