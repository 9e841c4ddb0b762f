"""Completes test/fixtures/models/tiny-sd to a whole diffusers folder: tokenizer, scheduler and model_index.json.

Its networks are the cases `tiny-sd/text_encoder`, `tiny-sd/unet` and `tiny-sd/vae`.
"""

import json
import os

from diffusers import PNDMScheduler
from transformers import CLIPTokenizer
from transformers.models.clip.tokenization_clip import bytes_to_unicode

MERGES = [
    ("r", "e"), ("re", "d</w>"), ("c", "i"), ("ci", "r"), ("c", "l"), ("cl", "e</w>"), ("cir", "cle</w>"), ("b", "l"), ("bl", "u"), ("blu", "e</w>"),
    ("s", "q"), ("sq", "u"), ("squ", "a"), ("squa", "re</w>"), ("r", "e</w>"), ("a", "b"), ("ab", "o"), ("abo", "v"), ("abov", "e</w>"),
    ("o", "n</w>"), ("a", "n</w>"), ("t", "h"), ("th", "e</w>"), ("o", "f</w>"), ("l", "e"), ("le", "f"), ("lef", "t</w>"),
]


def write_tiny_sd(folder):
    os.makedirs(os.path.join(folder, "tokenizer"), exist_ok=True)
    characters = list(bytes_to_unicode().values())
    words = characters + [c + "</w>" for c in characters] + ["".join(pair) for pair in MERGES]
    words = list(dict.fromkeys(words))
    words += [f"<|unused{index}|>" for index in range(598 - len(words))]  # the text encoder's table has 600 rows
    vocabulary = {word: index for index, word in enumerate(words + ["<|startoftext|>", "<|endoftext|>"])}
    assert len(vocabulary) == 600
    with open(os.path.join(folder, "tokenizer", "vocab.json"), "w", encoding="utf-8") as file:
        json.dump(vocabulary, file, ensure_ascii=False)
    with open(os.path.join(folder, "tokenizer", "merges.txt"), "w", encoding="utf-8") as file:
        file.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in MERGES))
    tokenizer = CLIPTokenizer(
        os.path.join(folder, "tokenizer", "vocab.json"), os.path.join(folder, "tokenizer", "merges.txt"),
        model_max_length=20, pad_token="<|endoftext|>",
    )
    tokenizer.save_pretrained(os.path.join(folder, "tokenizer"))
    PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1,
    ).save_pretrained(os.path.join(folder, "scheduler"))
    with open(os.path.join(folder, "model_index.json"), "w") as file:
        json.dump(
            {
                "_class_name": "StableDiffusionPipeline",
                "_diffusers_version": "0.38.0",
                "feature_extractor": [None, None],
                "safety_checker": [None, None],
                "requires_safety_checker": False,
                "scheduler": ["diffusers", "PNDMScheduler"],
                "text_encoder": ["transformers", "CLIPTextModel"],
                "tokenizer": ["transformers", "CLIPTokenizer"],
                "unet": ["diffusers", "UNet2DConditionModel"],
                "vae": ["diffusers", "AutoencoderKL"],
            },
            file,
            indent=2,
        )
        file.write("\n")
