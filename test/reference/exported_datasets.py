"""Reads what `laurel export` wrote the way other programs do, and prints what they see.

Run by hand: python test/reference/exported_datasets.py FOLDER, where FOLDER holds
    pairs.parquet   laurel export preferences RUN... --out FOLDER/pairs.parquet
    pairs/          laurel export preferences RUN... --format imagefolder --out FOLDER/pairs
    shards/         laurel export preferences RUN... --format webdataset --shard-size 1 --out FOLDER/shards
    images/         laurel export images RUN... --out FOLDER/images
    image-shards/   laurel export images RUN... --format webdataset --out FOLDER/image-shards
Needs pyarrow, pandas, pillow, datasets, webdataset.
"""

import glob
import hashlib
import importlib.metadata
import io
import json
import os
import re
import sys
import tarfile

import pandas
import pyarrow.parquet
from PIL import Image

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("HF_DATASETS_CACHE", os.path.join(sys.argv[1], ".cache"))
import datasets  # noqa: E402
import webdataset  # noqa: E402

folder = sys.argv[1]


def in_folder(name):
    return os.path.join(folder, name)


def digest(image):
    return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()


def versions():
    for name in ["pyarrow", "pandas", "pillow", "datasets", "webdataset"]:
        print(name, importlib.metadata.version(name))


def parquet():
    path = in_folder("pairs.parquet")
    file = pyarrow.parquet.ParquetFile(path)
    print("parquet:", file.metadata.num_rows, "rows in", file.metadata.num_row_groups, "row groups by", file.metadata.created_by)
    print("parquet columns:", {field.name: str(field.type) for field in file.schema_arrow})
    frame = pandas.read_parquet(path)
    assert set(frame.label_0) <= {0.0, 1.0} and (frame.label_0 + frame.label_1 == 1).all()
    assert ((frame.score_0 > frame.score_1) == (frame.label_0 == 1)).all()
    for bytes_, uid in [*zip(frame.jpg_0, frame.image_0_uid), *zip(frame.jpg_1, frame.image_1_uid)]:
        assert hashlib.sha256(bytes_).hexdigest() == uid
    print("parquet: label_0 is 1 in", int(frame.label_0.sum()), "of", len(frame), "rows")


def diffusion_dpo():
    """The way of DiffusionDPO's train.py and diffusers' research_projects/diffusion_dpo: both pictures side by side, the preferred one first."""
    dataset = datasets.load_dataset("parquet", data_files={"train": in_folder("pairs.parquet")}, split="train")
    decided = [i for i, label in enumerate(dataset["label_0"]) if label in (0, 1)]
    dataset = dataset.select(decided)

    def preprocess(examples):
        sides = [[Image.open(io.BytesIO(b)).convert("RGB") for b in examples[name]] for name in ["jpg_0", "jpg_1"]]
        pairs = [p if label == 1 else p[::-1] for p, label in zip(zip(*sides), examples["label_0"])]
        return {"pairs": pairs, "caption": examples["caption"]}

    formats, seen = set(), 0
    scores = [(max(a, b), min(a, b)) for a, b in zip(dataset["score_0"], dataset["score_1"])]
    known = {hashlib.sha256(b).hexdigest(): s for n in "01" for b, s in zip(dataset["jpg_" + n], dataset["score_" + n])}
    for example in dataset:
        formats.add(Image.open(io.BytesIO(example["jpg_0"])).format)
    transformed = dataset.with_transform(preprocess)
    for i in range(len(transformed)):
        better, worse = transformed[i]["pairs"]
        assert better.mode == worse.mode == "RGB" and better.size == worse.size
        seen += 1
    assert all(better > worse for better, worse in scores) and len(known) > 1
    print("Diffusion-DPO:", seen, "pairs of", len(set(dataset["caption"])), "captions; PIL opens", sorted(formats))


def imagefolder():
    images = datasets.load_dataset("imagefolder", data_dir=in_folder("images"), split="train")
    print("imagefolder:", len(images), "rows,", images.features["image"], "columns", images.column_names)
    with open(in_folder("images/train/metadata.jsonl")) as lines:
        rows = [json.loads(line) for line in lines]
    by_name = {row["sha256"]: row for row in rows}
    for row in images:
        expected = by_name[row["sha256"]]
        assert digest(row["image"]) == digest(Image.open(in_folder("images/train/" + expected["file_name"])))
        assert row["text"] == expected["text"]
    pairs = datasets.load_dataset("imagefolder", data_dir=in_folder("pairs"), split="train")
    print("imagefolder of pairs:", len(pairs), "rows, columns", pairs.column_names)
    with open(in_folder("pairs/train/metadata.jsonl")) as lines:
        rows = [json.loads(line) for line in lines]
    assert len(pairs) == len(rows)
    for row, expected in zip(pairs, rows):
        assert row["chosen_score"] > row["rejected_score"]
        for side in ["chosen", "rejected"]:
            assert digest(row[side]) == digest(Image.open(in_folder("pairs/train/" + expected[side + "_file_name"])))


def shards():
    for name, fields in [("shards", {"jpg_0.png", "jpg_1.png", "json", "txt"}), ("image-shards", {"png", "json", "txt"})]:
        paths = sorted(glob.glob(in_folder(name + "/train-*.tar")))
        count, keys = 0, set()
        for path in paths:
            with tarfile.open(path) as archive:
                groups = []
                for member in archive:
                    key, extension = re.match(r"^((?:.*/|)[^.]+)[.]([^/]*)$", member.name).groups()
                    if not groups or groups[-1][0] != key:
                        assert key not in keys, "the fields of a sample are consecutive"
                        keys.add(key)
                        groups.append((key, set()))
                    assert extension not in groups[-1][1] and extension == extension.lower()
                    groups[-1][1].add(extension)
            assert all(found == fields for _, found in groups)
            count += len(groups)
        samples = list(webdataset.WebDataset(paths, shardshuffle=False).decode("pil"))
        assert len(samples) == count
        loaded = datasets.load_dataset("webdataset", data_files={"train": paths}, split="train")
        assert len(loaded) == count
        sizes = [os.path.getsize(path) for path in paths]
        print(name + ":", count, "samples in", len(paths), "shards of at most", max(sizes), "bytes; webdataset reads", sorted(k for k in samples[0] if not k.startswith("__")), "datasets", loaded.column_names)


for check in [versions, parquet, diffusion_dpo, imagefolder, shards]:
    check()
print("all as expected")
