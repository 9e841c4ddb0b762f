"""Trains the demo reward (ImageReward's architecture) from ranked comparisons, on groups of near misses and, once they
exist (generate.py), on pictures of the trained denoiser ranked by the oracle.

    python test/reference/demo/train_reward.py [--minutes 25] [--generated NAME]

The shipped loss is ImageReward's, -log sigmoid(better - worse) over same-prompt pairs ranked by the number of facts right.
Heads that read facts from patches, from the prompt and from the pair speed up learning and are dropped.
"""
import argparse, time
import torch
import torch.nn.functional as F
from torch import nn
from transformers import BertTokenizer
from common import *
from judge import facts, from_dump, from_reading
from reward_model import ImageReward, SCORE_MEAN, SCORE_STD, normalise
from train_text import CLASSES, head_loss, targets

# The last entries of the WordPiece vocabulary are English words that mean nothing in the world ([DEC] and [ENC] follow).
STRANGE = 400
PATCH = [9, 4, 3, 3]  # colour, shape, size (last: background), background's grey


def patch_targets(scenes):
    """(N, 64, 4) classes of every 8x8 patch; scenes (N, 16)."""
    n = len(scenes)
    out = torch.empty(n, 8, 8, 4, dtype=torch.long)
    out[..., 0], out[..., 1], out[..., 2], out[..., 3] = 8, 3, 2, scenes[:, 1].clamp(min=0)[:, None, None]
    cell = torch.arange(8) * 8 + 4
    for at in (2, 9):
        shape, colour, size, l, t, r, b = scenes[:, at : at + 7].unbind(1)
        inside = ((cell >= l[:, None]) & (cell < r[:, None]))[:, None, :] & ((cell >= t[:, None]) & (cell < b[:, None]))[:, :, None]
        inside &= (shape >= 0)[:, None, None]
        for k, value in enumerate((colour, shape, size)):
            out[..., k] = torch.where(inside, value[:, None, None], out[..., k])
    return out.view(n, 64, 4)


def grouped_cross_entropy(logits, want, sizes):
    total, at = 0.0, 0
    for i, size in enumerate(sizes):
        total = total + F.cross_entropy(logits[..., at : at + size].reshape(-1, size), want[..., i].reshape(-1))
        at += size
    return total


class Data:
    """Groups of pictures with prompts: images (G, K, 64, 64, 3), scenes (G, K, 16), prompts (G, P) ids and descriptions."""

    def __init__(self, images, scenes, ids, descriptions, generated):
        self.images, self.scenes, self.ids, self.descriptions, self.generated = images, scenes, ids, descriptions, generated


def encode_texts(tokenizer, texts):
    known = {t: None for t in texts}
    rows = tokenizer(list(known), padding="max_length", truncation=True, max_length=35).input_ids
    for i, t in enumerate(known):
        known[t] = i
    return torch.tensor(rows, dtype=torch.int16), torch.tensor([known[t] for t in texts])


def load_renders(folder, tokenizer, size, part, parts):
    images = load_images(folder).view(-1, size, 64, 64, 3)[part::parts]
    lines = load_lines(folder / "meta.jsonl")
    groups = [lines[i : i + size] for i in range(0, len(lines), size)][part::parts]
    texts, descriptions = [], []
    for g in groups:
        for m in g:
            # Half canonical, half free, about each picture of the group.
            for text, d in m["c"][:1] + m["f"][:1]:
                texts.append(text); descriptions.append(d)
    rows, index = encode_texts(tokenizer, texts)
    scenes = torch.tensor([from_dump(m["s"]) for g in groups for m in g]).view(-1, size, 16)
    return Data(images, scenes, rows[index].view(len(groups), -1, 35), torch.tensor(descriptions).view(len(groups), -1, 8), False)


def load_generated(folder, tokenizer, part, parts):
    lines = load_lines(folder / "prompts.jsonl")
    images = load_images(folder)
    size = len(images) // len(lines)
    readings = [json.loads(l) for l in open(folder / "readings.jsonl")]
    scenes = torch.tensor([from_reading(r) for r in readings]).view(-1, size, 16)
    texts = [t for p in lines for t in (p["text"], p["free"])]
    rows, index = encode_texts(tokenizer, texts)
    return Data(images.view(-1, size, 64, 64, 3)[part::parts], scenes[part::parts], rows[index].view(len(lines), 2, 35)[part::parts],
                torch.tensor([[p["description"]] * 2 for p in lines])[part::parts], True)  # fmt: skip


