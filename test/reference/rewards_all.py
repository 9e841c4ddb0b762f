"""Golden scores and gradients of the rewards beside ImageReward and CLIP score, by their published code on small random weights.

Run: python test/reference/rewards_all.py   (after rewards.py; versions: test/reference/requirements.txt and open_clip_torch 3.3.0)
Writes test/fixtures/rewards/{aesthetic,blip,pickscore,hps}/ and more-scores.json.

What is re-implemented rather than imported, from where:
- the aesthetic head: improved-aesthetic-predictor, simple_inference.py (MLP, normalized); ImageReward/models/AestheticScore.py has the same;
- PickScore: the model card's calc_probs up to the scores, with transformers' CLIPModel and the slow CLIPImageProcessor;
- HPS v2: hpsv2 1.2.0, src/open_clip/transform.py (image_transform, resize_longest_max) and img_score.py, with open_clip's CLIP. Its transform keeps RGBA
  at four channels, which the network then refuses, and leaves a picture alone whose long side is right already: neither is imitated.
BLIP score is ImageReward's own class.
"""

import base64
import importlib
import json
import sys
import types
from importlib.metadata import version
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as TF
from PIL import Image
from torchvision.transforms import InterpolationMode
from transformers import BertTokenizer, CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from models_cases import MED
from models_image_reward import SmallImageReward, image_reward
from reward_gradients import HEIGHT, MEAN, SIDE, STD, WIDTH, preprocess
from rewards_fixture import OUT, PROMPTS, VISION

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
IMAGES = ["rgb.png", "rgb-tall.png", "palette.png", "rgba.png", "grey.png", "one-bit.png", "rgb.jpg", "cmyk.jpg", "rgb.webp", "palette-4bit.png",
          "grey-alpha.png"]
TOWERS = dict(
    projection_dim=20,
    text_config=dict(vocab_size=600, hidden_size=24, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=20,
                     hidden_act="gelu", bos_token_id=0, eos_token_id=2, pad_token_id=1),
    vision_config=dict(hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE, patch_size=8, hidden_act="gelu"),
)


def b64(tensor):
    return base64.b64encode(tensor.detach().numpy().astype("<f4").tobytes()).decode()


