"""Measures the exported reward and dual encoder on generated held-out pictures (generate.py) in Python.

    python test/reference/demo/evaluate.py [--generated generated-test]

The figures that count are those of Laurel itself, `laurel demo evaluate`; this is the quick look from the Python side.
"""
import argparse
from safetensors.torch import load_file
from transformers import BertTokenizer, CLIPModel, CLIPTokenizer
from common import *
from reward_model import ImageReward, normalise
from train_reward import load_generated, score_all


def report(name, score, good, prompts_good):
    """Best-of-n and pair accuracy with bootstrap intervals over prompts; score, good (P, K)."""
    score = score + 1e-9 * torch.arange(score.shape[1])
    chosen = good.gather(1, score.argmax(1, keepdim=True))[:, 0]
    single, best = good.mean(1), good.amax(1)
    pair = (good[:, :, None] > good[:, None, :]).float()
    hit = ((score[:, :, None] > score[:, None, :]).float() * pair).sum((1, 2))
    pairs = pair.sum((1, 2))
    def figures(i):
        s, c, b = single[i].mean(), chosen[i].mean(), best[i].mean()
        return torch.stack([s, c, b, (c - s) / (b - s), hit[i].sum() / pairs[i].sum()])
    centre = figures(torch.arange(len(good)))
    torch.manual_seed(0)
    spread = torch.stack([figures(torch.randint(len(good), (len(good),))) for _ in range(1000)])
    low, high = spread.quantile(0.025, 0), spread.quantile(0.975, 0)
    for label, c, l, h in zip(("single", "best by score", "oracle's best", "gap closed", "pair accuracy"), centre, low, high):
        print(f"{name:12} {label:14} {c:.3f} [{l:.3f}, {h:.3f}]")


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--generated", default="generated-test")
    parser.add_argument("--checkpoint", help="reward state in the work directory instead of the export")
    parser.add_argument("--clip", action="store_true")
    args = parser.parse_args()
    folder = WORK / args.generated
    prompts = load_lines(folder / "prompts.jsonl")
    good = torch.tensor([[v == "holds" for v in p["verdicts"]] for p in prompts]).float()
    each = good.shape[1]
    tokenizer = BertTokenizer.from_pretrained(MODELS / "image-reward")
    data = load_generated(folder, tokenizer, 0, 1)
    images = data.images.flatten(0, 1)
    model = ImageReward(len(tokenizer)).eval()
    if args.checkpoint:
        state = restore(WORK / args.checkpoint)
        model.load_state_dict(state.get("ema", state["model"]))
    else:
        model.load_state_dict({k: v.float() for k, v in load_file(MODELS / "image-reward" / "ImageReward.safetensors").items()})
    for form, kind in ((0, "canonical"), (1, "free")):
        ids = data.ids[:, form : form + 1].expand(-1, each, -1).flatten(0, 1)
        scores = score_all(model, images, ids)
        print(f"scores {scores.mean():.3f} +- {scores.std():.3f}")
        report(f"reward {kind[:4]}", scores.view(-1, each), good, prompts)
        if form == 0:
            two = torch.tensor([p["description"][3] >= 0 for p in prompts])
            report("  one shape", scores.view(-1, each)[~two], good[~two], prompts)
            report("  two shapes", scores.view(-1, each)[two], good[two], prompts)
    if args.clip or not args.checkpoint:
        clip = CLIPModel.from_pretrained(MODELS / "clip").float().eval()
        words = CLIPTokenizer.from_pretrained(MODELS / "clip")
        texts = words([p["text"] for p in prompts], padding="max_length", truncation=True, max_length=32, return_tensors="pt")
        t = torch.nn.functional.normalize(clip.text_projection(clip.text_model(texts.input_ids).pooler_output), dim=-1)
        v = [clip.visual_projection(clip.vision_model(normalise(images[i : i + 256])).pooler_output) for i in range(0, len(images), 256)]
        v = torch.nn.functional.normalize(torch.cat(v), dim=-1).view(len(prompts), each, -1)
        report("dual encoder", (v * t[:, None]).sum(-1), good, prompts)


if __name__ == "__main__":
    main()