def with_strange_words(ids, vocabulary, words, share=0.4):
    """Puts one or two ordinary English words into some prompts, so that sentences never seen before disturb less."""
    ids = ids.clone()
    for _ in range(2):
        length = (ids != 0).sum(-1)
        at = 1 + (torch.rand(length.shape) * (length - 1)).long()
        column = torch.arange(ids.shape[-1]).expand_as(ids)
        moved = torch.cat([ids[..., :1], ids[..., :-1]], -1)
        changed = torch.where(column > at[..., None], moved, ids)
        changed.scatter_(-1, at[..., None], torch.randint(vocabulary - words, vocabulary - 2, at.shape)[..., None])
        use = (torch.rand(length.shape) < share * 0.6) & (length < ids.shape[-1] - 1)
        ids = torch.where(use[..., None], changed, ids)
    return ids


def draw(data, groups, pictures, prompts):
    """A batch of whole groups: `pictures` of each, `prompts` of each."""
    g = torch.randint(len(data.images), (groups,))
    k = torch.rand(groups, data.images.shape[1]).argsort(1)[:, :pictures]
    p = torch.rand(groups, data.ids.shape[1]).argsort(1)[:, :prompts]
    images = data.images[g[:, None], k]
    scenes = data.scenes[g[:, None], k]
    return images, scenes, data.ids[g[:, None], p].long(), data.descriptions[g[:, None], p]


