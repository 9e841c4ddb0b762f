"""Golden values for test/models: small random-weight networks run by their reference implementations.

    python test/reference/models.py [CASE...]

Each case is a folder of test/fixtures/models: the reference's own config.json and weights (float32), `golden.safetensors` with inputs
(`in.*`), outputs (`out.*`), the upstream of a scalar loss = sum over outputs of sum(out * up) (`up.*`) and the loss's gradients
(`grad.*`; large cases keep those of inputs and of parameters up to 1,024 elements), and `golden.json` with the command and versions. Outputs and gradients are computed in float64.
Weights are redrawn from normal distributions - norms, positions, class tokens and biases too - until the outputs spread enough to tell
right from wrong.
"""

import json
import os
import sys
from importlib.metadata import version

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from models_cases import AUTOENCODERS, CLIP, CLIP_TEXTS, CLIP_TEXTS_PROJECTED, CLIP_TEXTS_SD2, IMAGE_REWARDS, UNETS, UNETS_XL
from models_image_reward import SmallImageReward
from models_tiny_sd import write_tiny_sd

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "models")
EVERY_GRADIENT = ("unet-small", "unet-sd2", "tiny-sd/text_encoder", "tiny-sd/vae", "tiny-sd/unet")
VERSIONS = {name: version(name) for name in ("torch", "diffusers", "transformers", "timm", "image-reward", "safetensors")}


def redraw(model, seed):
    """Draws every parameter anew; returns the generator for the inputs."""
    generator = torch.Generator().manual_seed(seed)

    def normal(parameter, std, mean=0.0):
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * std + mean)

    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        for key, parameter in own.items():
            if isinstance(module, (torch.nn.GroupNorm, torch.nn.LayerNorm)):
                normal(parameter, 0.3, 1.0 if key == "weight" else 0.0)
            elif isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
                if key == "bias":
                    normal(parameter, 0.2)
                else:
                    # Sharp attention: with flat probabilities a wrong head count or mask would hardly show.
                    sharp = any(part in name.split(".")[-1] for part in ("to_q", "to_k", "q_proj", "k_proj", "qkv", "query", "key"))
                    normal(parameter, (1.6 if sharp else 1.0) / parameter[0].numel() ** 0.5)
            elif key != "logit_scale":
                normal(parameter, 0.6)
    return generator


def finish(case, seed, inputs, outputs, gradients_of, extra=None):
    """Writes golden.safetensors and golden.json. `gradients_of`: name -> leaf tensor that required gradients."""
    generator = torch.Generator().manual_seed(seed + 1000)
    upstream = {name: torch.randn(value.shape, generator=generator, dtype=torch.float64) for name, value in outputs.items()}
    loss = sum((outputs[name] * upstream[name]).sum() for name in outputs)
    gradients = torch.autograd.grad(loss, list(gradients_of.values()), allow_unused=True)
    tensors = {f"in.{name}": value for name, value in inputs.items()}
    tensors |= {f"out.{name}": value for name, value in outputs.items()}
    tensors |= {f"up.{name}": value for name, value in upstream.items()}
    every = case in EVERY_GRADIENT
    tensors |= {
        f"grad.{name}": value
        for name, value in zip(gradients_of, gradients)
        if value is not None and (every or name.startswith("in.") or value.numel() <= 1024)
    }
    folder = os.path.join(FIXTURES, case)
    save_file(
        {name: (value if value.dtype == torch.int64 else value.detach().float()).contiguous() for name, value in tensors.items()},
        os.path.join(folder, "golden.safetensors"),
    )
    for file in os.listdir(folder):
        os.chmod(os.path.join(folder, file), 0o644)
    spreads = {name: float(value.std()) for name, value in outputs.items()}
    with open(os.path.join(folder, "golden.json"), "w") as file:
        json.dump(
            {"command": f"python test/reference/models.py {case}", "versions": VERSIONS, "seed": seed, "std": spreads} | (extra or {}),
            file,
            indent=2,
        )
        file.write("\n")
    print(case, "seed", seed, {name: round(value, 3) for name, value in spreads.items()})


def leaves(model, inputs):
    """Parameters by key and float inputs by `in.<name>`, all in float64 and wanting gradients."""
    found = dict(model.named_parameters())
    for name, value in inputs.items():
        if value.is_floating_point():
            value.requires_grad_(True)
            found[f"in.{name}"] = value
    return found


