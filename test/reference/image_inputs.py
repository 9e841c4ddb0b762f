"""Golden network inputs of image files as people have them: python test/reference/image_inputs.py

Writes test/fixtures/image/inputs/: one file per case, and inputs.json with the square of 8-bit pixels that ImageReward's transform makes
of each with Pillow and torchvision.
"""

import io
import json
import shutil
import struct

import numpy as np
import PIL
import torchvision
from image_pixels import OUT as PARENT
from image_pixels import adam7, convert_rgb, pack, pixels, raw_png
from PIL import Image, ImageCms, features
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

OUT = PARENT / "inputs"
SIZE = 32


def picture(width, height, mode, seed=1):
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    data = pixels(height, width, channels, seed)
    return Image.fromarray(data[..., 0] if channels == 1 else data, mode)


def photo(width, height, mode="RGB", seed=1):
    """Smooth, as photographs are: lossy formats keep most of it."""
    y, x = np.mgrid[0:height, 0:width]
    channels = len(mode)
    layers = [127 + 120 * np.sin((x * (c + 1) + y * (3 - c) + 9 * seed) / 17) for c in range(channels)]
    return Image.fromarray(np.clip(np.stack(layers, -1), 0, 255).astype(np.uint8), mode)


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def oriented(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def strange_profile():
    """sRGB's profile with red and blue exchanged: whoever heeds it shows other colours."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


def jpeg_segments(data):
    """The segments of a JPEG file up to its scan, and the rest."""
    at, segments = 2, []
    while data[at + 1] != 0xDA:
        length = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append(data[at : at + length])
        at += length
    return segments, data[at:]


def without_adobe(data):
    segments, rest = jpeg_segments(data)
    return data[:2] + b"".join(s for s in segments if s[1] != 0xEE) + rest


def with_adobe(data, transform):
    """Adobe's marker says what the components are: 0 is RGB or CMYK, 1 YCbCr, 2 YCCK."""
    segments, rest = jpeg_segments(data)
    marker = b"\xff\xee" + (14).to_bytes(2, "big") + b"Adobe" + bytes([0, 100, 0, 0, 0, 0, transform])
    return data[:2] + marker + b"".join(s for s in segments if s[1] not in (0xEE, 0xE0)) + rest


def jpegs():
    image = picture(71, 53, "RGB")
    for name, subsampling in [("444", 0), ("422", 1), ("420", 2)]:
        yield f"jpeg-{name}.jpg", saved(image, "JPEG", quality=90, subsampling=subsampling)
    yield "jpeg-restarts.jpg", saved(image, "JPEG", quality=60, subsampling=2, restart_marker_rows=1)
    yield "jpeg-progressive.jpg", saved(photo(90, 61), "JPEG", quality=80, progressive=True)
    yield "jpeg-grey-progressive.jpg", saved(picture(40, 50, "L"), "JPEG", quality=80, progressive=True)
    yield "jpeg-quality-5.jpg", saved(photo(80, 64), "JPEG", quality=5)
    cmyk = saved(picture(58, 45, "CMYK", 8), "JPEG", quality=90)
    yield "jpeg-cmyk-adobe.jpg", cmyk
    yield "jpeg-cmyk-plain.jpg", without_adobe(cmyk)
    yield "jpeg-ycck.jpg", with_adobe(cmyk, 2)
    yield "jpeg-rgb-components.jpg", with_adobe(saved(image, "JPEG", quality=90, subsampling=0), 0)
    yield "jpeg-cmyk-profile.jpg", saved(picture(58, 45, "CMYK", 8), "JPEG", quality=85, icc_profile=strange_profile())
    yield "jpeg-profile.jpg", saved(image, "JPEG", quality=90, icc_profile=strange_profile())
    for orientation in [1, 3, 6, 8]:
        yield f"jpeg-orientation-{orientation}.jpg", saved(photo(64, 48), "JPEG", quality=90, exif=oriented(orientation))
    yield "jpeg-1x1.jpg", saved(picture(1, 1, "RGB"), "JPEG")
    yield "jpeg-wide.jpg", saved(photo(4000, 10), "JPEG", quality=60)
    yield "jpeg-tall.jpg", saved(photo(10, 4000), "JPEG", quality=60)
    # From jpeg-orientation-1.jpg by sharp 0.35.5: .withGainMap().jpeg({ quality: 90 }), as phones write Ultra HDR
    yield "jpeg-gain-map.jpg", (PARENT / "jpeg-gain-map.jpg").read_bytes()
    yield "jpeg-mpo.jpg", saved(photo(64, 48), "MPO", save_all=True, append_images=[photo(64, 48, seed=5)])


def pngs():
    rgb = picture(71, 53, "RGB")
    palette = rgb.quantize(200)
    yield "png-1x1.png", saved(picture(1, 1, "RGB"), "PNG")
    yield "png-1x1-alpha.png", saved(Image.new("RGBA", (1, 1), (200, 100, 50, 128)), "PNG")
    yield "png-wide.png", saved(photo(4000, 10), "PNG")
    yield "png-tall.png", saved(photo(10, 4000), "PNG")
    yield "png-wide-palette.png", saved(photo(4000, 10).quantize(16), "PNG")
    yield "png-grey-transparent.png", saved(picture(60, 41, "L"), "PNG", transparency=128)
    yield "png-one-bit-transparent.png", saved(picture(60, 41, "L").convert("1"), "PNG", transparency=1)
    yield "png-palette-one-transparent.png", saved(palette, "PNG", transparency=7)
    yield "png-palette-all-transparent.png", saved(palette, "PNG", transparency=bytes(200))
    yield "png-profile.png", saved(rgb, "PNG", icc_profile=strange_profile())
    yield "png-orientation-6.png", saved(rgb, "PNG", exif=oriented(6))
    yield "png-alpha-transparent.png", saved(Image.fromarray(np.dstack([pixels(48, 60, 3, 3), np.zeros((48, 60), np.uint8)]), "RGBA"), "PNG")
    wide = np.random.RandomState(4).randint(0, 65536, (33, 40, 2)).astype(">u2")
    yield "png-grey-alpha-16bit.png", raw_png(40, 33, 16, 4, [row.tobytes() for row in wide])
    bits = np.random.RandomState(6).randint(0, 256, (61, 9)).astype(np.uint8)
    yield "png-one-bit.png", raw_png(66, 61, 1, 0, [row.tobytes() for row in bits])
    indices = np.random.RandomState(8).randint(0, 16, (33, 20)).astype(np.uint8)
    yield "png-palette-short.png", raw_png(20, 33, 8, 3, [row.tobytes() for row in indices], palette=bytes(range(30)))
    yield "png-grey-alpha-interlaced.png", raw_png(37, 43, 8, 4, adam7(pixels(43, 37, 2, 11)), interlaced=True)
    frames = [photo(60, 40), photo(60, 40, seed=4)]
    yield "png-animated.png", saved(frames[0], "PNG", save_all=True, append_images=frames[1:])


def webps():
    yield "webp-lossy.webp", saved(photo(90, 61), "WEBP", quality=80)
    yield "webp-lossy-noise.webp", saved(picture(71, 53, "RGB"), "WEBP", quality=30)
    yield "webp-lossy-alpha.webp", saved(photo(90, 61, "RGBA"), "WEBP", quality=80)
    yield "webp-lossless.webp", saved(picture(71, 53, "RGB"), "WEBP", lossless=True)
    yield "webp-lossless-alpha.webp", saved(picture(60, 47, "RGBA", 4), "WEBP", lossless=True, exact=True)
    yield "webp-animated.webp", saved(photo(60, 40), "WEBP", save_all=True, append_images=[photo(60, 40, seed=4)], duration=100)
    frames = [picture(60, 40, "RGBA", 3), picture(60, 40, "RGBA", 4)]
    yield "webp-animated-alpha.webp", saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    inset = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    inset.paste(photo(30, 20), (14, 10))
    yield "webp-animated-inset.webp", saved(inset, "WEBP", save_all=True, append_images=frames[1:], lossless=True, minimize_size=True)
    yield "webp-profile.webp", saved(photo(64, 48), "WEBP", quality=90, icc_profile=strange_profile())
    yield "webp-orientation-6.webp", saved(photo(64, 48), "WEBP", quality=90, exif=oriented(6))
    yield "webp-1x1.webp", saved(picture(1, 1, "RGB"), "WEBP", lossless=True)


def avifs():
    for subsampling in ["4:4:4", "4:2:2", "4:2:0"]:
        name = subsampling.replace(":", "")
        yield f"avif-{name}.avif", saved(photo(90, 61), "AVIF", quality=85, subsampling=subsampling)
        yield f"avif-{name}-noise.avif", saved(picture(71, 53, "RGB"), "AVIF", quality=70, subsampling=subsampling)
    yield "avif-limited-range.avif", saved(photo(90, 61), "AVIF", quality=85, range="limited")
    yield "avif-alpha.avif", saved(photo(90, 61, "RGBA"), "AVIF", quality=85)
    yield "avif-alpha-edges.avif", saved(picture(60, 47, "RGBA", 4), "AVIF", quality=90, subsampling="4:4:4")
    yield "avif-grey.avif", saved(photo(64, 48).convert("L"), "AVIF", quality=85)
    yield "avif-profile.avif", saved(photo(64, 48), "AVIF", quality=90, icc_profile=strange_profile())
    for orientation in range(2, 9):
        yield f"avif-orientation-{orientation}.avif", saved(photo(64, 48), "AVIF", quality=95, subsampling="4:4:4", exif=oriented(orientation))
    # From rgb.png by sharp 0.35.5: .avif({ bitdepth: 10, quality: 90, chromaSubsampling: "4:4:4" })
    yield "avif-10bit.avif", (PARENT / "avif-10bit.avif").read_bytes()
    large = photo(640, 480)
    yield "avif-large.avif", saved(large, "AVIF", quality=70)
    yield "avif-animated.avif", saved(photo(60, 40), "AVIF", save_all=True, append_images=[photo(60, 40, seed=4)])
    yield "avif-1x1.avif", saved(picture(1, 1, "RGB"), "AVIF", quality=90)


def gif_blocks(data):
    return b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255)) + b"\0"