class Probes(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.text, self.facts, self.holds = nn.Linear(128, sum(PATCH)), nn.Linear(128, CLASSES), nn.Linear(128, 9), nn.Linear(128, 1)


def losses(model, probes, batch, share, generated):
    images, scenes, ids, descriptions = batch
    groups, k = images.shape[:2]
    p = ids.shape[1]
    # Every prompt of a group with every picture of it: (G, P, K).
    pick = (torch.arange(groups)[:, None, None] * k + torch.arange(k)).expand(groups, p, k).reshape(-1)
    ids = ids[:, :, : int((ids != 0).sum(-1).max())]
    every = ids[:, :, None].expand(-1, -1, k, -1).reshape(groups * p * k, -1)
    with torch.autocast("cpu", torch.bfloat16):
        score, tokens, states = model(normalise(images.flatten(0, 1)), every, pick)
        first = states[:, 0].float()
        patch_logits = probes.patch(tokens[:, 1:]).float() if not generated else None
        fact_logits, holds_logit, text_logits = probes.facts(first).float(), probes.holds(first).float()[:, 0], probes.text(first).float()
    stated, true = facts(descriptions[:, :, None].expand(-1, -1, k, -1), scenes[:, None].expand(-1, p, -1, -1), 3)
    right = true.sum(-1)
    holds = right == stated.sum(-1)
    score = score.view(groups, p, k)
    # Alignment first; a picture that fits counts well above one that nearly does.
    merit = right + 2 * holds
    better = merit[..., :, None] > merit[..., None, :]
    opposite = holds[..., :, None] & ~holds[..., None, :]
    weight = better * (1 + 2.0 * opposite)
    difference = score[..., :, None] - score[..., None, :]
    rank = (F.softplus(-difference) * weight).sum() / weight.sum().clamp(min=1)
    accuracy = ((difference > 0) & opposite).sum() / opposite.sum().clamp(min=1)
    flat_stated, flat_true = stated.view(-1, 9).float(), true.view(-1, 9).float()
    fact = (F.binary_cross_entropy_with_logits(fact_logits, flat_true, reduction="none") * flat_stated).sum() / flat_stated.sum()
    fit = F.binary_cross_entropy_with_logits(holds_logit, holds.view(-1).float())
    loss = rank + 3 * fact + fit + 0.002 * score.square().mean()
    parts = dict(rank=rank, fact=fact, accuracy=accuracy)
    if not generated:
        patch = grouped_cross_entropy(patch_logits, patch_targets(scenes.flatten(0, 1)), PATCH)
        loss = loss + patch
        parts["patch"] = patch
    if share < 0.5:
        want = torch.tensor([targets(d) for d in descriptions.flatten(0, 1).tolist()])
        text, _ = head_loss(text_logits.view(groups * p, k, -1), want)
        loss = loss + 0.1 * (1 - 2 * share) * text
        parts["text"] = text
    for i, name in enumerate(("colour", "shape", "size")):
        ok = ((fact_logits > 0) == (flat_true > 0.5)) & (flat_stated > 0)
        parts[name] = ok[:, [i, i + 3]].sum() / flat_stated[:, [i, i + 3]].sum().clamp(min=1)
    parts["relation"] = (((fact_logits > 0) == (flat_true > 0.5)) & (flat_stated > 0))[:, 6].sum() / flat_stated[:, 6].sum().clamp(min=1)
    return loss, {n: float(v) for n, v in parts.items()}


@torch.no_grad()
def score_all(model, images, ids, batch=256):
    """Scores (N,) of picture i with text i."""
    out = []
    for at in range(0, len(images), batch):
        part = ids[at : at + batch].long()
        part = part[:, : int((part != 0).sum(1).max())]
        out.append(model(normalise(images[at : at + batch]), part, torch.arange(len(part)))[0])
    return torch.cat(out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--generated", help="folder of generate.py in the work directory")
    parser.add_argument("--share", type=float, default=0.5, help="of batches on generated pictures")
    parser.add_argument("--groups", type=int, default=10)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--hold", type=float, default=0.5)
    dump("groups", count=16000, group=4, captions=1, seed=21)
    launch(worker, "reward", parser.parse_args())


def worker(team, args):
    tokenizer = BertTokenizer.from_pretrained(MODELS / "image-reward")
    renders = load_renders(WORK / "groups", tokenizer, 4, team.rank, team.size)
    generated = load_generated(WORK / args.generated, tokenizer, team.rank, team.size) if args.generated else None
    torch.manual_seed(4)
    model, probes = ImageReward(len(tokenizer)), Probes()
    named = [*model.named_parameters(), *(("probes." + n, p) for n, p in probes.named_parameters())]
    parameters = [p for _, p in named]
    optimizer = Muon(named, lr=args.lr, ratio=10, exclude=("probes", "mlp.layers.7", "cls_token", "pos_embed"), team=team)
    ema = Ema(model, 0.998)
    path = WORK / "reward.pt"
    state, step, spent = restore(path), 0, 0.0
    if state:
        model.load_state_dict(state["model"]); probes.load_state_dict(state["probes"]); optimizer.load_state_dict(state["optimizer"])
        ema.shadow, ema.step, step, spent = state["ema"], state["step"], state["step"], state["spent"]
    torch.manual_seed(5000 + step + team.rank)
    if team.rank == 0:
        print("parameters", sum(p.numel() for p in model.parameters()), flush=True)
    clock = Clock(args.minutes * 60, spent)
    share, running, fresh = clock.share, {}, {}
    logged = saved = time.time()
    while share < 1:
        on_generated = generated is not None and torch.rand(()) < args.share
        batch = draw(generated, args.groups // 2, 8, 2) if on_generated else draw(renders, args.groups, 4, 4)
        images, scenes, ids, descriptions = batch
        batch = images, scenes, with_strange_words(ids, len(tokenizer), STRANGE), descriptions
        loss, parts = losses(model, probes, batch, share, on_generated)
        loss.backward()
        share = team.reduce(parameters, clock.share)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step(learning_rate(args.lr, step, share, warmup=50, hold=args.hold)); optimizer.zero_grad()
        step += 1
        if team.rank > 0:
            continue
        ema.update(model)
        for n, v in parts.items():
            (fresh if on_generated else running).setdefault(n, []).append(v)
        if time.time() - logged > 45 or share >= 1:
            for label, table in (("renders", running), ("generated", fresh)):
                if table:
                    print(f"{clock.spent:.0f}s step {step} {label} " + " ".join(f"{n} {sum(v) / len(v):.3f}" for n, v in table.items()), flush=True)
            logged, running, fresh = time.time(), {}, {}
        if time.time() - saved > 60 or share >= 1:
            save(path, model=model.state_dict(), probes=probes.state_dict(), optimizer=optimizer.state_dict(), ema=ema.shadow, step=step, spent=clock.spent)
            saved = time.time()
    if team.rank == 0:
        model.load_state_dict(ema.shadow)
        save(WORK / "reward-final.pt", model=model.state_dict())


if __name__ == "__main__":
    main()
