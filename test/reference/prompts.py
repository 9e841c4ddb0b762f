"""Golden conditionings of prompts in the syntax of AUTOMATIC1111's web UI, on the random weights of test/fixtures/models/tiny-sd.

Run: python test/reference/prompts.py   (versions: test/reference/requirements.txt)
Writes test/fixtures/prompts/: textual inversion files in the formats in use, and conditioning.json.

No parser is used here: each case lists its chunks, texts and weights as worked out by hand. The text encoder is transformers' CLIPTextModel; its states
are multiplied by the weights and brought back to their mean (emphasis "Original"). Where neither weights nor chunks are involved,
diffusers' encode_prompt gives the values.
"""

import base64
import json
from importlib.metadata import version
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
OUT = FIXTURES / "prompts"
WIDTH = 32
UP = 1.1

# a number of vectors in the place of a text is an embedding
STAR, SUN = 2, 3

PLAIN = [("a red circle", 1)]
LONG = "a red circle above the blue square "  # 7 tokens
CASES = [
    dict(prompt="a (red:1.3) circle", chunks=[[("a", 1), ("red", 1.3), ("circle", 1)]]),
    dict(prompt="a ((red)) [circle]", chunks=[[("a", 1), ("red", UP * UP), ("circle", 1 / UP)]]),
    dict(prompt="a (red:-0.5) circle (:2)", chunks=[[("a", 1), ("red", -0.5), ("circle", 1)]]),
    dict(prompt="\\(red\\) circle", chunks=[[("(red) circle", 1)]]),
    dict(prompt="a red circle", chunks=[PLAIN]),
    dict(prompt="", chunks=[[]]),
    dict(prompt="(a red circle:1.5) BREAK [a blue square]", chunks=[[("a red circle", 1.5)], [("a blue square", 1 / UP)]]),
    # 18 tokens to a chunk: seven, seven and four, then three
    dict(prompt=LONG * 2 + LONG[:19] + "(the blue square:1.2)", chunks=[[(LONG * 2 + "a red circle above", 1)], [("the blue square", 1.2)]]),
    dict(
        prompt="a red circle, a blue square, the left of the circle on a red square above (the blue circle:0.8)",
        chunks=[[("a red circle, a blue square,", 1)], [("the left of the circle on a red square above", 1), ("the blue circle", 0.8)]],
    ),
    dict(prompt="a ((red)) [circle]", clip_skip=2, chunks=[[("a", 1), ("red", UP * UP), ("circle", 1 / UP)]]),
    # of the two halves of guidance the shorter is filled up with an empty chunk
    dict(prompt="a red circle BREAK (a blue square:1.4)", negative="a (blue:0.7)", chunks=[PLAIN, [("a blue square", 1.4)]], negative_chunks=[[("a", 1), ("blue", 0.7)], []]),
    dict(prompt="a circle", negative="", chunks=[[("a circle", 1)]], negative_chunks=[[]]),
    dict(prompt="a star circle", files=["star.pt"], chunks=[[("a", 1), (STAR, 1), ("circle", 1)]]),
    dict(prompt="a (star:1.4) <sun> circle", files=["star.pt", "sun.bin"], chunks=[[("a", 1), (STAR, 1.4), (SUN, 1), ("circle", 1)]]),
    # 17 tokens, and two vectors that do not fit
    dict(prompt=LONG * 2 + "a red circle star", files=["star.pt"], clip_skip=2, chunks=[[(LONG * 2 + "a red circle", 1)], [(STAR, 1)]]),
]
# prompts that diffusers reads the same way
DIFFUSERS = [
    dict(prompt="a red circle above a blue square", clip_skip=2),
    dict(prompt="a red circle above a blue square", syntax="plain", clip_skip=2),
    dict(prompt="a <sun> circle", files=["sun.bin"]),
    dict(prompt="a <sun> circle", files=["sun.bin"], clip_skip=2),
]


