"""The reference implementations on the checkpoints of full_size.py, to compare with bench/full-size/, which starts this.

    python test/reference/full_size_speed.py FOLDER WORK --threads N

Answers one JSON line a request on standard output. Tensors cross as {"shape": [...], "data": base64 of float32 or int64, little-endian}. WORK is
    reward         {"way": "loop", "paths": [...]}      ImageReward's own inference_rank: one image at a time
                   {"way": "batched", "paths": [...]}   the same modules on all images at once
                   {"way": "gradient", "pixels": ...}   a score and its gradient with respect to preprocessed pixels
    denoiser       {"feeds": {"sample", "timestep", "states"}}
    decoder        {"feeds": {"latents"}, "tiled": bool}   latents as the autoencoder reads them
    text-encoder   {"feeds": {"ids"}}
    pipeline       {"steps": n, "until": n}             diffusers' StableDiffusionPipeline at 512x512 with guidance; stops after step `until` without decoding if it is
                                                        less than `steps`
{"facts": true} gives versions and the peak of resident memory so far. With "fetch": true an answer holds the result itself.
Loading is done the fastest way PyTorch has: modules made without memory, files mapped, tensors used in place; the pipeline is opened as its users open it.
"""

import argparse
import base64
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path)
parser.add_argument("work", choices=["reward", "denoiser", "decoder", "text-encoder", "pipeline"])
parser.add_argument("--threads", type=int, required=True)
args = parser.parse_args()
torch.set_num_threads(args.threads)
torch.set_grad_enabled(False)
diffusion = args.folder / "stable-diffusion"


def tensor(message, dtype="float32"):
    return torch.from_numpy(np.frombuffer(base64.b64decode(message["data"]), dtype).reshape(message["shape"]).copy())


def message(value):
    return {"shape": list(value.shape), "data": base64.b64encode(value.contiguous().numpy().tobytes()).decode()}


def open_component(cls, name):
    """A module with the tensors of its file where they lie."""
    from accelerate import init_empty_weights
    from safetensors.torch import load_file

    with init_empty_weights(include_buffers=False):
        module = cls.from_config(cls.load_config(diffusion / name)) if hasattr(cls, "load_config") else cls(cls.config_class.from_pretrained(diffusion / name))
    module.load_state_dict(load_file(next((diffusion / name).glob("*.safetensors"))), strict=True, assign=True)
    return module.eval()


def open_reward():
    from PIL import Image

    from full_size import PROMPT, open_bert_tokenizer, open_image_reward
    from models_image_reward import image_reward

    folder = args.folder / "image-reward"
    model = open_image_reward(folder / "ImageReward.pt", json.loads((folder / "med_config.json").read_text()))
    model.preprocess = image_reward._transform(224)
    model.blip.tokenizer = open_bert_tokenizer(folder)
    for parameter in model.parameters():
        parameter.requires_grad_(False)

    def text(count):
        encoding = model.blip.tokenizer([PROMPT] * count, padding="max_length", truncation=True, max_length=35, return_tensors="pt")
        return encoding.input_ids, encoding.attention_mask

    def answer(request):
        if request["way"] == "gradient":
            with torch.enable_grad():
                pixels = tensor(request["pixels"]).requires_grad_()
                score = model.score_gard(*text(len(pixels)), pixels)
                (gradient,) = torch.autograd.grad(score.sum(), pixels)
            return {"scores": score[:, 0].tolist(), "output": gradient}
        if request["way"] == "loop":
            _, scores = model.inference_rank(PROMPT, request["paths"])
            return {"scores": scores}
        pixels = torch.stack([model.preprocess(Image.open(path)) for path in request["paths"]])
        return {"scores": model.score_gard(*text(len(pixels)), pixels)[:, 0].tolist()}

    return answer


def open_denoiser():
    from diffusers import UNet2DConditionModel

    unet = open_component(UNet2DConditionModel, "unet")
    return lambda request: {"output": unet(*(tensor(request["feeds"][name]) for name in ("sample", "timestep", "states"))).sample}


def open_decoder():
    from diffusers import AutoencoderKL

    vae = open_component(AutoencoderKL, "vae")

    def answer(request):
        vae.use_tiling = request.get("tiled", False)
        return {"output": vae.decode(tensor(request["feeds"]["latents"])).sample}

    return answer


def open_text_encoder():
    from transformers import CLIPTextModel

    model = open_component(CLIPTextModel, "text_encoder")
    return lambda request: {"output": model(tensor(request["feeds"]["ids"], "int64")).last_hidden_state}


class Enough(Exception):
    pass


def open_pipeline():
    from diffusers import StableDiffusionPipeline

    from full_size import PROMPT

    pipeline = StableDiffusionPipeline.from_pretrained(diffusion)
    pipeline.set_progress_bar_config(disable=True)

    def answer(request):
        def after_step(_, step, timestep, values):
            if step + 1 == request["until"] < request["steps"]:
                raise Enough
            return values

        try:
            pipeline(
                PROMPT, height=512, width=512, num_inference_steps=request["steps"], generator=torch.Generator().manual_seed(1), output_type="np", callback_on_step_end=after_step
            )
        except Enough:
            pass
        return {}

    return answer


answer_to = {"reward": open_reward, "denoiser": open_denoiser, "decoder": open_decoder, "text-encoder": open_text_encoder, "pipeline": open_pipeline}[args.work]()
for line in sys.stdin:
    request = json.loads(line)
    if "facts" in request:
        peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)
        reply = {"peakRssMB": peak, "torch": torch.__version__}
    else:
        started = time.perf_counter()
        reply = answer_to(request)
        reply["seconds"] = time.perf_counter() - started
        output = reply.pop("output", None)
        if request.get("fetch"):
            reply["output"] = message(output)
    print(json.dumps(reply), flush=True)
