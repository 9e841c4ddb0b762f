"""Writes what the training scripts have left in .training into models/demo, in fp16 and the standard layouts.

    python test/reference/demo/export.py [--early]

Scores are shifted and scaled so that (head - 0.16717...) / 1.03334... is about standard normal on generated pictures. With
--early, parts not yet trained are exported with their right layout and random weights.
"""
import argparse
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import BertTokenizer, CLIPModel, CLIPTextModel
from common import *
from reward_model import SCORE_MEAN, SCORE_STD, ImageReward, med_config
from train_clip import new_clip
from train_denoiser import CONFIG, SCHEDULE
from train_reward import load_generated, score_all

DEFAULTS = {"name": "Laurel demo", "sampler": "dpmpp-2m", "steps": 10, "guidance": 2.5, "width": 64, "height": 64}


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def export_diffusion(args):
    folder = MODELS / "stable-diffusion"
    unet = UNet2DConditionModel(**CONFIG)
    state = restore(WORK / "denoiser.pt")
    if state:
        unet.load_state_dict(state["ema"])
    unet.half().save_pretrained(folder / "unet")
    AutoencoderKL.from_pretrained(WORK / "vae").half().save_pretrained(folder / "vae")
    config = json.loads((folder / "vae" / "config.json").read_text())
    config.pop("_name_or_path", None)  # the folder it came from
    write_json(folder / "vae" / "config.json", config)
    text = CLIPTextModel.from_pretrained(WORK / "text_encoder").half()
    text.save_pretrained(folder / "text_encoder")
    DPMSolverMultistepScheduler(**SCHEDULE, solver_order=2, algorithm_type="dpmsolver++", timestep_spacing="linspace").save_pretrained(folder / "scheduler")
    write_json(folder / "model_index.json", {
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.38.0", "feature_extractor": [None, None], "image_encoder": [None, None],
        "requires_safety_checker": False, "safety_checker": [None, None], "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"]})  # fmt: skip
    write_json(folder / "laurel.json", DEFAULTS)


def export_reward(args):
    folder = MODELS / "image-reward"
    tokenizer = BertTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    model = ImageReward(len(tokenizer)).eval()
    state = restore(WORK / "reward-final.pt") or restore(WORK / "reward.pt")
    if state:
        model.load_state_dict(state.get("ema", state["model"]))
    if args.generated and (WORK / args.generated / "readings.jsonl").exists():
        data = load_generated(WORK / args.generated, tokenizer, 0, 1)
        count = min(200, len(data.images))
        scores = score_all(model, data.images[:count].flatten(0, 1), data.ids[:count, :1].expand(-1, data.images.shape[1], -1).flatten(0, 1))
        mean, std = scores.mean(), scores.std()
        print(f"raw scores {mean:.3f} +- {std:.3f}")
        last = model.mlp.layers["7"]
        with torch.no_grad():
            last.weight *= SCORE_STD / std
            last.bias.copy_((last.bias - mean) * SCORE_STD / std + SCORE_MEAN)
    save_file({k: v.half().contiguous() for k, v in model.state_dict().items()}, folder / "ImageReward.safetensors", metadata={"format": "pt"})
    write_json(folder / "med_config.json", med_config(len(tokenizer)))
    write_json(folder / "config.json", {"image_size": 64, "patch_size": 8, "vision_heads": 4, "max_text_length": 35})


def export_clip(args):
    folder = MODELS / "clip"
    model = new_clip()
    state = restore(WORK / "clip.pt")
    if state:
        model.load_state_dict(state["ema"])
    model.half().save_pretrained(folder)
    write_json(folder / "preprocessor_config.json", {
        "crop_size": {"height": 64, "width": 64}, "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_processor_type": "CLIPImageProcessor", "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3, "rescale_factor": 1 / 255, "size": {"shortest_edge": 64}})  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--early", action="store_true")
    parser.add_argument("--generated", default="generated-train")
    args = parser.parse_args()
    export_diffusion(args)
    export_reward(args)
    export_clip(args)
    total = sum(f.stat().st_size for f in MODELS.rglob("*") if f.is_file())
    print(f"models/demo: {total / 1e6:.2f} MB")
