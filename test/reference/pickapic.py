"""Writes test/fixtures/datasets/pickapic.parquet as pyarrow writes it (the columns of Pick-a-Pic v2, no offset index), and pickapic-zstd.parquet.

Run by hand: python test/reference/pickapic.py. Needs pyarrow, pillow.
"""

import importlib.metadata
import io
import json
import pathlib

import pyarrow
import pyarrow.parquet
from PIL import Image

FOLDER = pathlib.Path(__file__).parent.parent / "fixtures" / "datasets"
FORMATS = ["PNG", "JPEG", "WEBP"]
# 1: jpg_0 preferred; 0: jpg_1; 0.5: a tie; None: no label
LABELS = [1.0, 0.0, 0.5, 1.0, None, 0.0]


def encoded(level, form):
    """A grey picture of 8 x 6 pixels, whose level every format keeps."""
    out = io.BytesIO()
    Image.new("RGB", (8, 6), (level, level, level)).save(out, form, quality=95, lossless=True)
    return out.getvalue()


rows = [
    {
        "are_different": label != 0.5,
        "best_image_uid": f"best-{i}",
        "caption": f"ein grauer Würfel {i}",
        "has_label": label is not None,
        "image_0_uid": f"{i}-0",
        "image_1_uid": f"{i}-1",
        "jpg_0": encoded(20 * i + 10, FORMATS[i % 3]),
        "jpg_1": encoded(20 * i + 15, FORMATS[(i + 1) % 3]),
        "label_0": label,
        "label_1": None if label is None else 1 - label,
        "model_0": "a",
        "model_1": "b",
        "ranking_id": i,
        "user_id": 7,
        "num_example_per_prompt": 1,
    }
    for i, label in enumerate(LABELS)
]
table = pyarrow.Table.from_pylist(rows)
table = table.set_column(table.schema.get_field_index("label_0"), "label_0", pyarrow.array(LABELS, pyarrow.float64()))
made = " ".join(["python test/reference/pickapic.py:"] + [f"{n} {importlib.metadata.version(n)}" for n in ["pyarrow", "pillow"]])
table = table.replace_schema_metadata({"made": made})
pyarrow.parquet.write_table(table, FOLDER / "pickapic.parquet", row_group_size=4)
pyarrow.parquet.write_table(table, FOLDER / "pickapic-zstd.parquet", compression="zstd")
print(json.dumps({p.name: p.stat().st_size for p in sorted(FOLDER.iterdir())}))
