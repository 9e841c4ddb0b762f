"""A ReFL step in PyTorch + diffusers + peft, to compare with bench/refl-step.js, which starts this.

    python test/reference/refl_step.py MODELS START --batch N --rank R --steps S --threads T [--attention plain|fused]

MODELS is a folder like models/demo; START a safetensors file with the LoRA's start values, named as peft names them. Answers JSON lines on standard output:
    {"prompts": [...], "seeds": [...], "steps": [...]}  -> {"seconds": ..., "cpu": ..., "loss": ...}   one update: DDPM without gradient, each picture to its own
        step; the differentiated step to the predicted clean latents, VAE, the reward's preprocessing, ImageReward, gradients of the LoRA, clipping, AdamW
    {"facts": true}                                     -> {"peakRssMB": ..., "torch": ...}
The text encoder is frozen: states of a prompt are computed once, as Laurel does.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import BertTokenizer, CLIPTextModel, CLIPTokenizer

from models_image_reward import SmallImageReward

parser = argparse.ArgumentParser()
parser.add_argument("models", type=Path)
parser.add_argument("start", type=Path)
parser.add_argument("--batch", type=int, required=True)
parser.add_argument("--rank", type=int, required=True)
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--threads", type=int, required=True)
parser.add_argument("--attention", choices=["plain", "fused"], default="plain")
args = parser.parse_args()
torch.set_num_threads(args.threads)

diffusion, judge = args.models / "stable-diffusion", args.models / "image-reward"
tokenizer = CLIPTokenizer.from_pretrained(diffusion / "tokenizer")
text_encoder = CLIPTextModel.from_pretrained(diffusion / "text_encoder", dtype=torch.float32).eval().requires_grad_(False)
vae = AutoencoderKL.from_pretrained(diffusion / "vae", torch_dtype=torch.float32).eval().requires_grad_(False)
unet = UNet2DConditionModel.from_pretrained(diffusion / "unet", torch_dtype=torch.float32).eval().requires_grad_(False)
if args.attention == "plain":
    unet.set_attn_processor(AttnProcessor())
scheduler = DDPMScheduler.from_pretrained(diffusion / "scheduler", clip_sample=False)
scheduler.set_timesteps(args.steps)
unet.add_adapter(LoraConfig(r=args.rank, lora_alpha=args.rank, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
trained = {name: parameter for name, parameter in unet.named_parameters() if parameter.requires_grad}
start = load_file(args.start)
assert set(start) == set(trained), (sorted(set(start) ^ set(trained))[:4], len(start), len(trained))
with torch.no_grad():
    for name, parameter in trained.items():
        parameter.copy_(start[name])
optimizer = torch.optim.AdamW(trained.values(), lr=1e-4, weight_decay=0.01)

judge_config = json.loads((judge / "config.json").read_text())
med = json.loads((judge / "med_config.json").read_text())
weights = {name: tensor.float() for name, tensor in load_file(judge / "ImageReward.safetensors").items()}
width = weights["blip.visual_encoder.cls_token"].shape[-1]
depth = 1 + max(int(name.split(".")[3]) for name in weights if name.startswith("blip.visual_encoder.blocks."))
vision = dict(image_size=judge_config["image_size"], patch=judge_config["patch_size"], width=width, depth=depth, heads=judge_config["vision_heads"])
judge_tokenizer = BertTokenizer.from_pretrained(judge)


def small_mlp(model):
    """The head of the checkpoint's widths: the reference hard-codes those of the published one."""
    layers = sorted(int(name.split(".")[2]) for name in weights if name.startswith("mlp.layers.") and name.endswith(".weight"))
    model.mlp.layers = torch.nn.Sequential(*[torch.nn.Identity() for _ in range(layers[-1] + 1)])
    for index in layers:
        out, inner = weights[f"mlp.layers.{index}.weight"].shape
        model.mlp.layers[index] = torch.nn.Linear(inner, out)


reward = SmallImageReward(med, vision)
small_mlp(reward)
missing, unexpected = reward.load_state_dict(weights, strict=False)
assert not unexpected, unexpected[:4]
reward = reward.eval().requires_grad_(False)
reward.mean, reward.std = judge_config.get("score_mean", reward.mean), judge_config.get("score_std", reward.std)
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)

states = {}


def encode(prompts):
    for prompt in prompts:
        if prompt not in states:
            ids = tokenizer([prompt], padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt").input_ids
            with torch.no_grad():
                states[prompt] = text_encoder(ids)[0]
    return torch.cat([states[prompt] for prompt in prompts])


def score(images, prompts):
    side = judge_config["image_size"]
    if images.shape[-1] != side:
        images = torch.nn.functional.interpolate(images, side, mode="bicubic", antialias=True)
    pixels = (images - MEAN) / STD
    text = judge_tokenizer(prompts, padding="max_length", truncation=True, max_length=judge_config["max_text_length"], return_tensors="pt")
    embeddings = reward.blip.visual_encoder(pixels)
    everywhere = torch.ones(embeddings.shape[:-1], dtype=torch.long)
    output = reward.blip.text_encoder(
        text.input_ids, attention_mask=text.attention_mask, encoder_hidden_states=embeddings, encoder_attention_mask=everywhere, return_dict=True
    )
    return (reward.mlp(output.last_hidden_state[:, 0, :])[:, 0] - reward.mean) / reward.std


def update(prompts, seeds, steps):
    context = encode(prompts)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    shape = (1, unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)
    latents = torch.cat([torch.randn(shape, generator=generator) for generator in generators]) * scheduler.init_noise_sigma
    with torch.no_grad():
        for index, timestep in enumerate(scheduler.timesteps[: max(steps)]):
            rows = [row for row, step in enumerate(steps) if index < step]
            own = latents[rows]
            output = unet(scheduler.scale_model_input(own, timestep), timestep, context[rows]).sample
            latents[rows] = scheduler.step(output, timestep, own, generator=[generators[row] for row in rows]).prev_sample
    timesteps = scheduler.timesteps[steps]
    output = unet(latents, timesteps, context).sample
    clean = predicted_clean(output, timesteps, latents)
    images = (vae.decode(clean / vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)
    loss = torch.nn.functional.relu(2 - score(images, prompts)).mean() * 1e-3
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def predicted_clean(output, timesteps, latents):
    alpha = scheduler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    if scheduler.config.prediction_type == "v_prediction":
        return alpha.sqrt() * latents - (1 - alpha).sqrt() * output
    return (latents - (1 - alpha).sqrt() * output) / alpha.sqrt()


for line in sys.stdin:
    request = json.loads(line)
    if "prompts" in request:
        started, processor = time.perf_counter(), time.process_time()
        loss = update(request["prompts"], request["seeds"], request["steps"])
        answer = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - processor, "loss": loss}
    else:
        answer = {"peakRssMB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6), "torch": torch.__version__}
    print(json.dumps(answer), flush=True)
