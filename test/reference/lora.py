"""LoRA files as PEFT, diffusers and kohya's trainers name them, and the pictures diffusers draws with them on models/demo/stable-diffusion.

Run: python test/reference/lora.py   (versions: test/reference/requirements.txt)
Writes test/fixtures/lora/: the files (matrices drawn at random, large enough to change the picture), and images.json: for each case its LoRAs, what was
asked for, and the picture (8-bit RGB). To be run again when the demo model is trained anew.
"""

import base64
import json
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "demo" / "stable-diffusion"
OUT = ROOT / "test" / "fixtures" / "lora"
PROMPT = "a red circle above a blue square"
ASK = dict(prompt=PROMPT, seed=7, steps=10, guidance=2.5)


def pipeline():
    pipe = StableDiffusionPipeline.from_pretrained(MODEL, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def redraw(model, seed, size):
    """Random matrices, in half precision as the file will have them: the norm of an update is about `size` times that of a weight."""
    generator = torch.Generator("cpu").manual_seed(seed)
    for name, value in model.named_parameters():
        if ".lora_A." in name:
            value.data = torch.randn(value.shape, generator=generator) / value[0].numel() ** 0.5
        elif ".lora_B." in name:
            value.data = size * torch.randn(value.shape, generator=generator)
        else:
            continue
        value.data = value.data.half().float()


def halves(state):
    return {name: value.half().contiguous() for name, value in state.items()}


def attention():
    """diffusers' own file of today: attention of the denoiser and the text encoder, with PEFT's configuration beside the matrices."""
    pipe = pipeline()
    unet = LoraConfig(
        r=2,
        lora_alpha=3,
        target_modules=["to_q", "to_k", "to_v", "to_out.0"],
        rank_pattern={"mid_block.attentions.0.transformer_blocks.0.attn2.to_k": 4},
        alpha_pattern={"mid_block.attentions.0.transformer_blocks.0.attn2.to_v": 1.0},
    )
    pipe.unet.add_adapter(unet)
    pipe.text_encoder.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["q_proj", "v_proj"]))
    redraw(pipe.unet, 1, 0.3)
    redraw(pipe.text_encoder, 2, 0.5)
    pipe.save_lora_weights(
        OUT,
        unet_lora_layers=halves(get_peft_model_state_dict(pipe.unet)),
        text_encoder_lora_layers=halves(convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.text_encoder))),
        weight_name="attention.safetensors",
        unet_lora_adapter_metadata=pipe.unet.peft_config["default"].to_dict(),
        text_encoder_lora_adapter_metadata=pipe.text_encoder.peft_config["default"].to_dict(),
    )


CONV_TARGETS = [
    "conv_in",
    "down_blocks.0.downsamplers.0.conv",
    "mid_block.resnets.0.conv1",
    "mid_block.resnets.0.time_emb_proj",
    "up_blocks.1.resnets.0.conv_shortcut",
    "mid_block.attentions.0.proj_in",
    "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj",
    "mid_block.attentions.0.transformer_blocks.0.ff.net.2",
    "up_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj",
]


def conv():
    """Convolutions, feed-forward layers and a projection of the time embedding, in diffusers' naming, without metadata: alpha is the rank."""
    pipe = pipeline()
    pipe.unet.add_adapter(LoraConfig(r=3, lora_alpha=3, target_modules=CONV_TARGETS))
    redraw(pipe.unet, 3, 0.7)
    pipe.save_lora_weights(OUT, unet_lora_layers=halves(get_peft_model_state_dict(pipe.unet)), weight_name="conv.safetensors")


def kohya():
    """kohya's naming with an alpha that is not the rank, convolutions and the text encoder included."""
    targets = ["mid_block.resnets.0.conv1", "mid_block.attentions.0.proj_out", *(f"attn{i}.{name}" for i in (1, 2) for name in ("to_q", "to_out.0"))]
    pipe = pipeline()
    pipe.unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=targets))
    pipe.text_encoder.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["fc1", "out_proj"]))
    redraw(pipe.unet, 4, 0.4)
    redraw(pipe.text_encoder, 5, 0.4)
    state = {}
    for prefix, model, alpha in (("lora_unet_", pipe.unet, 0.75), ("lora_te_", pipe.text_encoder, 1.0)):
        for name, value in get_peft_model_state_dict(model).items():
            layer, part, _ = name.rsplit(".", 2)
            own = prefix + layer.replace(".", "_")
            state[f"{own}.{ {'lora_A': 'lora_down', 'lora_B': 'lora_up'}[part]}.weight"] = value.half().contiguous()
            state[f"{own}.alpha"] = torch.tensor(alpha).half()
    save_file(state, OUT / "kohya.safetensors", {"ss_network_dim": "2", "ss_network_alpha": "0.75", "ss_network_module": "networks.lora"})