def drawn(build, seed):
    """A model with redrawn float32 weights, and its input generator."""
    torch.set_default_dtype(torch.float32)
    model = build().eval()
    return model, redraw(model, seed)


def double(model):
    """From here on everything is computed in float64 (the causal mask is built in the default dtype)."""
    torch.set_default_dtype(torch.float64)
    model.double()


def randn(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float32).double()


def token_ids(generator, rows, length, vocabulary, start, end, pad):
    """Rows [start, words..., end, pad...] of different lengths; no word equals start, end or pad."""
    ids = torch.full((rows, length), pad, dtype=torch.int64)
    mask = torch.zeros((rows, length), dtype=torch.int64)
    for row in range(rows):
        words = 2 + (row * 3) % (length - 4)
        ids[row, 0] = start
        ids[row, 1 : 1 + words] = torch.randint(4, vocabulary - 4, (words,), generator=generator)
        ids[row, 1 + words] = end
        mask[row, : 2 + words] = 1
    return ids, mask


def clip_text(case, config, seed, folder):
    model, generator = drawn(lambda: CLIPTextModel(CLIPTextConfig(**config)), seed)
    model.save_pretrained(folder)
    # eos_token_id 2 is the historical value of SD 1.x: the reference then takes the position of the largest id instead.
    end = config["vocab_size"] - 1 if config["eos_token_id"] == 2 else config["eos_token_id"]
    ids, _ = token_ids(generator, 4, config["max_position_embeddings"], config["vocab_size"], config["bos_token_id"], end, config["pad_token_id"])
    double(model)
    output = model(ids)
    finish(case, seed, {"ids": ids}, {"lastHiddenState": output.last_hidden_state, "pooled": output.pooler_output}, leaves(model, {}))


def clip_text_projected(case, config, seed, folder):
    model, generator = drawn(lambda: CLIPTextModelWithProjection(CLIPTextConfig(**config)), seed)
    model.save_pretrained(folder)
    ids, _ = token_ids(generator, 4, config["max_position_embeddings"], config["vocab_size"], config["bos_token_id"], config["vocab_size"] - 1, 0)
    double(model)
    output = model(ids, output_hidden_states=True)
    outputs = {"penultimate": output.hidden_states[-2], "third": output.hidden_states[-3], "projected": output.text_embeds}
    finish(case, seed, {"ids": ids}, outputs, leaves(model, {}))


def clip(case, config, seed, folder):
    model, generator = drawn(lambda: CLIPModel(CLIPConfig(**config)), seed)
    model.save_pretrained(folder)
    text, vision = config["text_config"], config["vision_config"]
    ids, _ = token_ids(
        generator, 4, text["max_position_embeddings"], text["vocab_size"], text["bos_token_id"], text["eos_token_id"], text["pad_token_id"]
    )
    inputs = {"ids": ids, "pixels": randn(generator, 4, 3, vision["image_size"], vision["image_size"])}
    double(model)
    wanted = leaves(model, inputs)
    outputs = {"text": model.get_text_features(ids), "image": model.get_image_features(inputs["pixels"])}
    finish(case, seed, inputs, outputs, wanted)


def unet(case, config, seed, folder):
    model, generator = drawn(lambda: UNet2DConditionModel(**config), seed)
    model.save_pretrained(folder)
    size = config["sample_size"]
    inputs = {
        "sample": randn(generator, 3, config["in_channels"], size, size),
        "timestep": torch.tensor([3.0, 431.0, 999.0]).double(),
        "encoderHiddenStates": randn(generator, 3, 7, config["cross_attention_dim"]),
    }
    added = {}
    if config.get("addition_embed_type") is not None:
        pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        inputs["pooled"] = randn(generator, 3, pooled)
        inputs["sizes"] = torch.tensor([[1024, 1024, 0, 0, 1024, 1024], [512, 768, 16, 40, 640, 896], [64, 32, 0, 8, 96, 48]]).double()
        added = {"text_embeds": inputs["pooled"], "time_ids": inputs["sizes"]}
    double(model)
    wanted = leaves(model, {name: value for name, value in inputs.items() if name not in ("timestep", "sizes")})
    output = model(inputs["sample"], inputs["timestep"], inputs["encoderHiddenStates"], added_cond_kwargs=added).sample
    finish(case, seed, inputs, {"sample": output}, wanted)
    # Odd sides: what comes up from below is cut to the size of the level above. Row 0 of the other inputs.
    odd = randn(generator, 1, config["in_channels"], size - 1, size - 3)
    first = {name: value[:1] for name, value in added.items()}
    with torch.no_grad():
        output = model(odd, inputs["timestep"][:1], inputs["encoderHiddenStates"][:1], added_cond_kwargs=first).sample
    path = os.path.join(FIXTURES, case, "odd.safetensors")
    save_file({"in.sample": odd.float(), "out.sample": output.float().contiguous()}, path)
    os.chmod(path, 0o644)


