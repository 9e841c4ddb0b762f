"""Writes test/fixtures/weights: checkpoints as torch and safetensors write them, with the values they hold, and half-precision tables.

Run from the repository: python test/reference/weights.py
"""

import base64
import hashlib
import json
import os
import sys
from collections import OrderedDict

import numpy
import safetensors
import safetensors.torch
import torch

ROOT = os.path.join(os.path.dirname(__file__), "..", "fixtures", "weights")
NAMES = {
    torch.float32: "float32", torch.float64: "float64", torch.float16: "float16", torch.bfloat16: "bfloat16",
    torch.int8: "int8", torch.uint8: "uint8", torch.int32: "int32", torch.int64: "int64", torch.bool: "bool",
}


def raw(tensor):
    """The tensor's bytes in row-major order."""
    dense = tensor.detach().contiguous()
    return dense.reshape(-1).view(torch.uint8).numpy().tobytes() if dense.numel() else b""


def expected(tensors):
    return {
        name: {"dtype": NAMES[t.dtype], "shape": list(t.shape), "data": base64.b64encode(raw(t)).decode()}
        for name, t in tensors.items()
    }


def every_dtype(generator):
    base = torch.randn(2, 3, generator=generator)
    return OrderedDict(
        (name, (base * 40).to(dtype)) for dtype, name in NAMES.items()
    )


def views(generator):
    """Tensors that share a storage: slices in place, one transposed, one of unit dimensions with odd strides."""
    base = torch.randn(6, 4, generator=generator)
    return OrderedDict(
        base=base, rows=base[2:4], row=base[5], element=base[3, 2], transposed=base.t(), column=base[:, 1],
        unit=base[1:2].t()[:, :1].t(), empty=torch.zeros(0, 7),
    )


def checkpoints(generator):
    files = {}
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    files["dtypes"] = (every_dtype(generator), lambda t: t)
    files["views"] = (views(generator), lambda t: t)
    # A state_dict carries _metadata; a Parameter, a Buffer and a tensor with attributes are rebuilt in their own ways.
    files["module"] = (OrderedDict(model.state_dict()), lambda t: model.state_dict())
    annotated = torch.randn(3, generator=generator)
    annotated.note = "kept by torch, dropped here"
    special = OrderedDict(
        parameter=torch.nn.Parameter(torch.randn(2, 2, generator=generator)),
        buffer=torch.nn.Buffer(torch.randn(2, generator=generator)),
        annotated=annotated,
        __proto__=torch.randn(1, generator=generator),
        constructor=torch.randn(1, generator=generator),
    )
    files["special"] = (special, lambda t: dict(t))
    wrapped = OrderedDict((f"net.{i}.weight", torch.randn(2, 2, generator=generator).half()) for i in range(3))
    files["wrapped"] = (
        wrapped,
        lambda t: {
            "epoch": 7, "lr": 1e-4, "name": "naïve", "betas": (0.9, 0.999), "flag": True, "none": None, "big": 2**70, "negative": -3,
            "bytes": b"abc", "set": {1, 2}, "device": torch.device("cpu"), "dtype": torch.float16, "size": torch.Size([1, 2]),
            "layout": torch.strided, "complex": 1j, "state_dict": t,
            "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"params": [0, 1, 2]}]},
        },
    )
    return files


def write_torch(generator):
    table = {}
    for name, (tensors, wrap) in checkpoints(generator).items():
        value = wrap(tensors)
        torch.save(value, os.path.join(ROOT, f"{name}.pt"))
        torch.save(value, os.path.join(ROOT, f"{name}.legacy.pt"), _use_new_zipfile_serialization=False)
        table[f"{name}.pt"] = table[f"{name}.legacy.pt"] = expected(tensors)
    small = OrderedDict(a=torch.arange(3.0), b=torch.ones(2, dtype=torch.float16))
    torch.serialization.set_crc32_options(False)
    torch.save(small, os.path.join(ROOT, "no-crc.pt"))
    torch.serialization.set_crc32_options(True)
    table["no-crc.pt"] = expected(small)
    # Dtypes and views Laurel names but does not use.
    torch.save(
        {
            "usable": small["a"], "u16": torch.ones(2).to(torch.uint16), "f8": torch.ones(2).to(torch.float8_e4m3fn),
            "complex": torch.ones(2, dtype=torch.complex64), "i16": torch.ones(2, dtype=torch.int16),
            "conjugate": torch.ones(2, dtype=torch.complex64).conj(), "expanded": torch.ones(1).expand(5),
        },
        os.path.join(ROOT, "unusable.pt"),
    )
    # Refused: code.
    torch.save(torch.nn.Linear(2, 2), os.path.join(ROOT, "whole-module.pt"))
    torch.jit.script(torch.nn.Linear(2, 2)).save(os.path.join(ROOT, "torchscript.pt"))
    torch.save({"a": numpy.float64(1.5)}, os.path.join(ROOT, "numpy.pt"))
    return table


