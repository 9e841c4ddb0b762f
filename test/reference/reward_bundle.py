"""Holds what `laurel export reward` writes to PyTorch: gradients through ImageReward's own modules, transformers' CLIPModel and diffusers' AutoencoderKL,
tokens to transformers' and Laurel's own, files to the ONNX checker; and runs the example loop. On the demo models.

Run: python test/reference/reward_bundle.py   (after npm run build; versions: test/reference/requirements.txt)
Prints one line a check and fails at the first that does not hold.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from transformers import CLIPModel

from models_image_reward import SmallImageReward
from reward_gradients import preprocess

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "models" / "demo"
LAUREL = ["node", str(ROOT / "dist" / "cli" / "main.js")]
PROMPTS = ["a red circle above a blue square", "a small green triangle, left of a pink circle on a grey background!"]
ODD_PROMPTS = [
    "", "  a\tRED\ncircle  ", "Café déjà-vu naïve ÅNGSTRÖM", "ΟΔΥΣΣΕΥΣ Σ ΣΑΣ", "İstanbul ﬁne ½ ²", "日本語の犬 한국어 中文字", "it's we'll they've I'd ''s 'S",
    "a\u200bb\u00adc\ufeffd e\u00a0f\u3000g\u2009h\u0085i", "emoji 🦊👩‍👩‍👧 flag 🇩🇪", "<|endoftext|> mid <|startoftext|>x", "[CLS] a [MASK] [dec] [DEC]",
    "x" * 120, "3.14159 1,000 a_b-c/d\\e", "\u0345a\u0345 ſ 'ſ", "e\u0301 o\u0308 \u1e9b\u0323", "the quick brown fox " * 12, "a\u0000b\ufffdc", "$%&!!??...",
]
LIMIT = 1e-4


def reward_model():
    state = {key: value.double() for key, value in load_file(DEMO / "image-reward" / "ImageReward.safetensors").items()}
    med = json.loads((DEMO / "image-reward" / "med_config.json").read_text())
    own = json.loads((DEMO / "image-reward" / "config.json").read_text())
    depth = 1 + max(int(key.split(".")[3]) for key in state if key.startswith("blip.visual_encoder.blocks."))
    vision = dict(image_size=own["image_size"], patch=own["patch_size"], width=state["blip.visual_encoder.cls_token"].shape[-1], depth=depth,
                  heads=own["vision_heads"])
    model = SmallImageReward(med, vision).double().eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [key for key in missing if not key.endswith("position_ids") and "_proj." not in key.split("visual_encoder")[0]]
    assert not unexpected and not missing, (missing, unexpected)
    return lambda ids, mask, pixels: model.score_gard(ids, mask, pixels)[:, 0]


def clip_model():
    model = CLIPModel.from_pretrained(DEMO / "clip").float().eval()

    def score(ids, _, pixels):
        text = model.float().get_text_features(ids).detach().double()
        return F.cosine_similarity(text, model.double().get_image_features(pixels))

    return score


def decoder():
    vae = AutoencoderKL.from_pretrained(DEMO / "stable-diffusion" / "vae").double().eval()
    return lambda latents: (vae.decode(latents / vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)


def export(folder, *options):
    subprocess.run([*LAUREL, "export", "reward", "--out", str(folder), "--quiet", *options], check=True, stdout=subprocess.DEVNULL)
    sys.path.insert(0, str(folder))
    from laurel_reward import Reward

    sys.path.pop(0)
    return Reward(str(folder))


def check_files(reward):
    for model in reward.manifest["models"].values():
        path = Path(reward.folder) / model["file"]
        onnx.checker.check_model(str(path), full_check=True)
        assert {entry.domain for entry in onnx.load(str(path), load_external_data=False).opset_import} == {""}
    reward.check()


def relative(actual, expected):
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def compare(name, reward, models, to_pixels, picture):
    """Scores and gradients, with an upstream of its own for each row; through torch.autograd too."""
    check_files(reward)
    upstream = torch.tensor([1.0, -0.5], dtype=torch.float64)
    reference = picture.double().requires_grad_()
    total = 0
    for member, tokenizer in zip(reward.manifest["rewards"], reward.tokenizers):
        ids, mask = (torch.from_numpy(array) for array in tokenizer(PROMPTS))
        score = models[member["name"]](ids, mask, to_pixels(reference, member["imageSize"]))
        total = total + member["weight"] * score
    total.backward(upstream)
    scores, slope = reward.gradient(PROMPTS, picture.numpy(), upstream.numpy())
    tensor = picture.clone().requires_grad_()
    through = reward.torch(PROMPTS, tensor)
    through.backward(upstream.float())
    errors = [relative(slope, reference.grad.numpy()), relative(tensor.grad.numpy(), reference.grad.numpy())]
    apart = float(np.abs(scores - total.detach().numpy()).max())
    print(f"{name}: gradient {max(errors):.1e} of its largest value, scores {apart:.1e}")
    assert max(errors) <= LIMIT and apart <= 1e-4, name


def check_tokens(folder, reward):
    """Against the ids that the library in TypeScript gives for the same bundle."""
    code = """
      const { loadReward } = await import(process.argv[1] + "/dist/index.js");
      const reward = await loadReward(process.argv[2]);
      let text = ""; for await (const part of process.stdin) text += part;
      const encodings = reward.tokenizers.map((one) => JSON.parse(text).map((prompt) => one.encode(prompt)));
      console.log(JSON.stringify(encodings)); await reward.dispose();"""
    run = subprocess.run(["node", "--input-type=module", "-e", code, str(ROOT), str(folder)], input=json.dumps(ODD_PROMPTS), check=True,
                         capture_output=True, text=True)
    for member, tokenizer, expected in zip(reward.manifest["rewards"], reward.tokenizers, json.loads(run.stdout)):
        ids, mask = tokenizer(ODD_PROMPTS)
        for prompt, a, b, encoding in zip(ODD_PROMPTS, ids.tolist(), mask.tolist(), expected):
            assert a == encoding["ids"] and b == encoding["mask"], (member["name"], prompt, a, encoding["ids"])
        print(f"tokens of {member['name']}: {len(ODD_PROMPTS)} prompts as in TypeScript")


def check_example(folder):
    lines = subprocess.run([sys.executable, "example.py"], cwd=folder, check=True, capture_output=True, text=True).stdout.splitlines()
    first, last = (float(line.split()[-1]) for line in (lines[0], lines[-1]))
    print(f"example.py: reward {first} -> {last}")
    assert last > first


def main():
    torch.set_num_threads(2)
    models = {"image-reward": reward_model(), "clip-score": clip_model()}
    decode = decoder()
    generator = torch.Generator().manual_seed(7)
    pixels = torch.randn(2, 3, 64, 64, generator=generator)
    # a third of the colours are plain black or white
    image = (torch.rand(2, 3, 72, 96, generator=generator) * 1.6 - 0.3).clamp(0, 1)

    def from_image(x, side):
        return preprocess(x, side)

    def from_latents(x, side):
        return preprocess(decode(x), side)

    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        cases = [
            ("pixels", ["--from", "pixels"], lambda x, _: x, pixels),
            ("image 96x72", ["--from", "image", "--size", "96x72"], from_image, image),
            ("latents", ["--from", "latents"], from_latents, None),
            ("latents 96x64, one file", ["--from", "latents", "--size", "96x64", "--single-file"], from_latents, None),
            ("CLIP pixels", ["--reward", "clip-score", "--from", "pixels"], lambda x, _: x, pixels),
            ("ensemble, image", ["--reward", "image-reward", "--reward", "clip-score=2.5", "--size", "96x72"], from_image, image),
            ("ensemble, latents, batch 2", ["--reward", "image-reward=0.5", "--reward", "clip-score", "--from", "latents", "--batch", "2"],
             from_latents, None),
        ]
        for index, (name, options, to_pixels, picture) in enumerate(cases):
            folder = scratch / str(index)
            reward = export(folder, *options)
            if picture is None:
                picture = torch.randn(2, *reward.manifest["picture"]["shape"][1:], generator=generator)
            compare(name, reward, models, to_pixels, picture)
            if index in (0, 1, 2, 4):
                check_example(folder)
            if name.startswith("ensemble, image"):
                check_tokens(folder, reward)


main()
