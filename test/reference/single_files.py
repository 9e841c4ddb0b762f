"""Tiny single-file checkpoints of Stable Diffusion 1, 2 and XL in the layouts of the published ones, and what diffusers' own loader makes of them.

Models of diffusers and transformers are drawn at random, renamed to CompVis' and OpenCLIP's names, and saved; then diffusers' conversion functions
(`from_single_file` calls them) are run on the files, which must give the models back bit by bit. `golden.json` keeps the configurations and a
digest of every converted tensor: the first 16 digits of the SHA-256 of its shape and bytes.

    python test/reference/single_files.py test/fixtures/weights/single-file

Made with torch 2.13.0, diffusers 0.38.0, transformers 4.57.1, safetensors 0.6.2.
"""

import copy
import hashlib
import json
import os
import re
import sys

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as reference
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

UNET = "model.diffusion_model."
VAE = "first_stage_model."


def redrawn(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3 / max(1, parameter[0].numel() if parameter.dim() > 1 else 1) ** 0.5
        if parameter.dim() == 1:
            parameter.data += 0.5
    return model.eval()


def unet(seed, **changes):
    config = dict(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(4, 8), layers_per_block=2, norm_num_groups=2, cross_attention_dim=8,
        attention_head_dim=2, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    return redrawn(UNet2DConditionModel(**{**config, **changes}), seed)


def vae(seed, channels=(4, 8)):
    config = dict(
        block_out_channels=channels, norm_num_groups=2, latent_channels=4, layers_per_block=1, sample_size=16,
        down_block_types=["DownEncoderBlock2D"] * len(channels), up_block_types=["UpDecoderBlock2D"] * len(channels),
    )
    return redrawn(AutoencoderKL(**config), seed)


def clip(seed, kind=CLIPTextModel, **changes):
    config = dict(
        vocab_size=600, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=20, projection_dim=8,
        bos_token_id=598, eos_token_id=2, pad_token_id=599,
    )
    return redrawn(kind(CLIPTextConfig(**{**config, **changes})), seed)


def to_ldm_unet(model):
    layers = model.config.layers_per_block
    resnet = {
        "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0", "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
    ends = {
        "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "add_embedding.linear_1": "label_emb.0.0",
        "add_embedding.linear_2": "label_emb.0.2", "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    }

    def rename(name):
        module, kind = name.rsplit(".", 1)
        if module in ends:
            return f"{ends[module]}.{kind}"
        found = re.match(r"(down_blocks|up_blocks)\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)$", name)
        if found:
            side, block, part, layer, rest = found.groups()
            block, layer = int(block), int(layer)
            down = side == "down_blocks"
            first = block * (layers + 1) + (1 if down else 0)
            at = f"{'input' if down else 'output'}_blocks"
            if part == "downsamplers":
                return f"{at}.{first + layers}.0.op.{kind}"
            if part == "upsamplers":
                return f"{at}.{first + layers}.{2 if hasattr(model.up_blocks[block], 'attentions') else 1}.conv.{kind}"
            if part == "attentions":
                return f"{at}.{first + layer}.1.{rest}"
            return f"{at}.{first + layer}.0.{resnet[rest.rsplit('.', 1)[0]]}.{kind}"
        part, layer, rest = re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)$", name).groups()
        if part == "attentions":
            return f"middle_block.1.{rest}"
        return f"middle_block.{2 * int(layer)}.{resnet[rest.rsplit('.', 1)[0]]}.{kind}"

    return {UNET + rename(name): value for name, value in model.state_dict().items()}


def to_ldm_vae(model):
    levels = len(model.config.block_out_channels)
    attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
    tensors = {}
    for name, value in model.state_dict().items():
        name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        found = re.match(r"(.+)mid_block\.attentions\.0\.(.+)\.(weight|bias)$", name)
        if found:
            name = f"{found[1]}mid.attn_1.{attention[found[2]]}.{found[3]}"
            if value.dim() == 2:
                value = value[:, :, None, None]
        name = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", name)
        name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(r"up_blocks\.(\d)\.resnets\.", lambda m: f"up.{levels - 1 - int(m[1])}.block.", name)
        name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", name)
        tensors[VAE + name] = value
    return tensors


def to_open_clip(model, prefix, more_layers=0):
    state = {name: value for name, value in model.state_dict().items() if not name.endswith("position_ids")}
    tensors = {}
    for name, value in state.items():
        name = name.replace("text_model.embeddings.token_embedding", "token_embedding").replace("text_model.final_layer_norm", "ln_final")
        name = name.replace("text_model.embeddings.position_embedding.weight", "positional_embedding")
        name = name.replace("text_model.encoder.layers", "transformer.resblocks").replace("layer_norm", "ln_").replace("fc1", "c_fc").replace("fc2", "c_proj")
        if name == "text_projection.weight":
            name, value = "text_projection", value.T.contiguous()
        if "self_attn" in name and "out_proj" not in name:
            if "q_proj" not in name:
                continue
            original = "text_model.encoder.layers." + name.split("resblocks.")[1]
            value = torch.cat([state[original.replace("q_proj", f"{one}_proj")] for one in "qkv"])
            name = name.replace("self_attn.q_proj.", "attn.in_proj_")
        tensors[prefix + name.replace("self_attn", "attn")] = value
    last = model.config.num_hidden_layers - 1
    for name in [name for name in tensors if f"resblocks.{last}." in name]:
        for extra in range(more_layers):  # blocks that Stable Diffusion 2 does not use
            tensors[name.replace(f"resblocks.{last}.", f"resblocks.{last + 1 + extra}.")] = torch.full_like(tensors[name], 7.0)
    tensors[prefix + "logit_scale"] = torch.tensor(4.6)
    if prefix + "text_projection" not in tensors:
        tensors[prefix + "text_projection"] = torch.full((model.config.hidden_size, model.config.projection_dim), 7.0)
    return tensors


def to_clip(model, prefix):
    tensors = {prefix + name: value for name, value in model.state_dict().items()}
    tensors[prefix + "text_model.embeddings.position_ids"] = torch.arange(model.config.max_position_embeddings)[None]
    return tensors


def averages(tensors):
    """LitEma's buffers: moved a little, and named without dots."""
    named = {"model_ema." + name[len("model."):].replace(".", ""): value * 0.5 + 0.25 for name, value in tensors.items() if name.startswith(UNET)}
    return {**named, "model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(10, dtype=torch.int32)}


def digests(tensors):
    described = {}
    for name, value in sorted(tensors.items()):
        shape = "x".join(str(size) for size in value.shape).encode()
        described[name] = hashlib.sha256(shape + b"\n" + value.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]
    return described


def converted(path, parts):
    """What diffusers' loader makes of the file; it must be the models that were saved."""
    checkpoint = reference.load_single_file_checkpoint(path)
    dtype = checkpoint[UNET + "input_blocks.0.0.weight"].dtype
    golden = {}
    for component, model in parts.items():
        config = dict(model.config) if not hasattr(model.config, "to_dict") else model.config.to_dict()
        if component.startswith("unet"):
            # the reference takes averages only of files with more than 100 of them, which these have
            state = reference.convert_ldm_unet_checkpoint(copy.copy(checkpoint), config, extract_ema=component == "unet ema")
        elif component == "vae":
            state = reference.convert_ldm_vae_checkpoint(copy.copy(checkpoint), config)
        elif component == "text_encoder_2" or any(key.startswith("cond_stage_model.model.") for key in checkpoint):
            prefix = "conditioner.embedders.1.model." if component == "text_encoder_2" else "cond_stage_model.model."
            state = reference.convert_open_clip_checkpoint(model, copy.copy(checkpoint), prefix=prefix)
        else:
            state = reference.convert_ldm_clip_checkpoint(copy.copy(checkpoint))
        known = model.state_dict()
        kept = {name: state[name] for name in known}
        for name, value in kept.items():
            if component != "unet ema":
                assert torch.equal(value, known[name].to(dtype)), (path, component, name)
        stated = {key: value for key, value in config.items() if not key.startswith("_")}
        golden[component] = {"config": json.loads(json.dumps(stated, default=str)), "tensors": digests(kept)}
    return golden


def cast(tensors, dtype):
    return {name: (value.to(dtype) if value.is_floating_point() else value).contiguous().clone() for name, value in tensors.items()}


def main(folder):
    golden = {}

    def write(name, tensors, dtype, parts):
        path = os.path.join(folder, name)
        tensors = cast(tensors, dtype)
        if name.endswith(".safetensors"):
            save_file(tensors, path)
        else:
            legacy = "legacy" in name
            torch.save({"global_step": 470000, "state_dict": tensors}, path, _use_new_zipfile_serialization=not legacy)
        golden[name] = converted(path, parts)

    first = {"unet": unet(1), "vae": vae(2), "text_encoder": clip(3)}
    sd1 = {**to_ldm_unet(first["unet"]), **to_ldm_vae(first["vae"]), **to_clip(first["text_encoder"], "cond_stage_model.transformer.")}
    sd1["alphas_cumprod"] = torch.linspace(1, 0, 1000)
    write("sd1.safetensors", sd1, torch.float32, first)
    write("sd1.ckpt", sd1, torch.float16, first)
    write("sd1-ema.safetensors", {**sd1, **averages(cast(sd1, torch.float16))}, torch.float16, {**first, "unet ema": first["unet"]})
    write("sd1-legacy.ckpt", sd1, torch.float16, first)

    torch.save(first["text_encoder"].state_dict(), os.path.join(folder, "text-encoder.bin"))

    inpainting = {**first, "unet": unet(4, in_channels=9)}
    parts = {**{k: v for k, v in sd1.items() if not k.startswith(UNET)}, **to_ldm_unet(inpainting["unet"])}
    write("sd1-inpainting.safetensors", parts, torch.float16, inpainting)

    linear = dict(use_linear_projection=True, attention_head_dim=(1, 2))
    second = {"unet": unet(5, **linear), "vae": vae(6), "text_encoder": clip(7, hidden_act="gelu", pad_token_id=1)}
    sd2 = {
        **to_ldm_unet(second["unet"]), **to_ldm_vae(second["vae"]), **to_open_clip(second["text_encoder"], "cond_stage_model.model.", more_layers=1),
    }
    write("sd2.safetensors", sd2, torch.float16, second)

    xl = dict(
        **linear, addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=6 * 4 + 12, cross_attention_dim=24,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), transformer_layers_per_block=(1, 2),
    )
    third = {
        "unet": unet(8, **xl), "vae": vae(9), "text_encoder": clip(10),
        "text_encoder_2": clip(11, CLIPTextModelWithProjection, hidden_size=16, intermediate_size=32, hidden_act="gelu", projection_dim=12, pad_token_id=1),
    }
    sdxl = {
        **to_ldm_unet(third["unet"]), **to_ldm_vae(third["vae"]), **to_clip(third["text_encoder"], "conditioner.embedders.0.transformer."),
        **to_open_clip(third["text_encoder_2"], "conditioner.embedders.1.model."),
    }
    write("sdxl.safetensors", sdxl, torch.bfloat16, third)

    with open(os.path.join(folder, "golden.json"), "w") as file:
        json.dump({"command": "python test/reference/single_files.py", "files": golden}, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
