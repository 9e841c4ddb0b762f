"""Golden pictures of diffusers' img2img and inpainting pipelines, on the random weights of test/fixtures/models/tiny-sd.

Run: python test/reference/img2img.py   (versions: test/reference/requirements.txt)
Writes test/fixtures/diffusion/: init.png and mask.png, which all cases start from, and img2img.json: what the pipelines make of both before they
encode them, Pillow's Lanczos resizes of init.png, and for each case the settings, the final latents (float32) and the picture (8-bit RGB).
The inpainting UNet is tiny-sd's with five more input channels, whose weights are in img2img.json.
"""

import base64
import json
from importlib.metadata import version
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline, UNet2DConditionModel
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import load_image
from PIL import Image

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
FOLDER = FIXTURES / "diffusion"
CLASSES = {
    "ddpm": "DDPMScheduler",
    "ddim": "DDIMScheduler",
    "pndm": "PNDMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-a": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "dpmpp-2m": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "lcm": "LCMScheduler",
}
WIDTH, HEIGHT = 48, 40
LANCZOS = [(48, 40), (101, 20), (200, 167), (7, 5), (50, 90), (3, 43)]

CASES = [
    dict(pipeline="img2img", sampler="ddim", steps=6, strength=0.3, guidance=1.0, prompt="a red circle", seed=3),
    dict(pipeline="img2img", sampler="ddim", steps=6, strength=0.75, guidance=5.0, prompt="a red circle", negative="a square", seed=4),
    dict(pipeline="img2img", sampler="ddim", steps=5, strength=1.0, guidance=3.0, eta=0.7, prompt="a blue square", seed=5),
    dict(pipeline="img2img", sampler="euler", steps=7, strength=0.75, guidance=1.0, prompt="a red square", seed=6),
    dict(pipeline="img2img", sampler="euler", steps=5, strength=1.0, guidance=4.0, prompt="a red square", seed=7),
    dict(pipeline="img2img", sampler="dpmpp-2m", steps=10, strength=0.3, guidance=1.0, prompt="a circle", seed=8),
    dict(pipeline="img2img", sampler="dpmpp-2m", steps=8, strength=0.75, guidance=7.5, prompt="a circle", seed=9),
    dict(pipeline="img2img", sampler="dpmpp-2m", steps=5, strength=1.0, guidance=2.0, prompt="a circle", seed=10),
    dict(pipeline="img2img", sampler="ddpm", steps=6, strength=0.75, guidance=4.0, prompt="a blue square", seed=4294967290),
    dict(pipeline="img2img", sampler="ddpm", steps=10, strength=0.29, guidance=1.0, prompt="", seed=12),
    dict(pipeline="img2img", sampler="euler-a", steps=8, strength=0.75, guidance=2.0, prompt="a circle", seed=13),
    dict(pipeline="img2img", sampler="heun", steps=5, strength=0.6, guidance=2.0, prompt="a circle", seed=14),
    dict(pipeline="img2img", sampler="pndm", steps=8, strength=0.5, guidance=2.0, prompt="a circle", seed=15),
    dict(pipeline="img2img", sampler="unipc", steps=8, strength=0.75, guidance=2.0, prompt="a circle", seed=16),
    dict(pipeline="img2img", sampler="lcm", steps=4, strength=0.75, guidance=1.0, prompt="a circle", seed=17),
    dict(pipeline="inpaint", sampler="ddim", steps=5, strength=1.0, guidance=1.0, prompt="a red circle", seed=23),
    dict(pipeline="inpaint", sampler="ddim", steps=6, strength=0.75, guidance=5.0, prompt="a red circle", negative="a square", seed=24, clip_sample=False),
    dict(pipeline="inpaint", sampler="euler", steps=7, strength=0.3, guidance=1.0, prompt="a red square", seed=25),
    dict(pipeline="inpaint", sampler="euler", steps=5, strength=1.0, guidance=4.0, prompt="a red square", seed=26),
    dict(pipeline="inpaint", sampler="dpmpp-2m", steps=8, strength=0.75, guidance=1.0, prompt="a circle", seed=27),
    dict(pipeline="inpaint", sampler="dpmpp-2m", steps=6, strength=1.0, guidance=3.0, prompt="a circle", seed=28),
    dict(pipeline="inpaint", sampler="ddpm", steps=6, strength=0.75, guidance=4.0, prompt="a blue square", seed=29),
    dict(pipeline="inpaint", sampler="ddpm", steps=5, strength=1.0, guidance=1.0, prompt="a blue square", seed=30, clip_sample=False),
    dict(pipeline="inpaint", sampler="euler-a", steps=6, strength=0.75, guidance=2.0, prompt="a circle", seed=31),
    dict(pipeline="inpaint", sampler="heun", steps=5, strength=0.6, guidance=2.0, prompt="a circle", seed=32),
    dict(pipeline="inpaint", sampler="pndm", steps=6, strength=1.0, guidance=2.0, prompt="a circle", seed=33),
    dict(pipeline="inpaint-unet", sampler="ddim", steps=6, strength=0.75, guidance=5.0, prompt="a red circle", seed=43, clip_sample=False),
    dict(pipeline="inpaint-unet", sampler="euler", steps=5, strength=1.0, guidance=4.0, prompt="a red square", negative="a circle", seed=44),
    dict(pipeline="inpaint-unet", sampler="dpmpp-2m", steps=10, strength=0.3, guidance=1.0, prompt="a circle", seed=45),
    dict(pipeline="inpaint-unet", sampler="ddpm", steps=5, strength=0.75, guidance=1.0, prompt="a circle", seed=46, clip_sample=False),
    dict(pipeline="inpaint-unet", sampler="ddpm", steps=5, strength=1.0, guidance=3.0, prompt="a circle", seed=47, clip_sample=False),
]


