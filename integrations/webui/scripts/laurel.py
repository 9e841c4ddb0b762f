# Part of Laurel, Apache-2.0.
"""Scores the pictures of AUTOMATIC1111's web UI and Forge through a running `laurel serve --score`, and keeps the best.

Every picture's score is a normal key of its generation parameters (`ImageReward: 0.8312`), which the web UI and other readers parse.
"""

import io
import math

import gradio as gr

import laurel_client
from modules import images, scripts
from modules.shared import opts

TITLE = "Laurel"


class _Score(str):
    """A score in `extra_generation_params`. Versions of the web UI that call what they find there get none for the grid of all pictures."""

    def __call__(self, use_main_prompt=False, **_):
        return None if use_main_prompt else str(self)


class _State:
    """What is known of the pictures of one generation."""

    def __init__(self, saves):
        self.saves = saves
        """Whether the kept pictures are saved at the end, since they were not as they came."""
        self.pictures = []
        self.scores = []
        self.key = "ImageReward"
        self.notes = []

    def note(self, text):
        if text and text not in self.notes:
            self.notes.append(text)


class LaurelScript(scripts.Script):
    """Always shown, off until it is turned on."""

    def title(self):
        return TITLE

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        with gr.Accordion(TITLE, open=False):
            enabled = gr.Checkbox(label="Score pictures with laurel serve --score", value=False)
            keep = gr.Slider(label="Keep the best (0: all)", minimum=0, maximum=64, step=1, value=0)
            minimum = gr.Textbox(label="Keep only scores of at least (empty: any)", value="")
            best_first = gr.Checkbox(label="Show the best first", value=True)
            save_kept = gr.Checkbox(label="Save only what is kept, once all pictures are drawn", value=False)
        return [enabled, keep, minimum, best_first, save_kept]

    def process(self, p, enabled=False, keep=0, minimum="", best_first=True, save_kept=False, *_):
        p.laurel_state = None
        if not enabled:
            return
        saves = bool(save_kept) and _saves(p)
        p.laurel_state = _State(saves)
        if saves:
            p.do_not_save_samples = True

    def postprocess_image(self, p, pp, *args):
        # newer versions call again once a picture is composed, with what is saved
        if not hasattr(scripts.Script, "postprocess_image_after_composite"):
            self._score(p, pp.image)

    def postprocess_image_after_composite(self, p, pp, *args):
        self._score(p, pp.image)

    def postprocess(self, p, processed, enabled=False, keep=0, minimum="", best_first=True, save_kept=False, *_):
        state = getattr(p, "laurel_state", None)
        if state is None:
            return
        p.laurel_state = None
        p.extra_generation_params.pop(state.key, None)
        if state.saves:
            p.do_not_save_samples = False
        try:
            kept = self._keep(p, processed, state, keep, minimum, best_first)
            if state.saves:
                _save(p, processed, kept)
        except Exception as error:  # whatever other extensions made of the pictures, they are not lost over a score
            state.note(f"expected the pictures of this generation, got {type(error).__name__}: {error}; all are kept")
        if state.notes:
            processed.comments = "\n".join(filter(None, [getattr(processed, "comments", ""), *map(_told, state.notes)]))

    def _score(self, p, image):
        """Scores one picture before it is saved, so that its file says so."""
        state = getattr(p, "laurel_state", None)
        if state is None:
            return
        value = None
        p.extra_generation_params.pop(state.key, None)
        try:
            # after a failure, the rest of the generation does not wait for the same one again
            if not any(isinstance(one, _Failure) for one in state.notes):
                scored = laurel_client.score(_prompt(p), [_png(image)], "a1111")
                value = scored.scores[0]
                state.key = scored.key
                for note in scored.notes:
                    state.note(note)
        except laurel_client.LaurelError as error:
            state.note(_Failure(f"{error}; pictures from here on have no score, and all are kept"))
        except Exception as error:  # a picture is never lost over its score
            state.note(f"expected a score, got {type(error).__name__}: {error}")
        if value is not None:
            p.extra_generation_params[state.key] = _Score(f"{value:.4f}")
        state.pictures.append(image)
        state.scores.append(value)

    def _keep(self, p, processed, state, keep, minimum, best_first):
        """Leaves in the gallery what is kept; returns the positions in it of those pictures."""
        places = _places(processed, state)
        if not places:
            return []
        if any(isinstance(note, _Failure) for note in state.notes):
            return places
        kept, message = laurel_client.choose(state.scores, int(keep or 0), _minimum(minimum, state))
        state.note(message)
        if not best_first:
            kept = sorted(kept)
        first = processed.index_of_first_image
        if kept != list(range(len(places))):
            samples = set(places)
            others = [image for i, image in enumerate(processed.images) if i >= first and i not in samples]
            processed.images[:] = [*processed.images[:first], *(processed.images[places[k]] for k in kept), *others]
            processed.infotexts = [*processed.infotexts[:first], *(processed.infotexts[first + k] for k in kept)]
            for name in ("all_prompts", "all_negative_prompts", "all_seeds", "all_subseeds"):
                values = getattr(processed, name, None)
                if isinstance(values, list) and len(values) >= len(places):
                    setattr(processed, name, [values[k] for k in kept])
            processed.seed = processed.all_seeds[0]
            processed.subseed = processed.all_subseeds[0]
            processed.info = processed.infotexts[0]
        return list(range(first, first + len(kept)))


class _Failure(str):
    """A note after which the server is not asked again."""


def _told(note):
    return f"{TITLE}: {note}"


def _saves(p):
    """Whether the web UI would save the pictures as they come."""
    save_samples = getattr(p, "save_samples", None)
    return bool(save_samples()) if callable(save_samples) else bool(opts.samples_save and not p.do_not_save_samples)


def _prompt(p):
    index = getattr(p, "batch_index", 0)
    prompts = getattr(p, "prompts", None) or []
    return str(prompts[index] if index < len(prompts) else p.prompt)


def _png(image):
    data = io.BytesIO()
    (image if image.mode in ("RGB", "RGBA", "L") else image.convert("RGB")).save(data, "PNG", compress_level=1)
    return data.getvalue()


def _minimum(text, state):
    if text is None or str(text).strip() == "":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    state.note(f"expected a number as the least score, got {str(text)[:40]!r}; it is left out")
    return None


def _places(processed, state):
    """Positions of the scored pictures among the results, which may hold a grid before and masks between them; none where they cannot be told."""
    first = processed.index_of_first_image
    by_identity = {id(image): i for i, image in enumerate(processed.images)}
    places = [by_identity[id(image)] for image in state.pictures if id(image) in by_identity]
    if len(places) != len(state.pictures) and len(processed.images) - first == len(state.pictures):
        # the web UI, or another extension, has made new ones of them
        places = list(range(first, len(processed.images)))
    if len(places) == len(state.pictures) and len(processed.infotexts) >= first + len(places):
        return places
    state.note("expected the pictures that were scored among the results, got others; all are kept")
    return []


def _save(p, processed, kept):
    positions = kept or range(processed.index_of_first_image, len(processed.images))
    for k, position in enumerate(positions):
        text = processed.infotexts[min(processed.index_of_first_image + k, len(processed.infotexts) - 1)]
        seed = processed.all_seeds[min(k, len(processed.all_seeds) - 1)]
        prompt = processed.all_prompts[min(k, len(processed.all_prompts) - 1)]
        images.save_image(processed.images[position], p.outpath_samples, "", seed, prompt, opts.samples_format, info=text, p=p) # fmt: skip