def autoencoder(case, config, seed, folder):
    model, generator = drawn(lambda: AutoencoderKL(**config), seed)
    # exp and the clamp of the log variance want a spread inside [-30, 20]; images want one inside [-1, 1].
    model.decoder.conv_out.weight.data.mul_(0.5)
    model.save_pretrained(folder)
    size = config["sample_size"]
    latent = size // 2 ** (len(config["block_out_channels"]) - 1)
    inputs = {"image": randn(generator, 2, 3, size, size).tanh(), "latents": randn(generator, 2, config["latent_channels"], latent, latent)}
    double(model)
    wanted = leaves(model, inputs)
    posterior = model.encode(inputs["image"]).latent_dist
    outputs = {"mean": posterior.mean, "logVariance": posterior.logvar, "image": model.decode(inputs["latents"]).sample}
    finish(case, seed, inputs, outputs, wanted)


def image_reward(case, config, seed, folder):
    med, vision = config["med"], config["vision"]
    while True:
        model, generator = drawn(lambda: SmallImageReward(med, vision), seed)
        rows = 6
        ids, mask = token_ids(generator, rows, config["max_text_length"], med["vocab_size"], 1, 2, 0)
        pixels = randn(generator, rows, 3, vision["image_size"], vision["image_size"])
        double(model)
        score = model.score_gard(ids, mask, pixels)[:, 0]
        one_text = model.score_gard(ids[:1].expand(rows, -1), mask[:1].expand(rows, -1), pixels)[:, 0]
        one_image = model.score_gard(ids, mask, pixels[:1].expand(rows, -1, -1, -1))[:, 0]
        if min(float(score.std()), float(one_text.std()), float(one_image.std())) >= 0.5:
            break
        seed += 1
    os.makedirs(folder, exist_ok=True)
    save_file({name: value.float().contiguous() for name, value in model.state_dict().items() if value.is_floating_point()},
              os.path.join(folder, "ImageReward.safetensors"))
    with open(os.path.join(folder, "med_config.json"), "w") as file:
        json.dump(med, file, indent=2)
    if config["config"] is not None:
        with open(os.path.join(folder, "config.json"), "w") as file:
            json.dump(config["config"], file, indent=2)
    inputs = {"ids": ids, "mask": mask, "pixels": pixels}
    wanted = leaves(model, inputs)
    score = model.score_gard(ids, mask, pixels)[:, 0]
    stds = {"std_one_text": float(one_text.std()), "std_one_image": float(one_image.std())}
    finish(case, seed, inputs, {"score": score}, wanted, stds)


CASES = (
    {name: (clip_text, config) for name, config in CLIP_TEXTS.items()}
    | {name: (clip, config) for name, config in CLIP.items()}
    | {name: (unet, config) for name, config in UNETS.items()}
    | {name: (autoencoder, config) for name, config in AUTOENCODERS.items()}
    | {name: (image_reward, config) for name, config in IMAGE_REWARDS.items()}
    | {name: (unet, config) for name, config in UNETS_XL.items()}
    | {name: (clip_text_projected, config) for name, config in CLIP_TEXTS_PROJECTED.items()}
    | {name: (clip_text, config) for name, config in CLIP_TEXTS_SD2.items()}
)


def main(names):
    for index, (case, (make, config)) in enumerate(CASES.items()):
        if not names or case in names:
            folder = os.path.join(FIXTURES, case)
            os.makedirs(folder, exist_ok=True)
            make(case, config, 100 * (index + 1), folder)
    if not names or any(name.startswith("tiny-sd") for name in names):
        write_tiny_sd(os.path.join(FIXTURES, "tiny-sd"))


if __name__ == "__main__":
    main(sys.argv[1:])