def b64(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def paint_inputs():
    """A picture with edges, gradients and noise, of sides that are no multiples of anything; a mask of another size with all greys."""
    random = np.random.default_rng(5)
    y, x = np.mgrid[0:43, 0:50]
    picture = np.stack([x * 5, y * 6, 255 - (x + y) * 2], axis=-1).astype(float)
    picture[(x - 18) ** 2 + (y - 20) ** 2 < 120] = (230, 40, 30)
    picture[8:20, 30:46] = (20, 60, 210)
    picture += random.normal(0, 12, picture.shape)
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(FOLDER / "init.png")
    y, x = np.mgrid[0:70, 0:90]
    mask = 255 / (1 + np.exp((np.hypot(x - 40, y - 38) - 22) / 6))
    Image.fromarray(mask.astype(np.uint8), mode="L").save(FOLDER / "mask.png")


def preprocessed(init, mask, pipe):
    """What the pipelines encode, and the mask over the latents."""
    size = dict(height=HEIGHT, width=WIDTH)
    pixels = pipe.image_processor.preprocess(init, **size)
    processor = VaeImageProcessor(vae_scale_factor=pipe.vae_scale_factor, do_normalize=False, do_binarize=True, do_convert_grayscale=True)
    repainted = processor.preprocess(mask, **size)
    cells = torch.nn.functional.interpolate(repainted, size=(HEIGHT // pipe.vae_scale_factor, WIDTH // pipe.vae_scale_factor))
    posterior = pipe.vae.encode(pixels).latent_dist
    return {
        "pixels": b64(pixels.numpy().astype("<f4")),
        "mask": b64(repainted.numpy().astype(np.uint8)),
        "cells": b64(cells.numpy().astype(np.uint8)),
        "mean": b64(posterior.mean.numpy().astype("<f4")),
        "logvar": b64(posterior.logvar.numpy().astype("<f4")),
    }


def inpainting_unet(unet, extra):
    wide = UNet2DConditionModel.from_config({**unet.config, "in_channels": 9})
    weights = dict(unet.state_dict())
    weights["conv_in.weight"] = torch.cat([weights["conv_in.weight"], extra], dim=1)
    wide.load_state_dict(weights)
    return wide


def run(case, parts, base, extra, init, mask):
    kind = {"img2img": StableDiffusionImg2ImgPipeline}.get(case["pipeline"], StableDiffusionInpaintPipeline)
    changed = {key: case[key] for key in ("clip_sample",) if key in case}
    scheduler = getattr(diffusers, CLASSES[case["sampler"]]).from_config(base, **changed)
    unet = inpainting_unet(parts["unet"], extra) if case["pipeline"] == "inpaint-unet" else parts["unet"]
    pipe = kind(**{**parts, "unet": unet, "scheduler": scheduler}, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    masked = {} if case["pipeline"] == "img2img" else {"mask_image": mask, "width": WIDTH, "height": HEIGHT}
    latents = {}

    def keep(pipe, i, t, kwargs):
        latents["last"] = kwargs["latents"]
        latents["count"] = i + 1
        return {}

    picture = pipe(
        case["prompt"],
        image=init,
        strength=case["strength"],
        negative_prompt=case.get("negative"),
        num_inference_steps=case["steps"],
        guidance_scale=case["guidance"],
        eta=case.get("eta", 0.0),
        generator=torch.Generator("cpu").manual_seed(case["seed"]),
        callback_on_step_end=keep,
        **masked,
    ).images[0]
    pixels = np.asarray(picture)
    assert pixels.shape == (HEIGHT, WIDTH, 3), pixels.shape
    print(case["pipeline"], case["sampler"], case["strength"], "evaluations", latents["count"], "pixels", pixels.mean().round(1), pixels.std().round(1))
    return {**case, "evaluations": latents["count"], "rgb": b64(pixels), "latents": b64(latents["last"].numpy().astype("<f4"))}


def main():
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    paint_inputs()
    init, mask = load_image(str(FOLDER / "init.png")), load_image(str(FOLDER / "mask.png"))
    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(FIXTURES / "models" / "tiny-sd", safety_checker=None)
    parts = dict(pipe.components)
    extra = torch.randn((8, 5, 3, 3), generator=torch.Generator().manual_seed(1)) * 0.2
    base = dict(pipe.scheduler.config)
    fixture = {
        "command": "python test/reference/img2img.py",
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", "numpy", "pillow")},
        "width": WIDTH,
        "height": HEIGHT,
        "preprocessed": preprocessed(init, mask, pipe),
        "conv_in": b64(extra.numpy().astype("<f4")),
        "lanczos": [
            {"width": w, "height": h, "rgb": b64(np.asarray(init.resize((w, h), Image.Resampling.LANCZOS)))} for w, h in LANCZOS
        ],
        "cases": [run(case, parts, base, extra, init, mask) for case in CASES],
    }
    path = FOLDER / "img2img.json"
    path.write_text(json.dumps(fixture, indent=1) + "\n")
    print(path, path.stat().st_size)


main()
