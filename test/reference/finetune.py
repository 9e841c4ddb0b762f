"""Golden losses and gradients of fine-tuning: PyTorch, diffusers and peft on the demo models, in double precision.

Run from the repository root:  python test/reference/finetune.py   (versions: test/reference/requirements.txt)
Writes test/fixtures/training/finetune.json.

All inputs come from torch's uniform stream, which Laurel has bit for bit, so that only results are stored. `noise(seed, shape)` has mean 0 and variance 1.
A LoRA's matrices are `spread * (2 u - 1)`, drawn in the order of their names from one stream.
"""

import base64
import json
from importlib.metadata import version
from pathlib import Path

import diffusers.schedulers.scheduling_ddpm as scheduling_ddpm
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file
from transformers import BertTokenizer, CLIPModel, CLIPTextModel, CLIPTokenizer

from models_image_reward import SmallImageReward

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
MODELS = Path("models/demo")
DIFFUSION, JUDGE = MODELS / "stable-diffusion", MODELS / "image-reward"
PROMPTS = ["a red circle above a blue square", "two green triangles"]
SHAPE = (2, 8, 8, 8)
RANK, ALPHA = 2, 3.0
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
ATTENTION = ["mid_block.attentions.0.transformer_blocks.0.attn2.to_k", "up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0"]
CONVOLUTIONS = ["down_blocks.0.downsamplers.0.conv", "mid_block.attentions.0.proj_in"]
TEXT = ["text_model.encoder.layers.1.self_attn.q_proj", "text_model.encoder.layers.2.mlp.fc2"]


def uniform(generator, shape):
    return torch.rand(shape, generator=generator, dtype=torch.float32)


def noise(seed, shape=SHAPE):
    return ((2 * uniform(torch.Generator().manual_seed(seed), shape) - 1) * 1.75).double()


def b64(tensor):
    return base64.b64encode(tensor.detach().numpy().astype("<f4").tobytes()).decode()


