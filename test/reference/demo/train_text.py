"""Pretrains the demo text encoder (CLIPTextModel) on canonical prompts alone: linear heads must read every stated fact.

    python test/reference/demo/train_text.py [--minutes 2]

Every token from the end of text on must tell all facts by place (the only, left, right, upper or lower shape), so that the
denoiser finds its conditioning ready. The heads are dropped.
"""
import argparse, time
import torch
import torch.nn.functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from common import *

TOKENIZER = MODELS / "stable-diffusion" / "tokenizer"
CONFIG = dict(hidden_size=128, intermediate_size=512, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=32, hidden_act="quick_gelu", projection_dim=128)
SLOTS = 5  # only, left, right, upper, lower
CLASSES = SLOTS * (9 + 4 + 3) + 4  # colour, shape, size of each slot (last index: absent or free), background


def targets(d):
    """The class of each head for a description: per slot colour, shape, size, then background."""
    want = []
    slots = [None] * SLOTS
    first, second = d[0:3], d[4:7]
    if d[3] < 0:
        slots[0] = first
    else:
        a, b = [(1, 2), (2, 1), (3, 4), (4, 3)][d[3]]
        slots[a], slots[b] = first, second
    for s in slots:
        want += [s[1], s[2], s[0] if s[0] >= 0 else 2] if s else [8, 3, 2]
    return want + [d[7] if d[7] >= 0 else 3]


def head_loss(logits, want):
    total, at = 0.0, 0
    wrong = torch.zeros(logits.shape[:-1], dtype=torch.bool)
    for i, size in enumerate([9, 4, 3] * SLOTS + [4]):
        part = logits[..., at : at + size]; at += size
        target = want[:, i, None].expand(part.shape[:-1])
        total = total + F.cross_entropy(part.reshape(-1, size), target.reshape(-1))
        wrong |= part.argmax(-1) != target
    return total, wrong


def new_encoder(tokenizer):
    ids = dict(vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return CLIPTextModel(CLIPTextConfig(**CONFIG, **ids))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    folder = dump("renders", count=60000, seed=11, captions=3)
    pairs = [c for m in load_lines(folder / "meta.jsonl")[:20000] for c in m["c"]]
    torch.manual_seed(2)
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
    encode = lambda texts: tokenizer(texts, padding="max_length", truncation=True, max_length=32, return_tensors="pt").input_ids
    ids = encode([p[0] for p in pairs]).clone()
    want = torch.tensor([targets(p[1]) for p in pairs])
    ids = torch.cat([ids, encode([""]).expand(500, -1)])
    want = torch.cat([want, torch.tensor([[8, 3, 2] * SLOTS + [3]]).expand(500, -1)])
    model, head = new_encoder(tokenizer), torch.nn.Linear(128, CLASSES)
    optimizer = Muon([*model.named_parameters(), *(("head." + n, p) for n, p in head.named_parameters())], lr=1.5e-3, ratio=8, exclude=("head",))
    clock, step = Clock(args.minutes * 60), 0
    while clock.share < 1:
        index = torch.randint(len(ids), (args.batch,))
        batch = ids[index][:, :24]
        hidden = model(batch).last_hidden_state
        # Only tokens that have seen the whole prompt are asked.
        after = (batch == tokenizer.eos_token_id).cumsum(1) > 0
        total, wrong = masked_loss(head, hidden, want[index], after)
        total.backward()
        optimizer.step(learning_rate(1.5e-3, step, clock.share, warmup=50)); optimizer.zero_grad()
        step += 1
        if step % 100 == 0:
            print(f"{clock.spent:.0f}s step {step} loss {total.item():.4f} wrong {wrong.float().mean().item():.4f}", flush=True)
    model.eval()
    model.half().save_pretrained(WORK / "text_encoder")


def masked_loss(head, hidden, want, mask):
    rows = mask.nonzero()[:, 0]
    logits = head(hidden[mask])[:, None]
    return head_loss(logits, want[rows])


if __name__ == "__main__":
    main()