def write_safetensors(generator):
    table = {}
    tensors = dict(every_dtype(generator))
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(0, 4)
    tensors["__proto__"] = torch.ones(1)
    safetensors.torch.save_file(tensors, os.path.join(ROOT, "dtypes.safetensors"), {"format": "pt", "note": "naïve \"quoted\""})
    table["dtypes.safetensors"] = expected(tensors)
    safetensors.torch.save_file(
        {"usable": torch.ones(2), "f8": torch.ones(2).to(torch.float8_e5m2), "u16": torch.ones(2).to(torch.uint16),
         "u32": torch.ones(2).to(torch.uint32), "complex": torch.ones(2, dtype=torch.complex64)},
        os.path.join(ROOT, "unusable.safetensors"),
    )
    # Shards as diffusers names them, and the same in .bin.
    parts = [OrderedDict((f"block.{i}.weight", torch.randn(2, 2, generator=generator)) for i in range(2 * p, 2 * p + 2)) for p in range(2)]
    merged = {**parts[0], **parts[1]}
    for stem, extension, save in (
        ("diffusion_pytorch_model", "safetensors", lambda t, path: safetensors.torch.save_file(t, path, {"format": "pt"})),
        ("pytorch_model", "bin", torch.save),
    ):
        folder = os.path.join(ROOT, f"sharded-{extension}")
        os.makedirs(folder, exist_ok=True)
        weight_map = {}
        for number, part in enumerate(parts, 1):
            shard = f"{stem}-{number:05d}-of-00002.{extension}"
            save(part, os.path.join(folder, shard))
            weight_map.update({name: shard for name in part})
        with open(os.path.join(folder, f"{stem}.{extension}.index.json"), "w") as file:
            json.dump({"metadata": {"total_size": 64}, "weight_map": weight_map}, file, indent=1)
        table[f"sharded-{extension}"] = expected(merged)
    return table


def canonical_hash(values):
    """SHA-256 of float32 bit patterns, every NaN written as 0x7fc00000 (payloads are not specified)."""
    values = values.clone()
    bits = values.view(torch.int32)
    bits[torch.isnan(values)] = 0x7FC00000
    return hashlib.sha256(bits.numpy().tobytes()).hexdigest()


def halves():
    patterns = torch.arange(65536, dtype=torch.int32).to(torch.uint16)
    random = numpy.random.default_rng(20).integers(0, 2**32, 2048, dtype=numpy.uint32)
    # Ties and their neighbours: halfway between two halves of every binade, subnormal ones too; and the edges of the range.
    ties = []
    for exponent in range(-27, 17):
        for fraction in (0, 1, 2, 341, 1022, 1023):
            middle = numpy.float32((1 + (fraction + 0.5) / 1024) * 2.0**exponent)
            ties += [middle, numpy.nextafter(middle, numpy.float32(0)), numpy.nextafter(middle, numpy.float32(numpy.inf))]
    for step in (0.5, 1, 1.5, 2.5, 511.5, 1022.5, 1023.5):
        middle = numpy.float32(step * 2.0**-24)
        ties += [middle, numpy.nextafter(middle, numpy.float32(0)), numpy.nextafter(middle, numpy.float32(1)), -middle]
    ties += [65504, 65519.996, 65520, 65536, -65520, 3.4028235e38, 1e-45, -0.0, 0, numpy.inf, -numpy.inf]
    bits = numpy.concatenate([random, numpy.array(ties, dtype=numpy.float32).view(numpy.uint32)])
    # The same inputs around every tie of bfloat16.
    high = (random[:512] & 0xFFFF0000).astype(numpy.uint32)
    bits = numpy.concatenate([bits, high | 0x8000, high | 0x7FFF, high | 0x8001])
    values = torch.from_numpy(bits.view(numpy.float32).copy())
    bits = bits[~torch.isnan(values).numpy()]
    values = torch.from_numpy(bits.view(numpy.float32).copy())
    return {
        "float16ToFloat32": canonical_hash(patterns.view(torch.float16).float()),
        "bfloat16ToFloat32": canonical_hash(patterns.view(torch.bfloat16).float()),
        "values": base64.b64encode(bits.tobytes()).decode(),
        "float32ToFloat16": base64.b64encode(raw(values.half())).decode(),
        "float32ToBfloat16": base64.b64encode(raw(values.bfloat16())).decode(),
    }


def main():
    os.makedirs(ROOT, exist_ok=True)
    torch.manual_seed(20)
    generator = torch.Generator().manual_seed(20)
    document = {
        "command": "python test/reference/weights.py",
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__, "safetensors": safetensors.__version__},
    }
    for name, content in (
        ("checkpoints", {"files": {**write_torch(generator), **write_safetensors(generator)}}),
        ("halves", halves()),
    ):
        with open(os.path.join(ROOT, f"{name}.json"), "w") as file:
            json.dump({**document, **content}, file, indent=1)
            file.write("\n")


main()
