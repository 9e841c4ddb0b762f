"""Golden pictures of whole runs of Stable Diffusion XL, XL-Turbo, 2.x and Turbo by diffusers, at tiny sizes with redrawn weights.

Run: python test/reference/architectures.py   (versions: test/reference/requirements.txt; the networks are made by models.py)
Writes what makes test/fixtures/models/tiny-sdxl and tiny-sd2 whole folders when they are laid over tiny-sd (schedulers as published, tokenizers that
pad with "!"), and test/fixtures/diffusion/architectures.json: for each case the settings, the final latents (float32) and the picture (8-bit RGB).
"""

import base64
import json
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import diffusers
import numpy as np
import torch
from PIL import Image

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
MODELS = FIXTURES / "models"
OUT = FIXTURES / "diffusion" / "architectures.json"

BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, steps_offset=1, set_alpha_to_one=False,
             skip_prk_steps=True, clip_sample=False, trained_betas=None)
EULER = BETAS | dict(interpolation_type="linear", sample_max_value=1.0, use_karras_sigmas=False)
SCHEDULERS = {
    "sdxl": EULER | dict(_class_name="EulerDiscreteScheduler", timestep_spacing="leading", prediction_type="epsilon"),
    "sdxl-turbo": EULER | dict(_class_name="EulerAncestralDiscreteScheduler", timestep_spacing="trailing", prediction_type="epsilon"),
    "sd2": BETAS | dict(_class_name="DDIMScheduler", prediction_type="v_prediction"),
    "sd-turbo": EULER | dict(_class_name="EulerDiscreteScheduler", timestep_spacing="trailing", prediction_type="epsilon", timestep_type="discrete",
                             rescale_betas_zero_snr=False, sigma_max=None, sigma_min=None),
}
INDEX = {"_diffusers_version": "0.38.0", "feature_extractor": [None, None], "image_encoder": [None, None], "scheduler": ["diffusers", "PNDMScheduler"],
         "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
         "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
XL = {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True, "add_watermarker": None,
      "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"], "tokenizer_2": ["transformers", "CLIPTokenizer"]}
SD2 = {"_class_name": "StableDiffusionPipeline", "safety_checker": [None, None], "requires_safety_checker": False}

LONG = "a red circle on the left of a blue square above the red square on the blue circle"
STATISTICS = {"vae/config.json": {"latents_mean": [0.5, -1.0, 0.25, 2.0], "latents_std": [1.5, 0.75, 2.0, 1.25]}}
OUTDATED = {"scheduler/scheduler_config.json": {"_class_name": "DDIMScheduler", "steps_offset": 0, "clip_sample": True}}
CASES = [
    dict(model="sdxl", sampler="euler", steps=5, guidance=5.0, prompt="a red circle", negative="a blue square", seed=3),
    dict(model="sdxl", sampler="euler", steps=4, guidance=7.5, prompt="a blue square above a circle", seed=4, width=40, height=24),
    dict(model="sdxl", sampler="euler", steps=4, guidance=1.0, prompt=LONG, seed=5),
    dict(model="sdxl", sampler="dpmpp-2m", steps=5, guidance=4.0, prompt="a circle", negative="red", seed=6, clip_skip=2),
    dict(model="sdxl", sampler="euler", steps=4, guidance=4.0, prompt="a circle", seed=7, changes={"model_index.json": {"force_zeros_for_empty_prompt": False}}),
    dict(model="sdxl", sampler="euler", steps=4, guidance=4.0, prompt="a circle", seed=8, changes=STATISTICS),
    dict(model="sdxl", sampler="ddim", steps=3, guidance=1.0, prompt="a square", seed=9, changes=OUTDATED),
    dict(model="sdxl", sampler="euler", steps=4, guidance=1.0, prompt="a square", seed=10, pipeline="Img2Img", strength=0.75),
    dict(model="sdxl", sampler="euler", steps=6, guidance=5.0, prompt="a square", negative="red", seed=11, pipeline="Img2Img", strength=0.5),
    dict(model="sdxl", sampler="euler", steps=5, guidance=3.0, prompt="a square", seed=12, pipeline="Img2Img", strength=0.6, changes=STATISTICS),
    dict(model="sdxl", sampler="euler", steps=4, guidance=3.0, prompt="a square", seed=13, pipeline="Inpaint", strength=0.75),
    dict(model="sdxl", sampler="ddim", steps=4, guidance=3.0, prompt="a square", seed=14, pipeline="Inpaint", strength=1.0),
    dict(model="sdxl-turbo", sampler="euler-a", steps=1, guidance=0.0, prompt="a red circle", seed=15),
    dict(model="sdxl-turbo", sampler="euler-a", steps=4, guidance=0.0, prompt="a red circle", seed=16),
    dict(model="sdxl-turbo", sampler="euler-a", steps=2, guidance=0.0, prompt="a circle", seed=17, pipeline="Img2Img", strength=0.5),
    dict(model="sd2", sampler="ddim", steps=6, guidance=7.5, prompt="a red circle", seed=18),
    dict(model="sd2", sampler="dpmpp-2m", steps=6, guidance=5.0, prompt=LONG, negative="red", seed=19, width=24, height=40),
    dict(model="sd2", sampler="euler-a", steps=5, guidance=4.0, prompt="a circle", seed=20),
    dict(model="sd2", sampler="ddim", steps=5, guidance=4.0, prompt="a circle", seed=21, pipeline="Img2Img", strength=0.6),
    dict(model="sd-turbo", sampler="euler", steps=1, guidance=0.0, prompt="a red circle", seed=22),
    dict(model="sd-turbo", sampler="euler", steps=4, guidance=0.0, prompt="a red circle", seed=23),
    dict(model="sd-turbo", sampler="euler", steps=2, guidance=0.0, prompt="a circle", seed=24, pipeline="Img2Img", strength=0.5),
]
CLASSES = {"euler": "EulerDiscreteScheduler", "euler-a": "EulerAncestralDiscreteScheduler", "ddim": "DDIMScheduler",
           "dpmpp-2m": "DPMSolverMultistepScheduler"}


