"""Golden pixels of Pillow and torchvision: python test/reference/image_pixels.py

Writes test/fixtures/image/: one source file per mode, and pixels.json with what Pillow and torchvision make of each.
"""

import base64
import json
import math
import pathlib
import zlib

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "image"


def convert_rgb(image):
    return image.convert("RGB")


# ImageReward/utils.py, _transform
def transform(size):
    return Compose(
        [
            Resize(size, interpolation=InterpolationMode.BICUBIC),
            CenterCrop(size),
            convert_rgb,
            ToTensor(),
            Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ]
    )


def pixels(height, width, channels, seed):
    """Smooth waves, hard edges and noise; the last of 2 or 4 channels (alpha) has flat 0 and 255 regions too."""
    random = np.random.RandomState(seed)
    y, x = np.mgrid[0:height, 0:width]
    layers = []
    for c in range(channels):
        wave = 127 + 100 * np.sin(x / (3 + c) + y / (5 - c) + c)
        edge = np.where((x // 7 + y // 9 + c) % 3 == 0, 90, -40)
        layers.append(wave + edge + random.normal(0, 20, (height, width)))
    out = np.clip(np.stack(layers, -1), 0, 255).astype(np.uint8)
    if channels in (2, 4):
        out[: height // 4, :, -1] = 0
        out[-height // 4 :, :, -1] = 255
    return out


def sources():
    rgb = Image.fromarray(pixels(53, 71, 3, 1), "RGB")
    yield "rgb", "png", rgb, {}
    yield "rgb-tall", "png", Image.fromarray(pixels(97, 30, 3, 2), "RGB"), {}
    yield "rgb-tiny", "png", Image.fromarray(pixels(5, 9, 3, 3), "RGB"), {}
    yield "rgba", "png", Image.fromarray(pixels(60, 47, 4, 4), "RGBA"), {}
    yield "grey", "png", Image.fromarray(pixels(41, 64, 1, 5)[..., 0], "L"), {}
    yield "grey-alpha", "png", Image.fromarray(pixels(39, 52, 2, 6), "LA"), {}
    yield "one-bit", "png", Image.fromarray(pixels(50, 66, 1, 7)[..., 0], "L").convert("1"), {}
    palette = rgb.quantize(200)
    yield "palette", "png", palette, {}
    yield "palette-4bit", "png", rgb.quantize(11), {"bits": 4}
    yield "palette-2bit", "png", rgb.quantize(4), {"bits": 2}
    yield "palette-1bit", "png", rgb.quantize(2), {"bits": 1}
    yield "palette-transparent", "png", palette, {"transparency": bytes(range(0, 200))}
    yield "rgb-transparent", "png", rgb, {"transparency": (10, 20, 30)}
    yield "rgb", "jpg", rgb, {"quality": 90}
    yield "grey", "jpg", Image.fromarray(pixels(41, 64, 1, 5)[..., 0], "L"), {"quality": 85}
    yield "cmyk", "jpg", Image.fromarray(pixels(45, 58, 4, 8), "CMYK"), {"quality": 90}
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by 90 degrees, which the reference ignores
    yield "rotated", "jpg", rgb, {"quality": 90, "exif": exif}
    yield "rgb", "webp", rgb, {"quality": 80}
    yield "rgba", "webp", Image.fromarray(pixels(60, 47, 4, 4), "RGBA"), {"quality": 80}
    yield "palette", "gif", rgb.quantize(100), {}
    yield "cmyk", "tif", Image.fromarray(pixels(45, 58, 4, 8), "CMYK"), {}


def raw_png(width, height, depth, colour, rows, interlaced=False, palette=b""):
    """A PNG of a kind that Pillow does not write: 16 bits, 2 or 4 bits of grey, Adam7."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, colour, 0, 0, int(interlaced)])
    body = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + (chunk(b"PLTE", palette) if palette else b"") + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def adam7(image):
    for x0, y0, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
        part = image[y0::dy, x0::dx]
        if part.shape[0] and part.shape[1]:
            yield from (row.tobytes() for row in part)


def raw_sources():
    wide = np.random.RandomState(9).randint(0, 65536, (33, 40, 4)).astype(">u2")
    wide[..., 0] = (np.mgrid[0:33, 0:40][1] * 1600).astype(">u2")
    yield "rgb-16bit", raw_png(40, 33, 16, 2, [row.tobytes() for row in wide[..., :3]])
    yield "rgba-16bit", raw_png(40, 33, 16, 6, [row.tobytes() for row in wide])
    yield "grey-16bit", raw_png(40, 33, 16, 0, [row.tobytes() for row in wide[..., 0]])
    nibbles = np.random.RandomState(10).randint(0, 256, (31, 18)).astype(np.uint8)
    yield "grey-4bit", raw_png(35, 31, 4, 0, [row.tobytes() for row in nibbles])
    yield "grey-2bit", raw_png(70, 31, 2, 0, [row.tobytes() for row in nibbles])
    image = pixels(43, 37, 3, 11)
    yield "rgb-interlaced", raw_png(37, 43, 8, 2, adam7(image), interlaced=True)
    tiny = pixels(3, 2, 4, 12)
    yield "rgba-interlaced-tiny", raw_png(2, 3, 8, 6, adam7(tiny), interlaced=True)


def pack(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode()


def raw(image) -> bytes:
    return image.convert("L").tobytes() if image.mode == "1" else image.tobytes()


def golden(name, size, enlarged=False):
    image = Image.open(OUT / name)
    image.load()
    entry = {"file": name, "mode": image.mode, "width": image.width, "height": image.height}
    if image.mode == "I;16":
        return entry | {"pixels": pack(image.tobytes())}
    short, long = sorted(image.size)
    entry |= {"pixels": pack(raw(image)), "rgb": pack(image.convert("RGB").tobytes()), "resized": []}
    sizes = [(32, 20), (image.width, 17), (90, image.height)]
    if enlarged:
        sizes.append((image.width * 2 + 1, 3 * image.height))
    for width, height in sizes:
        resized = image.resize((width, height), Image.BICUBIC)
        entry["resized"].append({"width": width, "height": height, "pixels": pack(raw(resized))})
    out = transform(size)(image)
    entry["preprocessed"] = {"size": size, "pixels": pack(out.numpy().astype("<f4").tobytes())}
    assert out.shape == (3, size, size) and math.isfinite(float(out.sum())) and short <= long
    return entry


def main():
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    names = []
    for stem, suffix, image, options in sources():
        names.append(f"{stem}.{suffix}")
        image.save(OUT / names[-1], **options)
    for stem, data in raw_sources():
        names.append(f"{stem}.png")
        (OUT / names[-1]).write_bytes(data)
    images = [golden(name, 37 if i % 2 else 28, enlarged=i % 3 == 0) for i, name in enumerate(names)]
    images.append(golden("rgb.jpg", 224))
    fixture = {
        "command": "python test/reference/image_pixels.py",
        "versions": {"pillow": PIL.__version__, "torchvision": torchvision.__version__, "torch": torch.__version__},
        "images": images,
    }
    path = OUT / "pixels.json"
    path.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
