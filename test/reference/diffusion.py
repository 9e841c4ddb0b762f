"""Golden pictures of whole Stable Diffusion runs by diffusers, on the random weights of test/fixtures/models/tiny-sd.

Run: python test/reference/diffusion.py   (versions: test/reference/requirements.txt)
Writes test/fixtures/diffusion/images.json: for each case the settings, each candidate's final latents (float32) and picture (8-bit RGB).
"""

import base64
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
)

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
OUT = FIXTURES / "diffusion" / "images.json"
CLASSES = {
    "ddpm": DDPMScheduler,
    "ddim": DDIMScheduler,
    "pndm": PNDMScheduler,
    "euler": EulerDiscreteScheduler,
    "euler-a": EulerAncestralDiscreteScheduler,
    "heun": HeunDiscreteScheduler,
    "heun-karras": HeunDiscreteScheduler,
    "dpmpp-2m": DPMSolverMultistepScheduler,
    "dpmpp-2m-sde-karras": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
    "lcm": LCMScheduler,
}
LONG = "a red circle on the left of a blue square above the red square on the blue circle"

CASES = [
    dict(sampler="ddpm", steps=6, guidance=1.0, prompt="a red circle", seed=3),
    dict(sampler="ddpm", steps=5, guidance=4.0, prompt="a red circle above a blue square", negative="a blue circle", seed=11),
    dict(sampler="ddim", steps=6, guidance=7.5, prompt="a blue square", seed=0),
    dict(sampler="ddim", steps=5, guidance=3.0, eta=0.7, prompt="a blue square", seed=9),
    dict(sampler="euler", steps=7, guidance=1.0, prompt="a red square", seed=21),
    dict(sampler="euler", steps=5, guidance=5.0, prompt="a red square", negative="a circle", seed=4294967290),
    dict(sampler="dpmpp-2m", steps=8, guidance=7.5, prompt="a red circle above a blue square", seed=5),
    dict(sampler="dpmpp-2m", steps=5, guidance=1.0, prompt=LONG, seed=6),
    dict(sampler="dpmpp-2m", steps=5, guidance=2.5, prompt="", seed=7, width=48, height=72),
    dict(sampler="ddim", steps=5, guidance=3.0, prompt="a circle", seed=8, prediction="v_prediction"),
    dict(sampler="dpmpp-2m", steps=6, guidance=2.0, prompt="a circle", seed=2, prediction="v_prediction"),
    dict(sampler="ddim", steps=4, guidance=1.0, prompt="a circle", seed=4, outdated={"steps_offset": 0, "clip_sample": True}),
    dict(sampler="pndm", steps=7, guidance=3.0, prompt="a red circle", seed=12),
    dict(sampler="euler-a", steps=5, guidance=4.0, prompt="a red circle", seed=13),
    dict(sampler="heun", steps=4, guidance=2.0, prompt="a red circle", seed=14),
    dict(sampler="heun-karras", steps=5, guidance=1.0, prompt="a blue square", seed=15),
    dict(sampler="dpmpp-2m-sde-karras", steps=6, guidance=3.0, prompt="a blue square", seed=16),
    dict(sampler="unipc", steps=6, guidance=3.0, prompt="a blue square", seed=17),
    dict(sampler="lcm", steps=4, guidance=1.0, prompt="a blue square", seed=18),
    dict(sampler="lcm", steps=4, guidance=8.5, prompt="a red circle", negative="not read", seed=19, distilled=True),
    dict(sampler="lcm", steps=2, guidance=1.5, prompt="a red circle", seed=20, distilled=True),
]


def b64(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def distilled(pipe):
    """The pipeline of a latent consistency model: its denoiser is given the guidance scale, through one more layer."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_config(pipe.unet.config, time_cond_proj_dim=10)
    unet.load_state_dict(pipe.unet.state_dict(), strict=False)
    unet.time_embedding.cond_proj.weight.data = torch.randn(unet.time_embedding.cond_proj.weight.shape)
    parts = {**pipe.components, "unet": unet.eval(), "scheduler": LCMScheduler(), "safety_checker": None}
    parts.pop("image_encoder")
    return LatentConsistencyModelPipeline(**parts, requires_safety_checker=False)


def main():
    torch.set_num_threads(1)
    pipe = StableDiffusionPipeline.from_pretrained(FIXTURES / "models" / "tiny-sd", safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    base = pipe.scheduler.config
    cases = []
    for case in CASES:
        extra = {"prediction_type": case["prediction"]} if "prediction" in case else {}
        extra |= case.get("outdated", {})
        if case["sampler"].endswith("-karras"):
            extra["use_karras_sigmas"] = True
        if "-sde" in case["sampler"]:
            extra["algorithm_type"] = "sde-dpmsolver++"
        # given to the constructor, which sets steps_offset to 1 and clip_sample to false in whatever scheduler it gets
        scheduler = CLASSES[case["sampler"]].from_config(base, **extra)
        used = StableDiffusionPipeline(**{**pipe.components, "scheduler": scheduler}, requires_safety_checker=False)
        settings = {"eta": case.get("eta", 0.0), "negative_prompt": case.get("negative")}
        if case.get("distilled", False):
            used, settings = distilled(pipe), {}
        used.set_progress_bar_config(disable=True)
        size = {key: case[key] for key in ("width", "height") if key in case}
        images = []
        for index in range(2):
            latents = {}

            def keep(pipe, i, t, kwargs):
                latents["last"] = kwargs["latents"]
                return {}

            picture = used(
                case["prompt"],
                **settings,
                num_inference_steps=case["steps"],
                guidance_scale=case["guidance"],
                generator=torch.Generator("cpu").manual_seed(case["seed"] + index),
                callback_on_step_end=keep,
                **size,
            ).images[0]
            pixels = np.asarray(picture)
            images.append({"width": picture.width, "height": picture.height, "rgb": b64(pixels), "latents": b64(latents["last"].numpy().astype("<f4"))})
            print(case["sampler"], case["seed"] + index, "pixels", pixels.mean().round(1), pixels.std().round(1), "latents", latents["last"].std().item())
        cases.append({**case, "images": images})
    fixture = {
        "command": "python test/reference/diffusion.py",
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", "numpy")},
        "cases": cases,
        "condProj": b64(distilled(pipe).unet.time_embedding.cond_proj.weight.detach().numpy().astype("<f4")),
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(fixture, indent=1) + "\n")
    print(OUT, OUT.stat().st_size)


main()
