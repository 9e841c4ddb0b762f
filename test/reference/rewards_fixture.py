"""What the scripts that make the golden values of the rewards share."""

from pathlib import Path

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "rewards"
PROMPTS = [
    "a red circle above a blue square",
    "a small green triangle, left of a pink circle on a grey background!",
    "",
    "the quick brown fox " * 12,
]
VISION = dict(image_size=32, patch=8, width=64, depth=2, heads=1)
