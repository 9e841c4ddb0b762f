"""A training step of the demo denoiser (loss, gradients, clipping, AdamW, moving average) in PyTorch, to compare with bench/training-step.js.

Run from the repository root:  python test/reference/training_step.py [--models DIR] [--batch 48] [--rounds 15] [--threads N]
Prints one JSON line. Plain attention is used on both sides: the fused kernel's backward pass is slower on CPUs.
"""

import argparse
import json
import os
import time

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

parser = argparse.ArgumentParser()
parser.add_argument("--models", default="models/demo")
parser.add_argument("--batch", type=int, default=48)
parser.add_argument("--rounds", type=int, default=15)
parser.add_argument("--threads", type=int, default=os.cpu_count())
args = parser.parse_args()
torch.set_num_threads(args.threads)
torch.manual_seed(1)

config = UNet2DConditionModel.load_config(os.path.join(args.models, "stable-diffusion", "unet"))
unet = UNet2DConditionModel.from_config(config)
unet.set_attn_processor(AttnProcessor())
parameters = list(unet.parameters())
average = [p.detach().clone() for p in parameters]
optimizer = torch.optim.AdamW(parameters, lr=1e-4)
side = config["sample_size"]
sample = torch.randn(args.batch, config["in_channels"], side, side)
target = torch.randn_like(sample)
context = torch.randn(args.batch, 32, config["cross_attention_dim"])
timestep = torch.arange(args.batch) * 31 % 1000

times = {"forward": [], "step": []}
for round in range(args.rounds + 2):
    started = time.perf_counter()
    with torch.no_grad():
        torch.nn.functional.mse_loss(unet(sample, timestep, context).sample, target)
    between = time.perf_counter()
    loss = torch.nn.functional.mse_loss(unet(sample, timestep, context).sample, target)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    with torch.no_grad():
        torch._foreach_lerp_(average, parameters, 0.001)
    ended = time.perf_counter()
    if round >= 2:
        times["forward"].append(1000 * (between - started))
        times["step"].append(1000 * (ended - between))
median = lambda values: sorted(values)[len(values) // 2]
forward, step = median(times["forward"]), median(times["step"])
print(
    json.dumps(
        {
            "name": "the same training step in PyTorch",
            "value": step,
            "unit": "ms",
            "forwardMs": forward,
            "ratio": step / forward,
            "batch": args.batch,
            "threads": args.threads,
            "torch": torch.__version__,
        }
    )
)