def vectors(count, seed, width=WIDTH):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def write_embeddings():
    web_ui = dict(name="other", step=100, sd_checkpoint=None, sd_checkpoint_name=None)
    star = vectors(2, 1)
    torch.save(dict(string_to_token={"*": 265}, string_to_param={"*": star.clone().requires_grad_()}, **web_ui), OUT / "star.pt")
    torch.save(
        dict(string_to_token={"*": torch.tensor(265)}, string_to_param={"*": torch.nn.Parameter(star)}, **web_ui),
        OUT / "star-legacy.pt",
        _use_new_zipfile_serialization=False,
    )
    torch.save(dict(string_to_token={"*": 265}, string_to_param=torch.nn.ParameterDict({"*": star}), **web_ui), OUT / "star-modules.pt")
    save_file({"emb_params": star}, OUT / "star.safetensors")
    torch.save({"<sun>": vectors(3, 2)}, OUT / "sun.bin")
    save_file({"<moon>": vectors(1, 3)[0].half()}, OUT / "moon.safetensors")
    save_file({"emb_params": vectors(1, 4, 48)}, OUT / "wide.safetensors")
    save_file({"clip_l": vectors(1, 5), "clip_g": vectors(1, 6, 48)}, OUT / "two.safetensors")
    return {STAR: star, SUN: vectors(3, 2)}


class Reference:
    def __init__(self, pipe, embeddings):
        self.encoder, self.tokenizer, self.embeddings = pipe.text_encoder, pipe.tokenizer, embeddings

    def chunk(self, parts, clip_skip):
        ids, weights, given = [self.tokenizer.bos_token_id], [1.0], {}
        for text, weight in parts:
            if isinstance(text, int):
                given |= {len(ids) + i: vector for i, vector in enumerate(self.embeddings[text])}
                tokens = [0] * text
            else:
                tokens = self.tokenizer(text, add_special_tokens=False).input_ids
            ids += tokens
            weights += [weight] * len(tokens)
        window = self.tokenizer.model_max_length
        assert len(ids) < window, parts
        ids += [self.tokenizer.eos_token_id] + [self.tokenizer.pad_token_id] * (window - len(ids) - 1)
        weights += [1.0] * (window - len(weights))

        def replace(module, inputs, output):
            for at, vector in given.items():
                output[0, at] = vector
            return output

        hook = self.encoder.text_model.embeddings.token_embedding.register_forward_hook(replace)
        out = self.encoder(torch.tensor([ids]), output_hidden_states=True)
        hook.remove()
        states = out.last_hidden_state if clip_skip == 1 else self.encoder.text_model.final_layer_norm(out.hidden_states[-clip_skip])
        states = states[0].double()
        weighted = states * torch.tensor(weights, dtype=torch.float64)[:, None]
        return weighted * (states.mean() / weighted.mean())

    def prompt(self, chunks, clip_skip):
        return torch.cat([self.chunk(parts, clip_skip) for parts in chunks])


def b64(states):
    return base64.b64encode(states.detach().numpy().astype("<f4").tobytes()).decode()


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    embeddings = write_embeddings()
    load = lambda: StableDiffusionPipeline.from_pretrained(FIXTURES / "models" / "tiny-sd", safety_checker=None)
    reference = Reference(load(), embeddings)
    cases = []
    for case in CASES:
        case = dict(case)
        clip_skip = case.get("clip_skip", 1)
        states = reference.prompt(case.pop("chunks"), clip_skip)
        if "negative" in case:
            states = torch.stack([reference.prompt(case.pop("negative_chunks"), clip_skip), states])
        cases.append({"of": "transformers", **case, "states": b64(states)})
    for case in DIFFUSERS:
        pipe = load()
        for file in case.get("files", []):
            pipe.load_textual_inversion(OUT / file)
        skip = case["clip_skip"] - 1 if "clip_skip" in case else None
        states, _ = pipe.encode_prompt(case["prompt"], "cpu", 1, False, clip_skip=skip)
        cases.append({"of": "diffusers", **case, "states": b64(states)})
    fixture = {
        "command": "python test/reference/prompts.py",
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", "safetensors")},
        "cases": cases,
    }
    (OUT / "conditioning.json").write_text(json.dumps(fixture, indent=1) + "\n")


main()
