"""Names and shapes of the real networks' tensors, without their weights: test/fixtures/models/full-size.json.

    python test/reference/models_full_size.py

The reference classes are built with the released configurations on the meta device. For each network the file has the configuration,
the number of tensors and the SHA-256 of the lines `name [shape]` in sorted order.
"""

import hashlib
import json
import os
from importlib.metadata import version

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

from models_image_reward import SmallImageReward

SD1_UNET = dict(
    act_fn="silu", attention_head_dim=8, block_out_channels=[320, 640, 1280, 1280], center_input_sample=False, cross_attention_dim=768,
    down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"], downsample_padding=1,
    flip_sin_to_cos=True, freq_shift=0, in_channels=4, layers_per_block=2, mid_block_scale_factor=1, norm_eps=1e-5, norm_num_groups=32,
    out_channels=4, sample_size=64, up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
)
SD2_UNET = SD1_UNET | dict(
    attention_head_dim=[5, 10, 20, 20], cross_attention_dim=1024, sample_size=96, use_linear_projection=True, dual_cross_attention=False,
    only_cross_attention=False, num_class_embeds=None, upcast_attention=True,
)
SD_VAE = dict(
    act_fn="silu", block_out_channels=[128, 256, 512, 512], down_block_types=["DownEncoderBlock2D"] * 4, in_channels=3, latent_channels=4,
    layers_per_block=2, norm_num_groups=32, out_channels=3, sample_size=512, up_block_types=["UpDecoderBlock2D"] * 4,
)
SD1_TEXT = dict(
    bos_token_id=0, eos_token_id=2, hidden_act="quick_gelu", hidden_size=768, intermediate_size=3072, layer_norm_eps=1e-5,
    max_position_embeddings=77, model_type="clip_text_model", num_attention_heads=12, num_hidden_layers=12, pad_token_id=1, projection_dim=768,
    vocab_size=49408,
)
SD2_TEXT = SD1_TEXT | dict(hidden_act="gelu", hidden_size=1024, intermediate_size=4096, num_attention_heads=16, num_hidden_layers=23)
CLIP_L14 = dict(
    model_type="clip", projection_dim=768,
    text_config=dict(hidden_size=768, intermediate_size=3072, num_attention_heads=12, num_hidden_layers=12, projection_dim=768),
    vision_config=dict(hidden_size=1024, intermediate_size=4096, num_attention_heads=16, num_hidden_layers=24, patch_size=14, projection_dim=768),
)
MED = dict(
    architectures=["BertModel"], attention_probs_dropout_prob=0.1, hidden_act="gelu", hidden_dropout_prob=0.1, hidden_size=768,
    initializer_range=0.02, intermediate_size=3072, layer_norm_eps=1e-12, max_position_embeddings=512, model_type="bert",
    num_attention_heads=12, num_hidden_layers=12, pad_token_id=0, type_vocab_size=2, vocab_size=30524, encoder_width=768, add_cross_attention=True,
)


def summary(config, model, unused=()):
    tensors = {name: list(value.shape) for name, value in model.state_dict().items() if not name.startswith(unused) and "position_ids" not in name}
    lines = "".join(f"{name} {json.dumps(shape, separators=(',', ':'))}\n" for name, shape in sorted(tensors.items()))
    return {"config": config, "tensors": len(tensors), "sha256": hashlib.sha256(lines.encode()).hexdigest()}


def main():
    linspace = torch.linspace  # the vision transformer reads its drop-path rates back, which meta tensors cannot give
    torch.linspace = lambda *arguments: linspace(*arguments, device="cpu")
    with torch.device("meta"):
        reward = SmallImageReward(MED, dict(image_size=224, patch=16, width=1024, depth=24, heads=16))
        networks = {
            "sd1-unet": summary(SD1_UNET, UNet2DConditionModel(**SD1_UNET)),
            "sd2-unet": summary(SD2_UNET, UNet2DConditionModel(**SD2_UNET)),
            "sd-vae": summary(SD_VAE, AutoencoderKL(**SD_VAE)),
            "sd1-text": summary(SD1_TEXT, CLIPTextModel(CLIPTextConfig(**SD1_TEXT))),
            "sd2-text": summary(SD2_TEXT, CLIPTextModel(CLIPTextConfig(**SD2_TEXT))),
            "clip-l14": summary(CLIP_L14, CLIPModel(CLIPConfig(**CLIP_L14))),
            "image-reward": summary(MED, reward, ("blip.vision_proj", "blip.text_proj")),
        }
        # What the configuration is read from.
        networks["image-reward"]["shapes"] = {
            name: list(value.shape)
            for name, value in reward.state_dict().items()
            if name.startswith("mlp.") or name.endswith(("patch_embed.proj.weight", "pos_embed", "mlp.fc1.weight", "_embeddings.weight", "intermediate.dense.weight"))
        }
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "models", "full-size.json")
    versions = {name: version(name) for name in ("torch", "diffusers", "transformers", "timm", "image-reward")}
    with open(path, "w") as file:
        json.dump({"command": "python test/reference/models_full_size.py", "versions": versions, "networks": networks}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