class Networks:
    """The demo's networks with a LoRA of random values; `trained` by Laurel's names."""

    def __init__(self, seed, spread, unet=(), text=()):
        self.text_encoder = CLIPTextModel.from_pretrained(DIFFUSION / "text_encoder", attn_implementation="eager").eval().double().requires_grad_(False)
        self.vae = AutoencoderKL.from_pretrained(DIFFUSION / "vae").eval().double().requires_grad_(False)
        self.unet = UNet2DConditionModel.from_pretrained(DIFFUSION / "unet").eval().double().requires_grad_(False)
        self.unet.set_attn_processor(AttnProcessor())
        self.tokenizer = CLIPTokenizer.from_pretrained(DIFFUSION / "tokenizer")
        named = {}
        for prefix, model, modules in (("unet", self.unet, unet), ("text_encoder", self.text_encoder, text)):
            if modules:
                inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(modules)), model)
                model.double()
            for name, parameter in model.named_parameters():
                parameter.requires_grad_("lora_" in name)
                if "lora_" in name:
                    named[f"{prefix}.{name}"] = parameter
        self.trained = dict(sorted(named.items()))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.trained.values():
                parameter.copy_((2 * uniform(generator, parameter.shape) - 1) * spread)

    def states(self, prompts):
        ids = self.tokenizer(prompts, padding="max_length", max_length=self.tokenizer.model_max_length, truncation=True, return_tensors="pt").input_ids
        return self.text_encoder(ids)[0]

    def denoise(self, sample, timestep, prompts, guidance=1.0):
        if guidance == 1.0:
            return self.unet(sample, timestep, self.states(prompts)).sample
        context = self.states([""] * len(prompts) + prompts)
        negative, positive = self.unet(torch.cat([sample, sample]), timestep, context).sample.chunk(2)
        return negative + guidance * (positive - negative)

    def picture(self, clean):
        return (self.vae.decode(clean / self.vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)

    def base(self):
        return UNet2DConditionModel.from_pretrained(DIFFUSION / "unet").eval().double().requires_grad_(False)

    def gradients(self, loss):
        for parameter in self.trained.values():
            parameter.grad = None
        loss.backward()
        return {name: b64(parameter.grad) for name, parameter in self.trained.items()}


def open_image_reward():
    config, med = (json.loads((JUDGE / name).read_text()) for name in ("config.json", "med_config.json"))
    weights = {name: tensor.double() for name, tensor in load_file(JUDGE / "ImageReward.safetensors").items()}
    depth = 1 + max(int(name.split(".")[3]) for name in weights if name.startswith("blip.visual_encoder.blocks."))
    width = weights["blip.visual_encoder.cls_token"].shape[-1]
    model = SmallImageReward(med, dict(image_size=config["image_size"], patch=config["patch_size"], width=width, depth=depth, heads=config["vision_heads"]))
    # the package hard-codes the widths of the published head
    layers = sorted({int(name.split(".")[2]) for name in weights if name.startswith("mlp.layers.")})
    model.mlp.layers = torch.nn.Sequential(*[torch.nn.Identity() for _ in range(layers[-1] + 1)])
    for index in layers:
        out, inner = weights[f"mlp.layers.{index}.weight"].shape
        model.mlp.layers[index] = torch.nn.Linear(inner, out)
    unexpected = model.load_state_dict(weights, strict=False).unexpected_keys
    assert not unexpected, unexpected
    model.mean, model.std = config.get("score_mean", model.mean), config.get("score_std", model.std)
    model.eval().double().requires_grad_(False)
    tokenizer = BertTokenizer.from_pretrained(JUDGE)

    def score(images, prompts):
        text = tokenizer(prompts, padding="max_length", truncation=True, max_length=config["max_text_length"], return_tensors="pt")
        embeddings = model.blip.visual_encoder((images - MEAN) / STD)
        everywhere = torch.ones(embeddings.shape[:-1], dtype=torch.long)
        output = model.blip.text_encoder(
            text.input_ids, attention_mask=text.attention_mask, encoder_hidden_states=embeddings, encoder_attention_mask=everywhere, return_dict=True
        )
        return (model.mlp(output.last_hidden_state[:, 0, :])[:, 0] - model.mean) / model.std

    return score


def open_clip():
    model = CLIPModel.from_pretrained(MODELS / "clip", attn_implementation="eager").eval().double().requires_grad_(False)
    tokenizer = CLIPTokenizer.from_pretrained(MODELS / "clip")

    def score(images, prompts):
        ids = tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        return F.cosine_similarity(model.get_text_features(ids), model.get_image_features((images - MEAN) / STD))

    return score


image_reward, clip_score = open_image_reward(), open_clip()
config = DDPMScheduler.from_pretrained(DIFFUSION / "scheduler").config


def scheduler_of(kind, steps):
    scheduler = kind.from_config(config, **({} if kind is DPMSolverMultistepScheduler else {"clip_sample": False}))
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.set_timesteps(steps)
    return scheduler


def refl(networks, seed, guidance=1.0, clip_weight=0.0):
    """ImageReward/ReFL.py: one step of the scheduler, its predicted clean sample, relu(2 - r) / 1000."""
    scheduler = scheduler_of(DDPMScheduler, 40)
    timestep = scheduler.timesteps[33]
    sample = noise(seed)
    output = networks.denoise(sample, timestep, PROMPTS, guidance)
    clean = scheduler.step(output, timestep, sample, generator=torch.Generator()).pred_original_sample
    picture = networks.picture(clean)
    reward = image_reward(picture, PROMPTS)
    if clip_weight:
        reward = reward + clip_weight * clip_score(picture, PROMPTS)
    return F.relu(2 - reward).mean() * 1e-3


def draft(networks, kind, seed, steps=20, count=2):
    """The gradient through the last `count` steps of diffusers' own scheduler; what a step draws is given."""
    scheduler = scheduler_of(kind, steps)
    sample = noise(seed)
    if kind is DPMSolverMultistepScheduler:
        # as the steps before would leave it: the clean prediction of one step back
        scheduler.model_outputs, scheduler.lower_order_nums = [None, 0.5 * noise(seed + 50)], scheduler.config.solver_order
        scheduler._step_index = steps - count
    for k, timestep in enumerate(scheduler.timesteps[-count:]):
        scheduling_ddpm.randn_tensor = lambda *_, **__: noise(seed + 100 + k)
        sample = scheduler.step(networks.denoise(sample, timestep, PROMPTS), timestep, sample).prev_sample
    return -image_reward(networks.picture(sample), PROMPTS).mean()


def low_variance(networks, seed):
    """DRaFT-LV: a finished sample noised to the last level of the trajectory, and the clean prediction from there."""
    scheduler = scheduler_of(DDIMScheduler, 20)
    timestep = scheduler.timesteps[-1]
    sample = scheduler.add_noise(0.6 * noise(seed), noise(seed + 1), timestep.repeat(2))
    clean = scheduler.step(networks.denoise(sample, timestep, PROMPTS), timestep, sample).pred_original_sample
    return -image_reward(networks.picture(clean), PROMPTS).mean()


def noised(seed, timesteps, rows=2):
    scheduler = scheduler_of(DDPMScheduler, 40)
    shape = (rows, *SHAPE[1:])
    clean, eps, timesteps = 0.6 * noise(seed, shape), noise(seed + 1, shape), torch.tensor(timesteps)
    return scheduler.add_noise(clean, eps, timesteps), scheduler.get_velocity(clean, eps, timesteps), timesteps


def noise_prediction(networks, seed, timesteps, weights):
    sample, target, timesteps = noised(seed, timesteps)
    errors = F.mse_loss(networks.denoise(sample, timesteps, PROMPTS), target, reduction="none").mean(dim=[1, 2, 3])
    return (torch.tensor(weights) * errors).mean()


def preferences(networks, seed, beta):
    """diffusers' research_projects/diffusion_dpo/train_diffusion_dpo.py: the loss, from the noised pairs on."""
    rows = 4
    scheduler = scheduler_of(DDPMScheduler, 40)
    latents = 0.6 * noise(seed, (rows, *SHAPE[1:]))
    eps = noise(seed + 1).repeat(2, 1, 1, 1)
    timesteps = torch.tensor([140, 620]).repeat(2)
    noisy, target = scheduler.add_noise(latents, eps, timesteps), scheduler.get_velocity(latents, eps, timesteps)
    context = networks.states(PROMPTS * 2)
    model_pred = networks.unet(noisy, timesteps, context).sample
    model_losses = F.mse_loss(model_pred, target, reduction="none").mean(dim=list(range(1, len(model_pred.shape))))
    model_losses_w, model_losses_l = model_losses.chunk(2)
    model_diff = model_losses_w - model_losses_l
    ref_preds = networks.base()(noisy, timesteps, context).sample
    ref_loss = F.mse_loss(ref_preds, target, reduction="none").mean(dim=list(range(1, len(ref_preds.shape))))
    ref_losses_w, ref_losses_l = ref_loss.chunk(2)
    ref_diff = ref_losses_w - ref_losses_l
    inside_term = -0.5 * beta * (model_diff - ref_diff)
    return -F.logsigmoid(inside_term).mean(), ref_loss


def updates(networks):
    """torch's AdamW and clipping on three batches, and the moving average with diffusers' warm-up."""
    settings = {"learningRate": 0.01, "weightDecay": 0.01, "clipNorm": 0.05, "averageDecay": 0.999}
    trained = list(networks.trained.values())
    optimizer = torch.optim.AdamW(trained, lr=settings["learningRate"], weight_decay=settings["weightDecay"])
    averages = [parameter.detach().clone() for parameter in trained]
    norms = []
    for step in range(3):
        optimizer.zero_grad()
        noise_prediction(networks, 300 + 2 * step, [90 + 200 * step, 700], [1.0, 1.0]).backward()
        norms.append(torch.nn.utils.clip_grad_norm_(trained, settings["clipNorm"]).item())
        optimizer.step()
        decay = min(settings["averageDecay"], (1 + step) / (10 + step))
        for average, parameter in zip(averages, trained):
            average.mul_(decay).add_(parameter.detach(), alpha=1 - decay)
    return {
        "settings": settings,
        "norms": norms,
        "parameters": {name: b64(parameter) for name, parameter in networks.trained.items()},
        "averages": {name: b64(average) for name, average in zip(networks.trained, averages)},
    }


def main():
    def case(loss_of, seed=11, spread=0.05, unet=ATTENTION, text=()):
        networks = Networks(seed, spread, unet, text)
        loss = loss_of(networks)
        loss, extra = loss if isinstance(loss, tuple) else (loss, None)
        result = {"seed": seed, "spread": spread, "unet": list(unet), "text": list(text), "loss": loss.item(), "gradients": networks.gradients(loss)}
        print(round(result["loss"], 6), {name: float(parameter.grad.abs().max()) for name, parameter in networks.trained.items()})
        return {**result, **({} if extra is None else {"reference": extra.tolist()})}

    fixture = {
        "command": "python test/reference/finetune.py",
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", "peft", "timm", "image-reward")},
        "prompts": PROMPTS,
        "rank": RANK,
        "alpha": ALPHA,
        "cases": {
            "refl": case(lambda networks: refl(networks, 21)),
            "refl guided, two rewards": case(lambda networks: refl(networks, 22, guidance=2.5, clip_weight=3.0)),
            "refl, convolutions and text encoder": case(lambda networks: refl(networks, 23), unet=CONVOLUTIONS, text=TEXT),
            "draft-2, ddim": case(lambda networks: draft(networks, DDIMScheduler, 31)),
            "draft-2, ddpm": case(lambda networks: draft(networks, DDPMScheduler, 32)),
            "draft-2, dpmpp-2m": case(lambda networks: draft(networks, DPMSolverMultistepScheduler, 33)),
            "draft-lv": case(lambda networks: low_variance(networks, 41)),
            "noise prediction": case(lambda networks: noise_prediction(networks, 51, [120, 733], [0.5, 1.5])),
            "preferences": case(lambda networks: preferences(networks, 61, 5000.0), spread=0.01),
        },
        "updates": {"seed": 71, "spread": 0.05, "unet": ATTENTION, "text": [], **updates(Networks(71, 0.05, ATTENTION))},
    }
    Path("test/fixtures/training/finetune.json").write_text(json.dumps(fixture, indent=1) + "\n")


if __name__ == "__main__":
    main()