def old():
    """The naming of diffusers' first attention processors, and of what came after it."""
    first, second = {}, {}
    for name, value in load_file(OUT / "attention.safetensors").items():
        if value.shape[0 if "lora_A" in name or ".down." in name else 1] != 2:
            continue
        name = name.replace("lora_linear_layer.down", "lora_A").replace("lora_linear_layer.up", "lora_B")
        layer, part, _ = name.rsplit(".", 2)
        way = {"lora_A": "down", "lora_B": "up"}[part]
        if name.startswith("unet."):
            block, attn, own = layer.removesuffix(".0").rsplit(".", 2) if layer.endswith("to_out.0") else layer.rsplit(".", 2)
            first[f"{block}.{attn}.processor.{own}_lora.{way}.weight"] = value
            if block.startswith("unet.mid_block"):
                second[f"{layer}.lora.{way}.weight"] = value
        elif ".layers.0." in name:
            second[f"{layer}.lora_linear_layer.{way}.weight"] = value
    save_file(first, OUT / "processors.safetensors")
    save_file(second, OUT / "old.safetensors")


def peft():
    """What PEFT saves by itself: adapter_model.safetensors with adapter_config.json, here rank-stabilised."""
    unet = pipeline().unet
    model = get_peft_model(unet, LoraConfig(r=4, lora_alpha=2, use_rslora=True, target_modules=["attn2.to_q", "attn2.to_v"]))
    redraw(model, 6, 0.6)
    for name, value in model.named_parameters():
        if ".lora_" in name:
            value.data = value.data.half()
    target = OUT / "peft"
    model.save_pretrained(target)
    (target / "README.md").unlink()


def b64(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def draw(pipe, callback=None):
    picture = pipe(
        ASK["prompt"],
        num_inference_steps=ASK["steps"],
        guidance_scale=ASK["guidance"],
        generator=torch.Generator("cpu").manual_seed(ASK["seed"]),
        output_type="np",
        callback_on_step_end=callback,
    ).images[0]
    return (picture * 255).round().astype(np.uint8)


def picture_of(loras, anneal=None):
    pipe = pipeline()
    names = []
    for i, (file, _) in enumerate(loras):
        names.append(f"a{i}")
        if file.startswith("peft/"):
            from peft import PeftModel

            pipe.unet = PeftModel.from_pretrained(pipe.unet, OUT / "peft")
        else:
            pipe.load_lora_weights(OUT, weight_name=file, adapter_name=names[-1])
    scales = [scale for _, scale in loras]
    if any(file.startswith("peft/") for file, _ in loras):
        return draw(pipe)
    if names:
        pipe.set_adapters(names, scales)
    if anneal is None:
        return draw(pipe)

    # only the denoiser's LoRAs are annealed; the text encoder has run before the first step
    trained = pipe.scheduler.config.num_train_timesteps
    pipe.scheduler.set_timesteps(ASK["steps"])
    timesteps = [float(t) for t in pipe.scheduler.timesteps]

    def weigh(i):
        weight = min(1.0, (1 - timesteps[i] / (trained - 1)) / anneal)
        pipe.unet.set_adapters(names, [scale * weight for scale in scales])

    def after(_, i, t, kwargs):
        if i + 1 < len(timesteps):
            weigh(i + 1)
        return {}

    weigh(0)
    return draw(pipe, after)


CASES = [
    dict(loras=[]),
    dict(loras=[["attention.safetensors", 1.0]]),
    dict(loras=[["attention.safetensors", -0.6]]),
    dict(loras=[["conv.safetensors", 1.0]]),
    dict(loras=[["kohya.safetensors", 0.9]]),
    dict(loras=[["processors.safetensors", 1.0]]),
    dict(loras=[["old.safetensors", 2.0]]),
    dict(loras=[["peft/adapter_model.safetensors", 1.0]]),
    dict(loras=[["attention.safetensors", 0.7], ["conv.safetensors", 0.5]]),
    dict(loras=[["attention.safetensors", 1.0]], anneal=0.6),
]


def main():
    torch.set_num_threads(1)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    torch.manual_seed(0)
    for make in (attention, conv, kohya, old, peft):
        make()
    cases = [{**case, "rgb": b64(picture_of(case["loras"], case.get("anneal")))} for case in CASES]
    base = np.frombuffer(base64.b64decode(cases[0]["rgb"]), np.uint8).astype(int)
    for case in cases:
        own = np.frombuffer(base64.b64decode(case["rgb"]), np.uint8).astype(int)
        print(case["loras"], case.get("anneal"), f"mean difference to the base: {abs(own - base).mean():.1f}/255")
    packages = ("torch", "diffusers", "transformers", "peft", "safetensors")
    made = {"command": "python test/reference/lora.py", "versions": {name: version(name) for name in packages}}
    document = {**made, "request": ASK, "width": 64, "height": 64, "cases": cases}
    (OUT / "images.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
