"""Checkpoints of the published sizes and layouts with random weights: Stable Diffusion 1.5 as a diffusers folder, ImageReward.pt, and pictures to score.

    python test/reference/full_size.py FOLDER [--variant fp16]

Made with the reference implementations and the released configurations, so names, shapes and files are theirs:
    FOLDER/stable-diffusion/   model_index.json, scheduler, tokenizer, text_encoder, unet, vae (safetensors, 4.3 GB; with --variant fp16 2.1 GB more)
    FOLDER/image-reward/       ImageReward.pt (1.8 GB), med_config.json, vocab.txt
    FOLDER/pictures/           64 PNG files of 512x512, each different
Default-initialised weights hide mistakes: every image gets the same score. Here matrices have variance 1 / fan-in, scales lie around 1, shifts around 0, tokens
and positions are as strong as what they are added to, and the last layer of the reward is fitted so that the scores of eight pictures have mean 0 and deviation 1.
What is there already is left as it is. The published tokenizers cannot be had without a download: Stable Diffusion gets that of the demo model, ImageReward a vocabulary of
the prompt's words and as many unused entries as BERT's has.
"""

import argparse
import json
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from PIL import Image
from transformers import BertTokenizer, CLIPTextConfig, CLIPTextModel

from models_full_size import MED, SD1_TEXT, SD1_UNET, SD_VAE

PROMPT = "a painting of an ocean with clouds and birds , day time , low depth field effect"
PICTURES = 64
SIDE = 512
VIT_LARGE = dict(image_size=224, patch=16, width=1024, depth=24, heads=16)
# the reward reads these as they are, and the reference too
EMBEDDINGS = ("token_embedding", "position_embedding", "word_embeddings", "pos_embed", "cls_token")
DEMO = Path(__file__).resolve().parents[2] / "models" / "demo" / "stable-diffusion"


def without_memory(make):
    """A module on the meta device. The vision transformer reads its drop-path rates back, which meta tensors cannot give."""
    linspace = torch.linspace
    torch.linspace = lambda *values: linspace(*values, device="cpu")
    try:
        with torch.device("meta"):
            return make()
    finally:
        torch.linspace = linspace


def redraw(module, seed):
    """Gives a module of the meta device memory and weights that keep activations at their scale."""
    module.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if any(part in name for part in EMBEDDINGS):
                parameter.normal_(0, 0.5, generator=generator)
            elif parameter.dim() >= 2:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            elif name.endswith("weight"):
                parameter.normal_(1, 0.1, generator=generator)
            else:
                parameter.normal_(0, 0.1, generator=generator)
        for name, buffer in module.named_buffers():
            if name.endswith("position_ids"):
                buffer.copy_(torch.arange(buffer.shape[-1]).expand_as(buffer))
    return module.eval()


def make_stable_diffusion(folder, variant):
    parts = {
        "text_encoder": (lambda: CLIPTextModel(CLIPTextConfig(**SD1_TEXT)), 1),
        "unet": (lambda: UNet2DConditionModel(**SD1_UNET), 2),
        "vae": (lambda: AutoencoderKL(**SD_VAE), 3),
    }
    for name, (make, seed) in parts.items():
        if any((folder / name).glob("*.safetensors")):
            continue
        module = redraw(without_memory(make), seed)
        module.save_pretrained(folder / name)
        if variant is not None:
            module.half().save_pretrained(folder / name, variant=variant)
    PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1
    ).save_pretrained(folder / "scheduler")
    shutil.copytree(DEMO / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
    tokenizer = json.loads((DEMO / "tokenizer" / "tokenizer_config.json").read_text())
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"model_max_length": 77}))
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.6.0",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "safety_checker": [None, None],
        "requires_safety_checker": False,
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=1))


def open_image_reward(weights, med):
    """ImageReward's own classes with the weights of a file, used where they lie."""
    from models_image_reward import SmallImageReward  # changes transformers' modules

    model = without_memory(lambda: SmallImageReward(med, VIT_LARGE, embed_dim=256))
    missing, unexpected = model.load_state_dict(torch.load(weights, map_location="cpu", mmap=True), strict=False, assign=True)
    assert not missing and not unexpected, (missing, unexpected)
    return model.eval()


def open_bert_tokenizer(folder):
    return BertTokenizer(str(folder / "vocab.txt"))


def make_image_reward(folder, pictures):
    from models_image_reward import SmallImageReward, image_reward

    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(PROMPT.split())]
    vocabulary = words + [f"[unused{i}]" for i in range(30522 - len(words))]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    (folder / "med_config.json").write_text(json.dumps(MED, indent=1))
    if (folder / "ImageReward.pt").exists():
        return
    model = redraw(without_memory(lambda: SmallImageReward(MED, VIT_LARGE, embed_dim=256)), 4)
    text = open_bert_tokenizer(folder)([PROMPT] * 8, padding="max_length", truncation=True, max_length=35, return_tensors="pt")
    preprocess = image_reward._transform(224)
    pixels = torch.stack([preprocess(Image.open(path)) for path in pictures[:8]])
    with torch.no_grad():
        scores = model.score_gard(text.input_ids, text.attention_mask, pixels)
        last = model.mlp.layers[7]
        # score = (w h + b - mean) / std becomes (score - average) / deviation
        last.bias.copy_(model.mean + (last.bias - model.mean - scores.mean() * model.std) / scores.std())
        last.weight /= scores.std()
        print("scores of eight pictures:", model.score_gard(text.input_ids, text.attention_mask, pixels)[:, 0].tolist())
    partial = folder / "ImageReward.pt.partial"
    torch.save(model.state_dict(), partial)
    os.replace(partial, folder / "ImageReward.pt")


def make_pictures(folder):
    """Smooth coloured patterns with a little noise."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(5)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    paths = []
    for index in range(PICTURES):
        path = folder / f"{index:02}.png"
        paths.append(path)
        if path.exists():
            continue
        (a, b, c), (d, e, f) = generator.uniform(0.005, 0.15, 3), generator.uniform(0, 6, 3)
        waves = [np.sin(a * x * (1 + channel) + b * y + d) + np.cos(c * y + e * channel + f) for channel in range(3)]
        pixels = 127.5 + 55 * np.stack(waves, -1) + generator.normal(0, 4, (SIDE, SIDE, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return paths


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--variant", choices=["fp16"])
    args = parser.parse_args()
    pictures = make_pictures(args.folder / "pictures")
    make_image_reward(args.folder / "image-reward", pictures)
    make_stable_diffusion(args.folder / "stable-diffusion", args.variant)


if __name__ == "__main__":
    main()