def plain_lzw(indices, bits):
    """Codes without compression: a clear code often enough that they never grow."""
    clear, codes = 1 << bits, []
    for i, index in enumerate(indices):
        if i % ((1 << bits) - 2) == 0:
            codes.append(clear)
        codes.append(int(index))
    value = length = 0
    out = bytearray()
    for code in codes + [clear + 1]:
        value |= code << length
        length += bits + 1
        while length >= 8:
            out.append(value & 255)
            value >>= 8
            length -= 8
    return bytes(out + bytes([value & 255]))


def raw_gif(size, colours, indices, offset=(0, 0), transparent=None, interlaced=False, local=None, background=0):
    """A GIF of one frame with what Pillow does not write."""
    height, width = indices.shape
    bits = max(2, (len(colours) - 1).bit_length())
    table = lambda c: b"".join(bytes(x) for x in c) + bytes(3 * ((1 << bits) - len(c)))  # noqa: E731
    out = b"GIF89a" + struct.pack("<HHBBB", *size, 0x80 | (bits - 1), background, 0) + table(colours)
    if transparent is not None:
        out += b"\x21\xf9\x04\x01\0\0" + bytes([transparent, 0])
    flags = (0x40 if interlaced else 0) | (0x80 | (bits - 1) if local else 0)
    out += b"," + struct.pack("<HHHHB", *offset, width, height, flags) + (table(local) if local else b"")
    if interlaced:
        rows = [y for start, step in [(0, 8), (4, 8), (2, 4), (1, 2)] for y in range(start, height, step)]
        indices = indices[rows]
    return out + bytes([bits]) + gif_blocks(plain_lzw(indices.ravel(), bits)) + b";"


