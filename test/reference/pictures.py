"""Pictures written by the code of AUTOMATIC1111 and ComfyUI, and what that code reads of them after Laurel wrote scores into them.

Run by hand, with the built Laurel:
    python test/reference/pictures.py WEBUI COMFYUI PNGINFO
where WEBUI is a checkout of stable-diffusion-webui (or Forge, which carries it), COMFYUI one of ComfyUI, and PNGINFO ComfyUI's own reader of metadata in the browser,
web/scripts/pnginfo.js of a commit before August 2024 (later ones have the same code bundled). Writes test/fixtures/pictures/: the pictures, and pictures.json.
The functions are taken out of the programs' files with `ast` and run as they are; what they import beside the standard library, Pillow, numpy, torch and piexif is stood in for.
"""

import ast
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import numpy as np
import piexif
import piexif.helper
import torch
from PIL import Image, ImageOps, ImageSequence, PngImagePlugin
from PIL.PngImagePlugin import PngInfo

WEBUI, COMFYUI, PNGINFO = sys.argv[1:4]
HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "fixtures", "pictures")


def taken(path, names, scope):
    """Runs the named definitions of a file, and nothing else of it, in `scope`."""
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    wanted = []
    for node in tree.body:
        name = getattr(node, "name", None)
        if isinstance(node, ast.Assign):
            name = getattr(node.targets[0], "id", None)
        if name in names:
            wanted.append(node)
    assert len(wanted) == len(names), (path, names)
    future = ast.parse("from __future__ import annotations").body
    exec(compile(ast.Module(future + wanted, []), path, "exec"), scope)
    return scope


opts = SimpleNamespace(
    enable_pnginfo=True, jpeg_quality=90, webp_lossless=False, infotext_styles="Ignore", infotext_skip_pasting=[],
    use_old_hires_fix_width_height=False,
)
webui = {
    "re": re, "json": json, "os": os, "Image": Image, "PngImagePlugin": PngImagePlugin, "piexif": piexif, "opts": opts,
    "shared": SimpleNamespace(opts=opts),
    "infotext_versions": SimpleNamespace(backcompat=lambda values: None),
    # emphasis in prompts is none of what is compared
    "prompt_parser": SimpleNamespace(parse_prompt_attention=lambda prompt: []),
}  # fmt: skip
taken(
    os.path.join(WEBUI, "modules/infotext_utils.py"),
    ["re_param_code", "re_param", "re_imagesize", "quote", "unquote", "restore_old_hires_fix_params", "parse_generation_parameters"],
    webui,
)  # fmt: skip
taken(
    os.path.join(WEBUI, "modules/images.py"),
    ["IGNORED_INFO_KEYS", "save_image_with_geninfo", "read_info_from_image"],
    webui,
)

comfy = {
    "os": os, "json": json, "np": np, "torch": torch, "Image": Image, "ImageOps": ImageOps, "ImageSequence": ImageSequence,
    "PngInfo": PngInfo, "hashlib": hashlib, "args": SimpleNamespace(disable_metadata=False),
    "node_helpers": SimpleNamespace(pillow=lambda function, value: function(value)),
    "folder_paths": SimpleNamespace(
        get_output_directory=lambda: OUT,
        get_save_image_path=lambda prefix, folder, width, height: (folder, prefix, 1, "", prefix),
        get_annotated_filepath=lambda name: name,
    ),
}  # fmt: skip
taken(os.path.join(COMFYUI, "nodes.py"), ["SaveImage", "LoadImage"], comfy)


