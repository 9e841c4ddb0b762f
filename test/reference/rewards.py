"""Golden scores of image files by ImageReward's own modules and by transformers' CLIPModel, on small random weights.

Run: python test/reference/rewards.py   (versions: test/reference/requirements.txt)
Writes test/fixtures/rewards/: image-reward/ (ImageReward.pt, med_config.json, vocab.txt), clip/ (a CLIPModel folder) and scores.json.
"""

import base64
import json
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import BertTokenizer, CLIPConfig, CLIPModel, CLIPTokenizer

from models_cases import MED
from models_image_reward import SmallImageReward, image_reward
from rewards_fixture import OUT, PROMPTS, VISION

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
IMAGES = ["rgb.png", "rgb-tall.png", "palette.png", "rgba.png", "grey.png", "one-bit.png", "rgb.jpg", "cmyk.jpg", "rgb.webp", "palette-4bit.png"]
CLIP = dict(
    projection_dim=24,
    text_config=dict(vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=20,
                     hidden_act="quick_gelu", bos_token_id=598, eos_token_id=599, pad_token_id=599),
    vision_config=dict(hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=3, image_size=32, patch_size=8,
                       hidden_act="quick_gelu"),
)


def b64(tensor):
    return base64.b64encode(tensor.detach().numpy().astype("<f4").tobytes()).decode()


def redraw(model, seed, scale=1.0):
    """Every parameter anew: norms, positions, class tokens and biases too."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() >= 2 and "embed" not in name:
            parameter.data.copy_(noise * scale * 1.2 / parameter[0].numel() ** 0.5)
        elif "norm" in name.lower() and name.endswith("weight"):
            parameter.data.copy_(1 + 0.3 * noise)
        elif name != "logit_scale":
            parameter.data.copy_(0.4 * noise)
    return model.eval()


def image_reward_fixture():
    folder = OUT / "image-reward"
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = FIXTURES / "tokenizers" / "bert" / "vocab.txt"
    shutil.copyfile(vocabulary, folder / "vocab.txt")
    tokenizer = BertTokenizer(str(vocabulary))
    # as BLIP's init_tokenizer
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    med = MED | dict(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
                     max_position_embeddings=40, encoder_width=32)
    for seed in range(100):
        model = redraw(SmallImageReward(med, VISION), seed, 1.25)
        model.blip.tokenizer = tokenizer
        model.preprocess = image_reward._transform(VISION["image_size"])
        pictures = [Image.open(FIXTURES / "image" / name) for name in IMAGES]
        with torch.no_grad():
            results = [model.inference_rank(prompt, pictures) for prompt in PROMPTS]
        spread = min(np.std(scores) for _, scores in results)
        between = np.std([scores for _, scores in results], axis=0).min()
        if spread >= 0.5 and between >= 0.05 and max(np.std(scores) for _, scores in results) < 3:
            break
    print("image-reward seed", seed, "std over images", spread, "std over prompts", between)
    torch.save(model.state_dict(), folder / "ImageReward.pt")
    (folder / "med_config.json").write_text(json.dumps(med, indent=2) + "\n")

    model.double()
    pixels = torch.stack([model.preprocess(Image.open(FIXTURES / "image" / name)) for name in IMAGES[:2]]).double().requires_grad_()
    text = tokenizer([PROMPTS[0]] * 2, padding="max_length", truncation=True, max_length=35, return_tensors="pt")
    model.score_gard(text.input_ids, text.attention_mask, pixels).sum().backward()
    return {
        "seed": seed,
        "results": [{"prompt": prompt, "ranks": ranks, "scores": scores} for prompt, (ranks, scores) in zip(PROMPTS, results)],
        "gradient": {"prompt": PROMPTS[0], "images": IMAGES[:2], "pixels": b64(pixels), "gradient": b64(pixels.grad)},
    }


def clip_fixture():
    folder = OUT / "clip"
    tokenizer = CLIPTokenizer.from_pretrained(FIXTURES / "models" / "tiny-sd" / "tokenizer")
    preprocess = image_reward._transform(CLIP["vision_config"]["image_size"])
    pixels = torch.stack([preprocess(Image.open(FIXTURES / "image" / name)) for name in IMAGES])
    results = []
    for seed in range(100):
        model = redraw(CLIPModel(CLIPConfig(**CLIP)), seed, 1.5)
        results = []
        with torch.no_grad():
            image = model.get_image_features(pixels)
            for prompt in PROMPTS:
                ids = tokenizer(prompt, padding="max_length", truncation=True, return_tensors="pt").input_ids
                scores = torch.nn.functional.cosine_similarity(model.get_text_features(ids), image)
                results.append({"prompt": prompt, "scores": scores.tolist()})
        if min(np.std(result["scores"]) for result in results) > 0.1:
            break
    print("clip seed", seed, [round(float(np.std(result["scores"])), 3) for result in results])
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)
    return {"seed": seed, "results": results}


def main():
    torch.set_num_threads(1)
    fixture = {
        "command": "python test/reference/rewards.py",
        "versions": {name: version(name) for name in ("torch", "torchvision", "transformers", "timm", "image-reward", "pillow")},
        "images": IMAGES,
        "imageReward": image_reward_fixture(),
        "clip": clip_fixture(),
    }
    (OUT / "scores.json").write_text(json.dumps(fixture, indent=1) + "\n")


main()
