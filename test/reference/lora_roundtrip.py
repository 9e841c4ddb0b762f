"""diffusers draws with what Laurel wrote: LoRA files in both namings, and a folder with LoRAs merged into its weights.

Run: npm run build && python test/reference/lora_roundtrip.py   (versions: test/reference/requirements.txt)
Prints, for each, the mean difference between Laurel's picture and diffusers' for the same seed, in units of 1/255, and the difference the LoRA makes.
Exits with 1 when one is above 1. The figures are in docs/lora.md.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "demo" / "stable-diffusion"
FIXTURES = ROOT / "test" / "fixtures" / "lora"
PROMPT, SEED, STEPS, GUIDANCE = "a red circle above a blue square", 21, 10, 2.5


def laurel(*args):
    run = subprocess.run(["node", ROOT / "dist" / "cli" / "main.js", *map(str, args)], check=True, capture_output=True, text=True)
    return run.stdout


def laurels_picture(folder, *args):
    result = json.loads(laurel("generate", PROMPT, "-n", 1, "--seed", SEED, "--steps", STEPS, "--guidance", GUIDANCE, "--out", folder, "--json", "--quiet", *args))
    return np.asarray(Image.open(result["best"]["path"]).convert("RGB")).astype(int)


def reference(model, lora=None, scale=1.0):
    pipe = StableDiffusionPipeline.from_pretrained(model, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    if lora is not None:
        pipe.load_lora_weights(lora.parent, weight_name=lora.name, adapter_name="laurel")
        pipe.set_adapters(["laurel"], [scale])
    picture = pipe(PROMPT, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=torch.Generator("cpu").manual_seed(SEED), output_type="np").images[0]
    return (picture * 255).round().astype(int)


def main():
    torch.set_num_threads(1)
    worst = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = reference(MODEL)

        def compare(label, ours, theirs):
            nonlocal worst
            difference = abs(ours - theirs).mean()
            worst = max(worst, difference)
            print(f"{label}: mean difference {difference:.4f}/255 (the LoRA itself makes {abs(theirs - base).mean():.1f})", flush=True)

        # diffusers' reader of kohya's names knows no conv_in, and no text encoder without out_proj
        known = {name: value for name, value in load_file(FIXTURES / "conv.safetensors").items() if "conv_in" not in name}
        save_file(known, folder / "conv.safetensors")
        for source, naming, scale in (
            (FIXTURES / "attention.safetensors", "diffusers", 1.0),
            (FIXTURES / "kohya.safetensors", "diffusers", 0.9),
            (folder / "conv.safetensors", "kohya", 0.5),
            (FIXTURES / "kohya.safetensors", "kohya", -0.6),
        ):
            written = folder / f"{source.stem}-as-{naming}.safetensors"
            laurel("lora", "convert", source, "--to", naming, "--model", MODEL, "--out", written)
            ours = laurels_picture(folder, "--lora", f"{written}:{scale}")
            compare(f"{written.name} at {scale}", ours, reference(MODEL, written, scale))
        merged = folder / "merged"
        laurel("lora", "merge", "--lora", f"{FIXTURES / 'attention.safetensors'}:0.7", "--lora", f"{FIXTURES / 'conv.safetensors'}:0.5", "--out", merged)
        theirs = reference(merged)
        compare("merged folder", laurels_picture(folder, "--model", merged), theirs)
        both = laurels_picture(folder, "--lora", f"{FIXTURES / 'attention.safetensors'}:0.7", "--lora", f"{FIXTURES / 'conv.safetensors'}:0.5")
        compare("merged folder there, its LoRAs beside the base here", both, theirs)
    sys.exit(worst > 1)


if __name__ == "__main__":
    main()