def pixels(width=24, height=16):
    """A picture with some structure, the same every time."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([(x * 10) % 256, (y * 15) % 256, ((x + y) * 7) % 256], axis=-1).astype(np.uint8)


INFOTEXT = """a red circle, (above:1.2) a blue square
Negative prompt: blurry, text
Steps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 965400086, Size: 24x16, Model hash: 45dee52b, Model: "x, y", Version: v1.10.1"""
UNICODE = "ein Kätzchen 猫, abends\nSteps: 4, Sampler: DPM++ 2M, CFG scale: 1.5, Seed: 7, Size: 12x8, Hires upscale: 2"
SHORT = "a barn\nSteps: 20, Seed: 7"


def graph(**texts):
    """An API graph: a checkpoint, a text for each name, a sampler and a saver for each."""
    nodes = {
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "m.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 24, "height": 16, "batch_size": 1}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
    }
    for i, (name, text) in enumerate(texts.items()):
        base = 10 * (i + 1)
        nodes[str(base)] = {"class_type": "CLIPTextEncode", "inputs": {"text": text, "clip": ["4", 1]}}
        nodes[str(base + 1)] = {
            "class_type": "KSampler",
            "inputs": {"seed": 11 + i, "steps": 20, "cfg": 8, "sampler_name": "euler", "scheduler": "normal", "denoise": 1,
                       "model": ["4", 0], "positive": [str(base), 0], "negative": ["7", 0], "latent_image": ["5", 0]},
        }  # fmt: skip
        nodes[str(base + 2)] = {"class_type": "VAEDecode", "inputs": {"samples": [str(base + 1), 0], "vae": ["4", 2]}}
        nodes[str(base + 3)] = {"class_type": "SaveImage", "inputs": {"filename_prefix": name, "images": [str(base + 2), 0]}}
    return nodes


def make():
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(OUT)
    image = Image.fromarray(pixels())
    for name, text in [
        ("webui.png", INFOTEXT),
        ("webui-unicode.png", UNICODE),
        ("webui-short.png", SHORT),
        ("webui.jpg", INFOTEXT),
        ("webui-unicode.webp", UNICODE),
    ]:
        webui["save_image_with_geninfo"](image, text, os.path.join(OUT, name))
    tensor = torch.from_numpy(pixels().astype(np.float32) / 255.0)[None]
    for name, texts in [
        ("comfyui", {"one": 'a "red" circle\nin the rain'}),
        ("comfyui-same", {"one": "a boat", "two": "a boat"}),
        ("comfyui-several", {"one": "a boat", "two": "a barn"}),
    ]:
        workflow = {"last_node_id": 9, "nodes": [{"id": 3, "type": "KSampler"}], "version": 0.4}
        saver = comfy["SaveImage"]()
        saver.save_images(tensor, name, graph(**texts), {"workflow": workflow})
        os.rename(os.path.join(OUT, f"{name}_00001_.png"), os.path.join(OUT, f"{name}.png"))
    image.save(os.path.join(OUT, "plain.png"))
    image.save(os.path.join(OUT, "plain.webp"))


READER = """
globalThis.FileReader = class {
  readAsArrayBuffer(bytes) { this.onload({ target: { result: Uint8Array.from(bytes).buffer } }); }
};
const { readFileSync } = await import("node:fs");
const [, , file] = process.argv;
process.stdout.write(JSON.stringify(await getPngMetadata(readFileSync(file))));
"""


def in_browser(path):
    """What ComfyUI's own page reads of a PNG. (Its reader of WebP files throws on EXIF data with a user comment, those of the WebUI included: Laurel writes none beside a workflow.)"""
    with open(PNGINFO, encoding="utf-8") as file:
        source = re.sub(r"^import .*$", "", file.read(), flags=re.M)
    with tempfile.TemporaryDirectory() as folder:
        script = os.path.join(folder, "read.mjs")
        with open(script, "w", encoding="utf-8") as file:
            file.write(source + READER)
        return json.loads(subprocess.run(["node", script, path], capture_output=True, check=True, text=True).stdout)


def seen(path):
    """What the programs make of a file."""
    with Image.open(path) as image:
        image.load()
        geninfo, _ = webui["read_info_from_image"](image)
        texts = {key: value for key, value in image.info.items() if isinstance(value, str)}
    loaded, _ = comfy["LoadImage"]().load_image(path)
    browser = in_browser(path) if path.endswith(".png") else {}
    parsed = webui["parse_generation_parameters"](geninfo) if geninfo else None
    return {
        "webui": parsed,
        "comfyui": {key: browser[key] for key in ("prompt", "workflow", "parameters") if key in browser},
        "pillow": sorted(texts),
        "pixels": hashlib.sha256(loaded.numpy().tobytes()).hexdigest(),
    }


def check():
    """Laurel writes scores into copies; the programs read both."""
    names = sorted(name for name in os.listdir(OUT) if not name.endswith(".json"))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            shutil.copy(os.path.join(OUT, name), folder)
        subprocess.run(["node", os.path.join(HERE, "pictures.js"), folder], check=True)
        for name in names:
            before, after = seen(os.path.join(OUT, name)), seen(os.path.join(folder, name))
            assert before["pixels"] == after["pixels"], name
            for key in ("prompt", "workflow"):
                assert before["comfyui"].get(key) == after["comfyui"].get(key), (name, key)
            assert after["webui"]["ImageReward"] == "0.8312", (name, after["webui"])
            if before["webui"]:
                # a line that was none of pairs is part of the prompt, before and after
                assert all(after["webui"][key] == value for key, value in before["webui"].items()), name
            with open(os.path.join(folder, name), "rb") as file:
                digest = hashlib.sha256(file.read()).hexdigest()
            rows.append({"file": name, "written": digest, "prompt": after["webui"]["Prompt"],
                         "negative": after["webui"]["Negative prompt"], "texts": after["pillow"], "pixels": after["pixels"]})  # fmt: skip
            print(f"{name}: {after['webui']['Prompt']!r} ImageReward {after['webui']['ImageReward']}, {after['pillow']}")
    versions = {name: importlib.metadata.version(name) for name in ("pillow", "piexif", "numpy", "torch")}
    command = "python test/reference/pictures.py WEBUI COMFYUI PNGINFO"
    sources = {
        "webui": "lllyasviel/stable-diffusion-webui-forge 04c6ab68, which carries AUTOMATIC1111's 1.10.1",
        "comfyui": "ComfyUI 0.3.64, a125cd84b054a57729b5eecab930ca9408719832",
        "pnginfo": "ComfyUI 3f5939add69c2a8fea2b892a46a48c2937dc4128, web/scripts/pnginfo.js",
    }
    with open(os.path.join(OUT, "pictures.json"), "w", encoding="utf-8") as file:
        json.dump({"command": command, "versions": versions, "sources": sources, "pictures": rows}, file, indent=1)
        file.write("\n")


make()
check()
