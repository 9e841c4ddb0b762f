"""Draws pictures with the trained denoiser and lets the oracle read them.

    python test/reference/demo/generate.py --prompts train|held-out --count 1000 --each 8 --out NAME [--steps 12] [--guidance 2.5]

Into .training/NAME: images.u8, prompts.jsonl (text, description, free, verdicts), readings.jsonl.
"""
import argparse
from common import *
from train_denoiser import CONFIG, load_parts, sample


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", default="train")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--each", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--guidance", type=float, default=2.5)
    parser.add_argument("--seed", type=int, default=100000)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    source = dump("prompts-" + args.prompts, prompts=args.prompts, count=args.count, seed=78)
    launch(worker, "generate", args)
    prompts = load_lines(source / "prompts.jsonl")
    folder = WORK / args.out
    images = torch.cat([restore(folder / f"part-{r}.pt")["images"] for r in range(len(list(folder.glob("part-*.pt"))))])
    (folder / "images.u8").write_bytes(images.numpy().tobytes())
    texts = [p["text"] for p in prompts for _ in range(args.each)]
    judged = oracle(images, texts)
    for i, p in enumerate(prompts):
        p["verdicts"] = [j["verdict"] for j in judged[i * args.each : (i + 1) * args.each]]
    (folder / "readings.jsonl").write_text("\n".join(json.dumps(r) for r in oracle(images)) + "\n")
    (folder / "prompts.jsonl").write_text("\n".join(json.dumps(p) for p in prompts) + "\n")
    good = torch.tensor([[v == "holds" for v in p["verdicts"]] for p in prompts]).float()
    pair = torch.tensor([p["description"][3] >= 0 for p in prompts])
    print(f"single {good.mean():.4f} (one shape {good[~pair].mean():.4f}, two {good[pair].mean():.4f}) best-of-{args.each} {good.amax(1).mean():.4f}")
    sheet(images[: 8 * args.each], folder / "sheet.png", columns=args.each, scale=2)


def worker(team, args):
    import torch
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor
    prompts = load_lines(WORK / f"prompts-{args.prompts}" / "prompts.jsonl")
    texts = [p["text"] for p in prompts for _ in range(args.each)]
    each = -(-len(texts) // team.size)
    part = texts[team.rank * each : (team.rank + 1) * each]
    vae, text, tokenizer = load_parts()
    unet = UNet2DConditionModel(**CONFIG).to(memory_format=torch.channels_last).eval()
    unet.load_state_dict(restore(WORK / "denoiser.pt")["ema"])
    unet.set_attn_processor(AttnProcessor())
    folder = WORK / args.out
    folder.mkdir(exist_ok=True)
    images = sample(unet, vae, text, tokenizer, part, range(args.seed + team.rank * each, args.seed + team.rank * each + len(part)), args.steps, args.guidance)
    save(folder / f"part-{team.rank}.pt", images=images)


if __name__ == "__main__":
    main()
