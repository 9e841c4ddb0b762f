"""How far a description fits a scene, on the dumper's index encoding (the tiny comparison of src/demo/oracle.ts, vectorised)."""
import torch

# Fact slots: colour, shape, size of the first; of the second; relation; background; count.
FACTS = 9


def relation_truth(a, b, relation, gap):
    """Boxes (.., 4) left, top, right, bottom."""
    table = torch.stack([a[..., 2] + gap <= b[..., 0], b[..., 2] + gap <= a[..., 0], a[..., 3] + gap <= b[..., 1], b[..., 3] + gap <= a[..., 1]], -1)
    return table.gather(-1, relation.clamp(min=0)[..., None])[..., 0]


def facts(d, s, gap=4):
    """d (.., 8) descriptions, s (.., 14) scenes [count, background, (shape, colour, size, left, top, right, bottom) x 2].
    Returns stated (.., 9) and true (.., 9) under the matching of shapes with most facts true; -1 in s is unreadable."""
    pair = d[..., 3] >= 0
    best_true = best_score = None
    for turn in (False, True):
        one, two = s[..., 2:8 + 1], s[..., 9:16]
        first, second = (two, one) if turn else (one, two)
        true = torch.stack([
            d[..., 1] == first[..., 1], d[..., 2] == first[..., 0], d[..., 0] == first[..., 2],
            d[..., 5] == second[..., 1], d[..., 6] == second[..., 0], d[..., 4] == second[..., 2],
            relation_truth(first[..., 3:], second[..., 3:], d[..., 3], gap) & (s[..., 0] == 2),
            d[..., 7] == s[..., 1], torch.where(pair, 2, 1) == s[..., 0],
        ], -1)  # fmt: skip
        stated = torch.stack([
            torch.ones_like(pair), torch.ones_like(pair), d[..., 0] >= 0, pair, pair, pair & (d[..., 4] >= 0), pair, d[..., 7] >= 0, torch.ones_like(pair),
        ], -1)  # fmt: skip
        true = true & stated
        score = true.sum(-1)
        if best_true is None:
            best_true, best_score = true, score
        else:
            better = score > best_score
            best_true = torch.where(better[..., None], true, best_true)
    return stated, best_true


def from_dump(scene):
    """The dumper's scene as a row of 16: boxes instead of corners."""
    row = scene[:2]
    for i in (0, 1):
        shape, colour, size, x, y = scene[2 + 5 * i : 7 + 5 * i]
        extent = 24 if size == 1 else 16
        row = row + ([shape, colour, size, x, y, x + extent, y + extent] if shape >= 0 else [-1, -1, -1, 0, 0, 0, 0])
    return row


def from_reading(r):
    """An oracle reading as a row of 16; fragments make the count unreadable."""
    fragments = any(p.startswith("a fragment") for p in r["problems"])
    row = [-1 if fragments else r["n"], r["bg"]]
    for i in (0, 1):
        row = row + (r["shapes"][i] if i < len(r["shapes"]) else [-1, -1, -1, 0, 0, 0, 0])
    return row