def b64(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def write_overlays():
    for name, index, tokenizer in (("tiny-sdxl", XL, "tokenizer_2"), ("tiny-sd2", SD2, "tokenizer")):
        folder = MODELS / name
        write_json(folder / "model_index.json", INDEX | index)
        write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULERS[name.removeprefix("tiny-")])
        for file in ("tokenizer_config.json", "special_tokens_map.json"):
            settings = json.loads((MODELS / "tiny-sd" / "tokenizer" / file).read_text())
            if "added_tokens_decoder" in settings:
                pad = settings["added_tokens_decoder"]["599"] | {"content": "!"}
                settings["added_tokens_decoder"] = {"0": pad} | settings["added_tokens_decoder"]
            write_json(folder / tokenizer / file, settings | {"pad_token": "!"})
    vae = json.loads((MODELS / "tiny-sd" / "vae" / "config.json").read_text())
    write_json(MODELS / "tiny-sdxl" / "vae" / "config.json", vae | {"scaling_factor": 0.13025})


def assemble(model, changes, folder):
    """The whole folder of a model, its JSON files changed."""
    shutil.copytree(MODELS / "tiny-sd", folder, dirs_exist_ok=True)
    if model.startswith("sdxl"):
        shutil.copytree(folder / "tokenizer", folder / "tokenizer_2")
        shutil.rmtree(folder / "unet")
        shutil.copytree(MODELS / "tiny-sdxl", folder, dirs_exist_ok=True)
    else:
        shutil.rmtree(folder / "unet")
        shutil.copytree(MODELS / "unet-sd2", folder / "unet")
        shutil.copytree(MODELS / "tiny-sd2", folder, dirs_exist_ok=True)
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULERS[model])
    for file, fields in changes.items():
        write_json(folder / file, json.loads((folder / file).read_text()) | fields)


def draw(case, folder, init, mask):
    family = "StableDiffusionXL" if case["model"].startswith("sdxl") else "StableDiffusion"
    kind = getattr(diffusers, f"{family}{case.get('pipeline', '')}Pipeline")
    options = {} if family.endswith("XL") else {"safety_checker": None}
    index = json.loads((folder / "model_index.json").read_text())
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    scheduler = getattr(diffusers, CLASSES[case["sampler"]]).from_config(config)
    write_json(folder / "model_index.json", index | {"_class_name": kind.__name__, "scheduler": ["diffusers", CLASSES[case["sampler"]]]})
    pipe = kind.from_pretrained(folder, scheduler=scheduler, **options)
    pipe.set_progress_bar_config(disable=True)
    settings = {}
    if "pipeline" in case:
        settings |= dict(image=init, strength=case["strength"])
    if case.get("pipeline") == "Inpaint":
        settings |= dict(mask_image=mask)
    if case.get("pipeline") != "Img2Img":
        settings |= {key: case.get(key, 32) for key in ("width", "height")}
    if "clip_skip" in case:
        settings["clip_skip"] = case["clip_skip"] - 1
    kept = {}

    def keep(pipe, i, t, kwargs):
        kept["latents"] = kwargs["latents"]
        return {}

    picture = pipe(case["prompt"], negative_prompt=case.get("negative"), num_inference_steps=case["steps"], guidance_scale=case["guidance"],
                   generator=torch.Generator("cpu").manual_seed(case["seed"]), callback_on_step_end=keep, **settings).images[0]
    return picture, kept["latents"]


def main():
    torch.set_num_threads(1)
    write_overlays()
    # sides that need no resizing: resizes have their own cases
    init, mask = (Image.open(FIXTURES / "diffusion" / name).resize((32, 32)) for name in ("init.png", "mask.png"))
    cases = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            assemble(case["model"], case.get("changes", {}), Path(folder))
            picture, latents = draw(case, Path(folder), init, mask)
        pixels = np.asarray(picture)
        print(case["model"], case["sampler"], case["seed"], "pixels", pixels.mean().round(1), pixels.std().round(1), "latents", latents.std().item())
        cases.append({**case, "width": picture.width, "height": picture.height, "rgb": b64(pixels), "latents": b64(latents.numpy().astype("<f4"))})
    fixture = {
        "command": "python test/reference/architectures.py",
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", "numpy", "pillow")},
        "schedulers": SCHEDULERS,
        "init": b64(np.asarray(init.convert("RGB"))),
        "mask": b64(np.asarray(mask.convert("RGB"))),
        "cases": cases,
    }
    OUT.write_text(json.dumps(fixture, indent=1) + "\n")
    print(OUT, OUT.stat().st_size)


if __name__ == "__main__":
    main()