def gifs():
    palette = picture(71, 53, "RGB").quantize(100)
    yield "gif-plain.gif", saved(palette, "GIF")
    yield "gif-grey.gif", saved(picture(64, 41, "L"), "GIF")
    yield "gif-interlaced.gif", saved(palette, "GIF", interlace=True)
    yield "gif-transparent.gif", saved(palette, "GIF", transparency=9)
    yield "gif-animated.gif", saved(palette, "GIF", save_all=True, append_images=[photo(71, 53).quantize(64)])
    yield "gif-1x1.gif", saved(picture(1, 1, "L"), "GIF")
    yield "gif-wide.gif", saved(photo(4000, 10).quantize(16), "GIF")
    r = np.random.RandomState(3)
    colours = [tuple(int(v) for v in r.randint(0, 256, 3)) for _ in range(13)]
    other = [tuple(int(v) for v in r.randint(0, 256, 3)) for _ in range(13)]
    waves = (np.add.outer(np.arange(40) // 3, np.arange(50) // 4) % 13).astype(int)
    yield "gif-offset.gif", raw_gif((64, 52), colours, waves, offset=(8, 5), background=3)
    yield "gif-offset-transparent.gif", raw_gif((64, 52), colours, waves, offset=(8, 5), transparent=4, background=3)
    yield "gif-offset-interlaced.gif", raw_gif((64, 52), colours, waves, offset=(14, 12), transparent=2, interlaced=True)
    yield "gif-local-colours.gif", raw_gif((50, 40), colours, waves, local=other)
    yield "gif-beyond-screen.gif", raw_gif((30, 20), colours, waves, offset=(3, 2))
    yield "gif-duplicate-colours.gif", raw_gif((50, 40), [colours[i // 2] for i in range(13)], waves)
    ramp = [(i, i, i) for i in range(13)]
    yield "gif-grey-ramp.gif", raw_gif((50, 40), ramp, waves, transparent=1)


def tiffs():
    rgb = picture(71, 53, "RGB")
    yield "tiff-rgb.tif", saved(rgb, "TIFF", compression="tiff_lzw")
    yield "tiff-jpeg.tif", saved(rgb, "TIFF", compression="jpeg")
    yield "tiff-palette.tif", saved(rgb.quantize(16), "TIFF", compression="tiff_lzw")
    yield "tiff-one-bit.tif", saved(rgb.convert("1"), "TIFF", compression="group4")
    yield "tiff-grey-alpha.tif", saved(picture(40, 39, "LA"), "TIFF", compression="tiff_lzw")
    yield "tiff-rgba.tif", saved(picture(60, 47, "RGBA", 4), "TIFF", compression="tiff_lzw")
    # Of this format alone Pillow follows the orientation.
    yield "tiff-orientation-6.tif", saved(photo(64, 48), "TIFF", compression="tiff_lzw", exif=oriented(6))


def transform(image):
    steps = [Resize(SIZE, interpolation=InterpolationMode.BICUBIC), CenterCrop(SIZE), convert_rgb]
    return np.asarray(Compose(steps)(image))


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    cases = []
    for family in [pngs, jpegs, webps, avifs, gifs, tiffs]:
        for name, data in family():
            path = OUT / name
            path.write_bytes(data)
            with Image.open(path) as image:
                image.load()
                square = transform(image)
                cases.append({"file": name, "width": image.width, "height": image.height, "square": pack(square.tobytes())})
    codecs = {name: features.version(name) for name in ["libjpeg_turbo", "webp", "avif"]}
    fixture = {
        "command": "python test/reference/image_inputs.py",
        "versions": {"pillow": PIL.__version__, "torchvision": torchvision.__version__} | codecs,
        "size": SIZE,
        "cases": cases,
    }
    path = OUT / "inputs.json"
    path.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")
    print(path, path.stat().st_size, len(cases), "cases,", sum(f.stat().st_size for f in OUT.iterdir()), "bytes")


if __name__ == "__main__":
    main()
