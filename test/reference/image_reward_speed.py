"""ImageReward's own modules (package image-reward) on a checkpoint of the published size, to compare with bench/image-reward.js, which starts this.

    python test/reference/image_reward_speed.py FOLDER PROMPT --threads N

FOLDER holds ImageReward.safetensors, med_config.json, vocab.txt and picture-<i>.png. Answers JSON lines on standard output:
    {"batch": n}     -> {"seconds": ..., "scores": [...]}     the first n pictures, from decoded images to scores
    {"facts": true}  -> {"loadSeconds": ..., "peakRssMB": ..., "flops": ..., "torch": ...}
Loading is done the fastest way PyTorch has: modules made without memory, the file mapped, its tensors used in place.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertTokenizer

from models_image_reward import SmallImageReward, image_reward

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path)
parser.add_argument("prompt")
parser.add_argument("--threads", type=int, required=True)
args = parser.parse_args()
torch.set_num_threads(args.threads)
torch.set_grad_enabled(False)

pictures = [Image.open(path).convert("RGB") for path in sorted(args.folder.glob("picture-*.png"))]
preprocess = image_reward._transform(224)


def score(images):
    pixels = torch.stack([preprocess(image) for image in images])
    text = tokenizer([args.prompt] * len(images), padding="max_length", truncation=True, max_length=35, return_tensors="pt")
    embeddings = model.blip.visual_encoder(pixels)
    everywhere = torch.ones(embeddings.shape[:-1], dtype=torch.long)
    output = model.blip.text_encoder(
        text.input_ids, attention_mask=text.attention_mask, encoder_hidden_states=embeddings, encoder_attention_mask=everywhere, return_dict=True
    )
    return (model.mlp(output.last_hidden_state[:, 0, :])[:, 0] - model.mean) / model.std


# the reference reads numbers from this one tensor while it is made
linspace = torch.linspace
torch.linspace = lambda *values: linspace(*values, device="cpu")

started = time.perf_counter()
tokenizer = BertTokenizer(str(args.folder / "vocab.txt"))
with torch.device("meta"):
    model = SmallImageReward(
        json.loads((args.folder / "med_config.json").read_text()), dict(image_size=224, patch=16, width=1024, depth=24, heads=16), embed_dim=256
    )
missing, unused = model.load_state_dict(load_file(args.folder / "ImageReward.safetensors"), strict=False, assign=True)
# the momentum copies and the temperature of BLIP's training play no part in a score
assert not unused and all(name.startswith(("blip.temp", "blip.itm_head", "blip.text_encoder.pooler")) for name in missing), (missing, unused)
model.eval()
score(pictures[:1])
load_seconds = time.perf_counter() - started
with FlopCounterMode(display=False) as counter:
    score(pictures[:1])

for line in sys.stdin:
    request = json.loads(line)
    if "batch" in request:
        started = time.perf_counter()
        scores = score(pictures[: request["batch"]]).tolist()
        answer = {"seconds": time.perf_counter() - started, "scores": scores}
    else:
        answer = {
            "loadSeconds": load_seconds,
            "peakRssMB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
            "flops": counter.get_total_flops(),
            "torch": torch.__version__,
        }
    print(json.dumps(answer), flush=True)