def redraw(model, seed, scale):
    """Every parameter anew: norms, positions, class tokens and biases too."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() >= 2 and "embed" not in name:
            parameter.data.copy_(noise * scale * 1.2 / parameter[0].numel() ** 0.5)
        elif ("norm" in name.lower() or "ln_" in name) and name.endswith("weight"):
            parameter.data.copy_(1 + 0.3 * noise)
        elif name != "logit_scale":
            parameter.data.copy_(0.4 * noise)
    return model.eval()


def pictures():
    return [Image.open(FIXTURES / "image" / name) for name in IMAGES]


def clip_tokenizer():
    return CLIPTokenizer.from_pretrained(OUT / "clip")


def save_tokenizer(folder):
    for name in ("vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json"):
        (folder / name).write_bytes((OUT / "clip" / name).read_bytes())


def spread(results):
    return min(np.std(result["scores"]) for result in results)


def with_gradient(results, score):
    """`score(prompts, image in double)` differentiated for the pictures of reward_gradients.py."""
    generator = torch.Generator().manual_seed(5)
    image = (torch.rand(2, 3, HEIGHT, WIDTH, generator=generator) * 1.6 - 0.3).clamp(0, 1).double().requires_grad_()
    scores = score(PROMPTS[:2], image)
    scores.sum().backward()
    return {"results": results, "gradient": {"prompts": PROMPTS[:2], "scores": scores.tolist(), "gradient": b64(image.grad)}}


# ---- aesthetic ---------------------------------------------------------------------------------------------------------------------------------------


class MLP(torch.nn.Module):
    def __init__(self, sizes):
        super().__init__()
        a, b, c, d, e = sizes
        nn = torch.nn
        self.layers = nn.Sequential(nn.Linear(a, b), nn.Dropout(0.2), nn.Linear(b, c), nn.Dropout(0.2), nn.Linear(c, d), nn.Dropout(0.1), nn.Linear(d, e),
                                    nn.Linear(e, 1))

    def forward(self, x):
        return self.layers(x)


def aesthetic():
    folder = OUT / "aesthetic"
    folder.mkdir(exist_ok=True)
    clip = CLIPModel.from_pretrained(OUT / "clip").eval()
    transform = image_reward._transform(SIDE)
    with torch.no_grad():
        features = clip.get_image_features(torch.stack([transform(picture) for picture in pictures()]))
    normalized = features / features.norm(dim=-1, keepdim=True)
    for seed in range(100):
        head = redraw(MLP((24, 20, 16, 12, 8)), seed, 1.5)
        with torch.no_grad():
            scores = head(normalized)[:, 0].tolist()
        if np.std(scores) >= 0.5:
            break
    print("aesthetic seed", seed, "std", np.std(scores))
    torch.save(head.state_dict(), folder / "sac+logos+ava1-l14-linearMSE.pth")
    clip.double()
    head.double()
    return with_gradient([{"prompt": "", "scores": scores}], lambda _, image: head(F.normalize(clip.get_image_features(preprocess(image))))[:, 0])


# ---- BLIP score --------------------------------------------------------------------------------------------------------------------------------------


def blip():
    folder = OUT / "blip"
    folder.mkdir(exist_ok=True)
    sys.modules.setdefault("clip", types.ModuleType("clip"))
    BLIPScore = importlib.import_module("ImageReward.models.BLIPScore").BLIPScore
    tokenizer = BertTokenizer(str(OUT / "image-reward" / "vocab.txt"))
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    med = MED | dict(vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32, max_position_embeddings=40,
                     encoder_width=24)
    for seed in range(100):
        model = redraw(SmallImageReward(med, VISION | dict(depth=1, width=32), embed_dim=12), seed, 1.5)
        score = BLIPScore.__new__(BLIPScore)
        torch.nn.Module.__init__(score)
        score.device, score.blip, score.preprocess = "cpu", model.blip, image_reward._transform(SIDE)
        score.blip.tokenizer = tokenizer
        with torch.no_grad():
            # inference_rank opens what it is given, and asks for a name or a file
            files = [FIXTURES / "image" / name for name in IMAGES]
            results = [{"prompt": prompt, "scores": score.inference_rank(prompt, files)[1]} for prompt in PROMPTS]
        if spread(results) > 0.1:
            break
    print("blip seed", seed, "std", spread(results))
    # as Salesforce's checkpoints: under "model", with tensors that the score does not use
    state = {**model.blip.state_dict(), "temp": torch.tensor(0.07), "itm_head.weight": torch.zeros(2, 24), "image_queue": torch.zeros(12, 4)}
    torch.save({"model": {key: value.clone() for key, value in state.items()}, "epoch": 19}, folder / "model_large.pth")
    (folder / "med_config.json").write_text(json.dumps(med, indent=2) + "\n")
    (folder / "vocab.txt").write_bytes((OUT / "image-reward" / "vocab.txt").read_bytes())
    score.double()

    def differentiated(prompts, image):
        text = tokenizer(prompts, padding="max_length", truncation=True, max_length=35, return_tensors="pt")
        state = score.blip.text_encoder(text.input_ids, attention_mask=text.attention_mask, mode="text").last_hidden_state[:, 0]
        seen = score.blip.visual_encoder(preprocess(image))[:, 0]
        return (F.normalize(score.blip.text_proj(state)) * F.normalize(score.blip.vision_proj(seen))).sum(1)

    return with_gradient(results, differentiated)


# ---- PickScore ---------------------------------------------------------------------------------------------------------------------------------------


def first_middle(image):
    """transformers' transform on a picture of reward_gradients.py."""
    rows, columns = SIDE * HEIGHT // min(HEIGHT, WIDTH), SIDE * WIDTH // min(HEIGHT, WIDTH)
    for size in ((HEIGHT, columns), (rows, columns)):
        image = F.interpolate(image, size=size, mode="bicubic", antialias=True).clamp(-0.5 / 255, 255.5 / 255)
    top, left = (rows - SIDE) // 2, (columns - SIDE) // 2
    return (image[..., top : top + SIDE, left : left + SIDE] - MEAN) / STD


def pickscore():
    folder = OUT / "pickscore"
    tokenizer = clip_tokenizer()
    processor = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    pixels = processor(images=pictures(), return_tensors="pt").pixel_values

    def calc_scores(model, prompt):
        text_inputs = tokenizer(text=prompt, padding=True, truncation=True, max_length=20, return_tensors="pt")
        image_embs = model.get_image_features(pixel_values=pixels)
        image_embs = image_embs / torch.norm(image_embs, dim=-1, keepdim=True)
        text_embs = model.get_text_features(**text_inputs)
        text_embs = text_embs / torch.norm(text_embs, dim=-1, keepdim=True)
        return (model.logit_scale.exp() * (text_embs @ image_embs.T)[0]).tolist()

    for seed in range(100):
        model = redraw(CLIPModel(CLIPConfig(**TOWERS)), seed, 1.5)
        model.logit_scale.data.fill_(4.6)
        with torch.no_grad():
            results = [{"prompt": prompt, "scores": calc_scores(model, prompt)} for prompt in PROMPTS]
        if spread(results) > 10:
            break
    print("pickscore seed", seed, "std", spread(results))
    model.save_pretrained(folder)
    save_tokenizer(folder)

    def differentiated(prompts, image):
        model.float()  # the mask of the text has no double precision
        ids = tokenizer(prompts, padding="max_length", truncation=True, max_length=20, return_tensors="pt").input_ids
        text = model.get_text_features(ids).detach().double()
        model.double()
        return model.logit_scale.exp().detach() * F.cosine_similarity(text, model.get_image_features(first_middle(image)))

    return with_gradient(results, differentiated)


