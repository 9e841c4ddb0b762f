"""Golden gradients of ImageReward's own modules and transformers' CLIPModel with respect to pictures of which each has its own prompt.

Run: python test/reference/reward_gradients.py   (after rewards.py; versions: test/reference/requirements.txt)
Writes test/fixtures/rewards/gradients.json.
"""

import base64
import json
from importlib.metadata import version

import torch
import torch.nn.functional as F
from transformers import BertTokenizer, CLIPModel, CLIPTokenizer

from models_image_reward import SmallImageReward
from rewards_fixture import OUT, PROMPTS, VISION

HEIGHT, WIDTH, SIDE = 44, 38, 32
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1).double()
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1).double()


def b64(tensor):
    return base64.b64encode(tensor.detach().numpy().astype("<f4").tobytes()).decode()


def preprocess(image, side=SIDE):
    """The transform of the rewards on tensors: torch's antialiased bicubic is Pillow's; cut half a step of a byte outside of black and white after
    each pass, width first."""
    height, width = image.shape[-2:]
    short = min(height, width)
    rows, columns = (side * height // short, side * width // short)

    def resize(x, size):
        if x.shape[-2:] == torch.Size(size):
            return x
        return F.interpolate(x, size=size, mode="bicubic", antialias=True).clamp(-0.5 / 255, 255.5 / 255)

    x = resize(resize(image, (height, columns)), (rows, columns))
    top, left = int(round((rows - side) / 2)), int(round((columns - side) / 2))
    return (x[..., top : top + side, left : left + side] - MEAN.to(x)) / STD.to(x)


def image_reward(prompts, image):
    med = json.loads((OUT / "image-reward" / "med_config.json").read_text())
    model = SmallImageReward(med, VISION)
    model.load_state_dict(torch.load(OUT / "image-reward" / "ImageReward.pt"))
    model.eval().double()
    tokenizer = BertTokenizer(str(OUT / "image-reward" / "vocab.txt"))
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    text = tokenizer(prompts, padding="max_length", truncation=True, max_length=35, return_tensors="pt")
    return model.score_gard(text.input_ids, text.attention_mask, preprocess(image))[:, 0]


def clip(prompts, image):
    model = CLIPModel.from_pretrained(OUT / "clip").eval()
    tokenizer = CLIPTokenizer.from_pretrained(OUT / "clip")
    ids = tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    # the mask of the text has no double precision
    text = model.get_text_features(ids).detach().double()
    return F.cosine_similarity(text, model.double().get_image_features(preprocess(image)))


def main():
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(5)
    # a third of the colours are plain black or white
    drawn = (torch.rand(2, 3, HEIGHT, WIDTH, generator=generator) * 1.6 - 0.3).clamp(0, 1)
    prompts = PROMPTS[:2]
    fixture = {
        "command": "python test/reference/reward_gradients.py",
        "versions": {name: version(name) for name in ("torch", "transformers", "timm", "image-reward")},
        "prompts": prompts,
        "shape": list(drawn.shape),
        "image": b64(drawn),
        "preprocessed": b64(preprocess(drawn.double())),
    }
    for name, score in (("image-reward", image_reward), ("clip-score", clip)):
        image = drawn.double().requires_grad_()
        scores = score(prompts, image)
        scores.sum().backward()
        fixture[name] = {"scores": scores.tolist(), "gradient": b64(image.grad)}
    (OUT / "gradients.json").write_text(json.dumps(fixture, indent=1) + "\n")


if __name__ == "__main__":
    main()
