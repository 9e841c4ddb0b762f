"""ImageReward's own modules (package image-reward 1.5), importable beside current transformers and timm.

The package's __init__ pulls in trainers and old libraries, and two imports have moved since. Only the modules that compute the
score are loaded here, unchanged; what they import and no longer find is stood in for:
- transformers.modeling_utils re-exports three helpers that now live in transformers.pytorch_utils;
- fairscale's checkpoint_wrapper is imported but never called without gradient checkpointing.
"""

import importlib
import importlib.util
import json
import os
import sys
import tempfile
import types

import torch
import transformers.modeling_utils
import transformers.pytorch_utils

for name in ("apply_chunking_to_forward", "find_pruneable_heads_and_indices", "prune_linear_layer"):
    setattr(transformers.modeling_utils, name, getattr(transformers.pytorch_utils, name))

for name in ("fairscale", "fairscale.nn", "fairscale.nn.checkpoint", "fairscale.nn.checkpoint.checkpoint_activations"):
    sys.modules.setdefault(name, types.ModuleType(name))
sys.modules["fairscale.nn.checkpoint.checkpoint_activations"].checkpoint_wrapper = lambda module: module


def _package(name, folder):
    module = types.ModuleType(name)
    module.__path__ = [folder]
    sys.modules[name] = module


_root = list(importlib.util.find_spec("ImageReward").submodule_search_locations)[0]
_package("ImageReward", _root)
_package("ImageReward.models", os.path.join(_root, "models"))
_package("ImageReward.models.BLIP", os.path.join(_root, "models", "BLIP"))

blip_pretrain = importlib.import_module("ImageReward.models.BLIP.blip_pretrain")
vit = importlib.import_module("ImageReward.models.BLIP.vit")
image_reward = importlib.import_module("ImageReward.ImageReward")


class SmallImageReward(image_reward.ImageReward):
    """The reference model with its sizes as arguments: ImageReward.__init__ hard-codes a ViT-L/16 and 768."""

    def __init__(self, med_config, vision, embed_dim=8):
        torch.nn.Module.__init__(self)
        self.device = "cpu"
        blip_pretrain.create_vit = lambda *_: (
            vit.VisionTransformer(
                img_size=vision["image_size"],
                patch_size=vision["patch"],
                embed_dim=vision["width"],
                depth=vision["depth"],
                num_heads=vision["heads"],
            ),
            vision["width"],
        )
        blip_pretrain.init_tokenizer = lambda: None
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(med_config, file)
            file.flush()
            self.blip = blip_pretrain.BLIP_Pretrain(image_size=vision["image_size"], vit="large", med_config=file.name, embed_dim=embed_dim)
        self.mlp = image_reward.MLP(med_config["hidden_size"])
        self.mean = 0.16717362830052426
        self.std = 1.0333394966054072
