"""Trains the demo dual encoder (CLIPModel) by contrast on groups of near misses, half canonical and half free prompts.

    python test/reference/demo/train_clip.py [--minutes 5]

Resumable: state in .training/clip.pt. It is the held-out judge and the weaker baseline, and never sees generated pictures.
"""
import argparse, time
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from common import *
from judge import facts
from reward_model import normalise
from train_reward import PATCH, draw, grouped_cross_entropy, load_renders, patch_targets


def new_clip():
    tokenizer = CLIPTokenizer.from_pretrained(MODELS / "clip")
    ids = dict(vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    text = dict(hidden_size=64, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=32, projection_dim=64, **ids)
    vision = dict(hidden_size=96, intermediate_size=384, num_hidden_layers=3, num_attention_heads=4, image_size=64, patch_size=8, projection_dim=64)
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))


class Words:
    """CLIP ids with the call signature load_renders needs."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, texts, **_):
        out = self.tokenizer(texts, padding="max_length", truncation=True, max_length=32)
        out["input_ids"] = [row + [0] * 3 for row in out["input_ids"]]
        return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--groups", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    dump("groups", count=16000, group=4, captions=1, seed=21)
    launch(worker, "clip", parser.parse_args())


def worker(team, args):
    tokenizer = CLIPTokenizer.from_pretrained(MODELS / "clip")
    data = load_renders(WORK / "groups", Words(tokenizer), 4, team.rank, team.size)
    torch.manual_seed(6)
    model, probe = new_clip(), nn.Linear(96, sum(PATCH))
    named = [*model.named_parameters(), *(("probe." + n, p) for n, p in probe.named_parameters())]
    parameters = [p for _, p in named]
    optimizer = Muon(named, lr=args.lr, ratio=10, exclude=("probe", "class_embedding"), team=team)
    ema, path = Ema(model, 0.99), WORK / "clip.pt"
    state, step, spent = restore(path), 0, 0.0
    if state:
        model.load_state_dict(state["model"]); probe.load_state_dict(state["probe"]); optimizer.load_state_dict(state["optimizer"])
        ema.shadow, ema.step, step, spent = state["ema"], state["step"], state["step"], state["spent"]
    torch.manual_seed(7000 + step + team.rank)
    clock = Clock(args.minutes * 60, spent)
    share, logged, saved, losses, hits = clock.share, time.time(), time.time(), [], []
    while share < 1:
        images, scenes, ids, descriptions = draw(data, args.groups, 4, 4)
        ids, descriptions, scenes = ids.flatten(0, 1)[:, :32], descriptions.flatten(0, 1), scenes.flatten(0, 1)
        longest = int((ids != tokenizer.eos_token_id).sum(1).max()) + 1
        with torch.autocast("cpu", torch.bfloat16):
            vision = model.vision_model(normalise(images.flatten(0, 1)))
            pictures = F.normalize(model.visual_projection(vision.pooler_output).float(), dim=-1)
            texts = F.normalize(model.text_projection(model.text_model(ids[:, :longest]).pooler_output).float(), dim=-1)
            patch = probe(vision.last_hidden_state[:, 1:]).float()
        logits = texts @ pictures.T * model.logit_scale.exp().clamp(max=100)
        n = len(texts)
        # Several pictures may fit a prompt; all that do are right answers.
        stated, true = facts(descriptions[:, None].expand(-1, n, -1), scenes[None].expand(n, -1, -1), 3)
        fits = (true.sum(-1) == stated.sum(-1)).float()
        rows, columns = fits.sum(1) > 0, fits.sum(0) > 0
        by_text = -(logits.log_softmax(1) * fits).sum(1)[rows] / fits.sum(1)[rows]
        by_picture = -(logits.log_softmax(0) * fits).sum(0)[columns] / fits.sum(0)[columns]
        loss = by_text.mean() + by_picture.mean() + 0.5 * grouped_cross_entropy(patch, patch_targets(scenes), PATCH)
        loss.backward()
        share = team.reduce(parameters, clock.share)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step(learning_rate(args.lr, step, share, warmup=50)); optimizer.zero_grad()
        step += 1; losses.append(loss.item())
        near = logits.view(args.groups, 4, args.groups, 4).diagonal(dim1=0, dim2=2)
        near_fit = fits.view(args.groups, 4, args.groups, 4).diagonal(dim1=0, dim2=2) > 0.5
        pair = near_fit[:, :, None] & ~near_fit[:, None]
        hits.append((((near[:, :, None] > near[:, None]) & pair).sum() / pair.sum().clamp(min=1)).item())
        if team.rank > 0:
            continue
        ema.update(model)
        if time.time() - logged > 30 or share >= 1:
            print(f"{clock.spent:.0f}s step {step} loss {sum(losses) / len(losses):.3f} near-miss pairs {sum(hits) / len(hits):.3f} scale {model.logit_scale.exp().item():.1f}", flush=True)
            logged, losses, hits = time.time(), [], []
        if time.time() - saved > 60 or share >= 1:
            save(path, model=model.state_dict(), probe=probe.state_dict(), optimizer=optimizer.state_dict(), ema=ema.shadow, step=step, spent=clock.spent)
            saved = time.time()


if __name__ == "__main__":
    main()
