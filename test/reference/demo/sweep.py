"""Compares sampling settings on training-split prompts: alignment by the oracle for each number of steps and guidance.

    python test/reference/demo/sweep.py [--count 128] [--settings 12:2 12:2.5 ...]
"""
import argparse
from common import *
from train_denoiser import CONFIG, alignment, load_parts, sample


def worker(team, args):
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor
    prompts = [p["text"] for p in load_lines(WORK / "train-prompts" / "prompts.jsonl")[200 : 200 + args.count]]
    vae, text, tokenizer = load_parts()
    unet = UNet2DConditionModel(**CONFIG).to(memory_format=torch.channels_last).eval()
    unet.load_state_dict(restore(WORK / "denoiser.pt")["ema"])
    unet.set_attn_processor(AttnProcessor())
    for setting in args.settings[team.rank :: team.size]:
        steps, guidance = setting.split(":")
        images = sample(unet, vae, text, tokenizer, prompts, range(len(prompts)), int(steps), float(guidance))
        print(setting, "alignment %.3f single %.3f pair %.3f %s" % alignment(images, prompts), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--settings", nargs="*", default=["12:1.5", "12:2", "12:3", "12:4", "8:2.5", "20:2.5", "12:2.5", "12:6"])
    launch(worker, "sweep", parser.parse_args())