# ---- HPS ---------------------------------------------------------------------------------------------------------------------------------------------


class ResizeMaxSize(torch.nn.Module):
    """hpsv2/src/open_clip/transform.py."""

    def __init__(self, max_size, interpolation=InterpolationMode.BICUBIC, fill=0):
        super().__init__()
        self.max_size, self.interpolation, self.fill = max_size, interpolation, fill

    def forward(self, img):
        height, width = img.shape[1:]
        scale = self.max_size / float(max(height, width))
        if scale != 1.0:
            new_size = tuple(round(dim * scale) for dim in (height, width))
            img = TF.resize(img, new_size, self.interpolation)
            pad_h = self.max_size - new_size[0]
            pad_w = self.max_size - new_size[1]
            img = TF.pad(img, padding=[pad_w // 2, pad_h // 2, pad_w - pad_w // 2, pad_h - pad_h // 2], fill=self.fill)
        return img


def padded(image):
    rows, columns = round(HEIGHT * (SIDE / HEIGHT)), round(WIDTH * (SIDE / HEIGHT))
    image = F.interpolate(image, size=(rows, columns), mode="bicubic", antialias=True)
    left = (SIDE - columns) // 2
    return (F.pad(image, (left, SIDE - columns - left, 0, 0)) - MEAN) / STD


def hps():
    folder = OUT / "hps"
    folder.mkdir(exist_ok=True)
    tokenizer = clip_tokenizer()
    resize = ResizeMaxSize(SIDE)
    tensors = [resize(TF.to_tensor(picture.convert("RGB"))) for picture in pictures()]
    pixels = torch.stack([TF.normalize(one, MEAN.flatten().tolist(), STD.flatten().tolist()) for one in tensors])
    text, vision = TOWERS["text_config"], TOWERS["vision_config"]

    def tokens(prompts):
        """open_clip's: nothing but zeros behind the end of text."""
        found = [tokenizer(prompt, truncation=True, max_length=20).input_ids for prompt in prompts]
        return torch.tensor([ids + [0] * (20 - len(ids)) for ids in found])

    def build():
        return open_clip.model.CLIP(
            embed_dim=TOWERS["projection_dim"],
            vision_cfg=dict(image_size=SIDE, layers=2, width=vision["hidden_size"], head_width=16, patch_size=8),
            text_cfg=dict(context_length=20, vocab_size=600, width=text["hidden_size"], heads=4, layers=2),
        )

    for seed in range(100):
        model = redraw(build(), seed, 1.5)
        with torch.no_grad():
            image = model.encode_image(pixels, normalize=True)
            results = [{"prompt": prompt, "scores": (image @ model.encode_text(tokens([prompt]), normalize=True).T)[:, 0].tolist()} for prompt in PROMPTS]
        if spread(results) > 0.1:
            break
    print("hps seed", seed, "std", spread(results))
    torch.save({"epoch": 1, "state_dict": dict(model.state_dict())}, folder / "HPS_v2.1_compressed.pt")
    (folder / "config.json").write_text(json.dumps({"model_type": "clip"} | TOWERS, indent=2) + "\n")
    save_tokenizer(folder)
    model.double()
    model.attn_mask = model.attn_mask.double()
    return with_gradient(
        results,
        lambda prompts, image: (model.encode_image(padded(image), normalize=True) * model.encode_text(tokens(prompts), normalize=True)).sum(1),
    )


def main():
    torch.set_num_threads(1)
    fixture = {
        "command": "python test/reference/rewards_all.py",
        "versions": {name: version(name) for name in ("torch", "torchvision", "transformers", "timm", "image-reward", "open_clip_torch", "pillow")},
        "images": IMAGES,
        "aesthetic": aesthetic(),
        "blip-score": blip(),
        "pickscore": pickscore(),
        "hps": hps(),
    }
    (OUT / "more-scores.json").write_text(json.dumps(fixture, indent=1) + "\n")
    for file in OUT.rglob("*"):
        if file.is_file():
            file.chmod(0o644)


if __name__ == "__main__":
    main()
