# Part of Laurel, Apache-2.0.
"""The nodes. Pictures are ComfyUI's IMAGE: tensors [batch, height, width, channels] of 0 to 1; scores are a list, one a picture, None for none."""

from __future__ import annotations

import io
import math

import numpy
from PIL import Image

from . import laurel_client

CATEGORY = "laurel"
SCORES = "LAUREL_SCORES"


def _png(picture) -> bytes:
    """One picture [height, width, channels] as a file, rounded as ComfyUI's own nodes do."""
    levels = numpy.clip(255.0 * picture.cpu().numpy(), 0, 255).astype(numpy.uint8)
    image = Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels[..., :4])
    data = io.BytesIO()
    image.save(data, "PNG", compress_level=1)
    return data.getvalue()


def _shown(scores) -> str:
    return ", ".join("none" if value is None else f"{value:.4f}" for value in scores)


def _floats(scores) -> "list[float]":
    return [math.nan if value is None else value for value in scores]


def _aligned(images, scores) -> list:
    """The scores of these pictures. Raises ValueError where they are of others."""
    if len(scores) != len(images):
        raise ValueError(f"scores: expected one for each of {len(images)} pictures, got {len(scores)}; connect those of the same pictures")
    return list(scores)


def _selected(images, kept):
    return images[kept] if len(kept) > 0 else images[:0]


class LaurelScore:
    """Scores pictures. A server that does not answer leaves them without a score, or ends the workflow, as chosen."""

    _failures = 0

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "images": ("IMAGE",),
                "prompt": ("STRING", {"multiline": True, "tooltip": "what the pictures should show"}),
            },
            "optional": {
                "prompt_syntax": (["comfyui", "plain"], {"tooltip": "comfyui: weights such as (word:1.2) are left out"}),
                "without_server": (["pass on without scores", "stop"],),
            },
        }

    RETURN_TYPES = ("IMAGE", SCORES, "FLOAT", "STRING")
    RETURN_NAMES = ("images", "scores", "score list", "text")
    OUTPUT_IS_LIST = (False, False, True, False)
    FUNCTION = "score"
    CATEGORY = CATEGORY
    DESCRIPTION = "Scores pictures against a prompt with a running laurel serve --score (LAUREL_URL, LAUREL_TOKEN)."

    @classmethod
    def IS_CHANGED(cls, **_):
        # what failed is tried again; what has a score keeps it
        return cls._failures

    def score(self, images, prompt, prompt_syntax="comfyui", without_server="pass on without scores"):
        if len(images) == 0:
            return (images, [], [], "no pictures")
        try:
            # brackets weigh words in ComfyUI as in AUTOMATIC1111's web UI
            syntax = "a1111" if prompt_syntax == "comfyui" else "plain"
            scored = laurel_client.score(prompt, [_png(one) for one in images], syntax)
        except laurel_client.LaurelError as error:
            LaurelScore._failures += 1
            if without_server == "stop":
                raise
            print(f"Laurel: {error}; the pictures go on without scores")
            nothing = [None] * len(images)
            return (images, nothing, _floats(nothing), f"no scores: {error}")
        lines = [f"{scored.key}: {_shown(scored.scores)}", *(words for words in scored.words if words), *scored.notes]
        return (images, scored.scores, _floats(scored.scores), "\n".join(lines))


class LaurelRank:
    """Puts the best pictures first, and keeps as many as are asked for."""

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "images": ("IMAGE",),
                "scores": (SCORES,),
                "keep": ("INT", {"default": 1, "min": 0, "max": 4096, "tooltip": "the best so many; 0 keeps all, the best first"}),
            }
        }

    RETURN_TYPES = ("IMAGE", SCORES, "FLOAT", "STRING")
    RETURN_NAMES = ("images", "scores", "best score", "text")
    FUNCTION = "rank"
    CATEGORY = CATEGORY
    DESCRIPTION = "Keeps the best pictures, the best first. Without scores all are kept as they are."

    def rank(self, images, scores, keep):
        scores = _aligned(images, scores)
        kept, message = laurel_client.choose(scores, keep)
        chosen = [scores[i] for i in kept]
        best = chosen[0] if chosen and chosen[0] is not None else math.nan
        return (_selected(images, kept), chosen, best, message or f"kept {len(kept)} of {len(scores)}: {_shown(chosen)}")


class LaurelFilter:
    """Keeps pictures that score enough. Where none does, the best one goes on, and a flag says so."""

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "images": ("IMAGE",),
                "scores": (SCORES,),
                "minimum": ("FLOAT", {"default": 0.0, "min": -1000.0, "max": 1000.0, "step": 0.01}),
            }
        }

    RETURN_TYPES = ("IMAGE", SCORES, "BOOLEAN", "STRING")
    RETURN_NAMES = ("images", "scores", "any passed", "text")
    FUNCTION = "filter"
    CATEGORY = CATEGORY
    DESCRIPTION = "Keeps pictures of at least a score, the best first; where none has it, the best one alone."

    def filter(self, images, scores, minimum):
        scores = _aligned(images, scores)
        passed = any(value is not None and value >= minimum for value in scores)
        kept, message = laurel_client.choose(scores, 0, minimum)
        chosen = [scores[i] for i in kept]
        return (_selected(images, kept), chosen, passed, message or f"kept {len(kept)} of {len(scores)}: {_shown(chosen)}")


NODE_CLASS_MAPPINGS = {"LaurelScore": LaurelScore, "LaurelRank": LaurelRank, "LaurelFilter": LaurelFilter}
NODE_DISPLAY_NAME_MAPPINGS = {
    "LaurelScore": "Laurel Score",
    "LaurelRank": "Laurel Rank / keep the best",
    "LaurelFilter": "Laurel Filter",
}
