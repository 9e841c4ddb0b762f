"""Runs integrations/webui inside the web UI's own code: script loading, process_images_inner, create_infotext, save_image, parse_generation_parameters.

What needs a model, a page or a GPU is a stand-in: drawing gives plain pictures, settings are constants. Called by integrations.py:

    python test/reference/integrations_forge.py CHECKOUT

with LAUREL_URL and LAUREL_TOKEN of a running server, and DOWN=1 where there is none. CHECKOUT is stable-diffusion-webui-forge (dfdcbab was used).
"""

import importlib.abc
import importlib.machinery
import json
import os
import sys
import tempfile
import types
from unittest.mock import MagicMock

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
EXTENSION = os.path.join(ROOT, "integrations", "webui")
# modules of the web UI that run as they are; its others, and the packages below, are stand-ins
REAL = "infotext_utils processing scripts images errors prompt_parser infotext_versions script_loading scripts_postprocessing script_callbacks timer util"
# where the web UI leaves its params.txt
SCRATCH = tempfile.TemporaryDirectory()
PACKAGES = "gradio cv2 einops ldm ldm_patched pytz piexif skimage lark blendmodes pillow_avif pillow_heif fastapi psutil"


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules that are mocks."""

    def __init__(self, wants):
        self.wants = wants

    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if self.wants(name) else None

    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__name__, module.__spec__, module.__path__, module.__file__, module.__loader__ = spec.name, spec, [], spec.name, self
        return module

    def exec_module(self, module):
        pass


class Options:
    """Settings: what is named here, else off."""

    data = {}
    samples_save = enable_pnginfo = return_grid = grid_only_if_multiple = save_images_add_number = add_version_to_infotext = True
    samples_format = "png"
    samples_filename_pattern = "[seed]"
    save_images_replace_action = "Add number suffix"
    target_side_length, img_downscale_threshold, eta_noise_seed_delta, CLIP_stop_at_last_layers = 4000, 4.0, 0, 1
    sd_vae_decode_method, randn_source, forge_unet_storage_dtype = "Full", "GPU", "Automatic"
    forge_additional_modules = ()
    n_rows, grid_background_color = -1, "#ffffff"

    def __getattr__(self, name):
        return [] if name.startswith("prioritized_callbacks_") else False


class Drawn(list):
    """Pictures as the sampler gives them, decoded: levels of -1 to 1."""

    already_decoded = True


def load(checkout):
    real = {f"modules.{name}" for name in REAL.split()}
    packages = set(PACKAGES.split())
    sys.path.insert(0, checkout)
    sys.meta_path.insert(0, StandIns(lambda name: name.split(".")[0] in ("modules_forge", "backend") or name.startswith("modules.") and name not in real))
    sys.meta_path.append(StandIns(lambda name: name.split(".")[0] in packages))
    from modules import shared

    shared.opts = Options()
    shared.cmd_opts = types.SimpleNamespace(unix_filenames_sanitization=True, filenames_max_length=128, embeddings_dir="/none", no_prompt_history=True, unix=True)  # fmt: skip
    shared.state = types.SimpleNamespace(job_count=-1, skipped=False, interrupted=False, stopping_generation=False, job="", job_timestamp="0", nextjob=lambda: None)  # fmt: skip
    shared.sd_model.sd_checkpoint_info.name_for_extra, shared.sd_model.sd_model_hash = "tiny", "0123456789"
    shared.sd_model.use_distilled_cfg_scale = False
    shared.prompt_styles.extract_styles_from_prompt = lambda prompt, negative: ([], prompt, negative)
    shared.sd_model.extra_generation_params, shared.sd_model.comments = {}, []
    shared.sd_model.fix_dimensions = lambda width, height: (width, height)
    import modules.paths
    import modules.sd_vae

    modules.paths.data_path = SCRATCH.name
    modules.sd_vae.get_loaded_vae_name = modules.sd_vae.get_loaded_vae_hash = lambda: None
    from modules import extra_networks, images, infotext_utils, processing, script_loading, scripts, scripts_auto_postprocessing

    extra_networks.parse_prompts = lambda prompts: (prompts, {})
    scripts_auto_postprocessing.create_auto_preprocessing_script_data = lambda: []
    processing.program_version = lambda: "forge"
    processing.apply_circular_forge = lambda *_: None
    processing.apply_overlay = lambda image, paste_to, overlay: (image, image)
    images.stealth_infotext = types.SimpleNamespace(add_stealth_pnginfo=lambda params: None)
    images.get_next_sequence_number = lambda path, basename: len(os.listdir(path))
    # as load_scripts does for an extension: its folder is on the path while its scripts are loaded
    sys.path.insert(0, EXTENSION)
    path = os.path.join(EXTENSION, "scripts", "laurel.py")
    module = script_loading.load_module(path)
    sys.path.remove(EXTENSION)
    classes = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, scripts.Script)]
    assert [one.__name__ for one in classes] == ["LaurelScript"], classes
    scripts.scripts_data.append(scripts.ScriptClassData(classes[0], path, EXTENSION, module))
    return processing, scripts, infotext_utils


def draw(processing, scripts, arguments, prompt, out, n_iter=2, batch_size=2):
    """A generation of plain grey pictures, brighter from one to the next."""
    import numpy
    import torch

    runner = scripts.ScriptRunner()
    runner.initialize_scripts(False)
    (script,) = runner.alwayson_scripts
    script.args_from, script.args_to = 0, len(arguments)
    p = MagicMock()
    count = n_iter * batch_size
    fields = dict(scripts=runner, script_args=arguments, prompt=prompt, main_prompt=prompt, negative_prompt="", main_negative_prompt="", seed=7, subseed=1, subseed_strength=0, seed_resize_from_w=0, seed_resize_from_h=0, n_iter=n_iter, batch_size=batch_size, steps=2, sampler_name="Euler", scheduler="Automatic", cfg_scale=7, width=64, height=64, restore_faces=False, tiling=False, refiner_checkpoint=None, styles=[], comments=[], extra_generation_params={}, disable_extra_networks=True, do_not_save_samples=False, do_not_save_grid=False, outpath_samples=out, outpath_grids=out, color_corrections=None, mask_for_overlay=None, overlay_images=None, paste_to=None, is_using_inpainting_conditioning=False, pixels_after_sampling=[], latents_after_sampling=[], override_settings={}, user=None, clip_skip=1, enable_hr=False, token_merging_ratio=0, token_merging_ratio_hr=0, hr_checkpoint_name=None, txt2img_upscale=False, extra_result_images=[], all_prompts=[prompt] * count, all_negative_prompts=[""] * count, prompts=None, denoising_strength=None, eta=0, ddim_discretize="", s_churn=0, s_tmin=0, s_tmax=0, s_noise=0, sampler_noise_scheduler_override=None, image_cfg_scale=None, firstpass_use_distilled_cfg_scale=False, job_timestamp="0", laurel_state=None)  # fmt: skip
    for name, value in fields.items():
        setattr(p, name, value)
    p.get_token_merging_ratio = lambda **_: 0
    p.comment = p.comments.append
    p.save_samples = lambda: not p.do_not_save_samples
    shown = iter(numpy.linspace(-0.9, 0.9, count))
    p.sample = lambda **_: Drawn(torch.full((3, 64, 64), float(next(shown))) for _ in range(batch_size))
    return processing.process_images_inner(p), p


def main():
    processing, scripts, infotext_utils = load(os.path.abspath(sys.argv[1]))
    from PIL import Image

    def saved(folder):
        texts = {}
        for name in sorted(os.listdir(folder)):
            with Image.open(os.path.join(folder, name)) as image:
                texts[name] = infotext_utils.parse_generation_parameters(image.info["parameters"], skip_fields=[])
        return texts

    prompt = "a (white:1.2) square, <lora:none:1> 雪の中の狐: \"quoted\", 🦊"
    with tempfile.TemporaryDirectory() as out:
        done, _ = draw(processing, scripts, [True, 0, "", False, False], prompt, out)
        assert done.index_of_first_image == 1 and len(done.images) == 5 and len(done.infotexts) == 5, len(done.images)
        if os.environ.get("DOWN"):
            assert "expected laurel serve --score to answer" in done.comments, done.comments
            assert all("ImageReward" not in text for text in done.infotexts)
            assert done.comments.count("Laurel:") == 1
            done, _ = draw(processing, scripts, [True, 1, "5", True, True], prompt, out)
            assert len(done.images) == 5, "all are kept"
            assert len(os.listdir(out)) == 8, "all are saved"
            print(json.dumps({"case": "forge: server down: all kept, all saved, one message", "ok": True}))
            return
        parsed = [infotext_utils.parse_generation_parameters(text, skip_fields=[]) for text in done.infotexts]
        assert "ImageReward" not in parsed[0], "the grid has the score of none"
        scores = [float(one["ImageReward"]) for one in parsed[1:]]
        assert len(set(scores)) == 4 and all(one["Prompt"] == prompt for one in parsed), parsed
        assert [float(one["ImageReward"]) for one in saved(out).values()] == scores, "the files say the same"
        assert json.loads(done.js())["infotexts"] == done.infotexts and "ImageReward" not in json.loads(done.js())["extra_generation_params"]
        print(json.dumps({"case": "forge: each picture's own score, in gallery and files, parsed back", "scores": scores, "ok": True}))
    best = max(range(4), key=lambda i: scores[i])
    for arguments, kept in (([True, 2, "", True, False], 2), ([True, 0, "99", True, False], 1), ([True, 1, "", True, True], 1)):
        with tempfile.TemporaryDirectory() as out:
            done, p = draw(processing, scripts, arguments, prompt, out)
            assert len(done.images) == 1 + kept and len(done.infotexts) == 1 + kept and len(done.all_seeds) == kept, arguments
            assert done.all_seeds[0] == 7 + best and f"Seed: {7 + best}," in done.infotexts[1] and f"ImageReward: {scores[best]:.4f}" in done.infotexts[1]
            assert ("no picture scores 99 or more; the best one" in done.comments) == (arguments[2] == "99"), done.comments
            assert len(os.listdir(out)) == (1 if arguments[4] else 4) and p.do_not_save_samples is False
            if arguments[4]:
                assert [float(one["ImageReward"]) for one in saved(out).values()] == [scores[best]]
            print(json.dumps({"case": f"forge: keep {arguments[1]}, minimum {arguments[2] or 'none'}, save only kept {arguments[4]}", "kept": kept, "ok": True}))
    with tempfile.TemporaryDirectory() as out:
        for arguments in ([False, 1, "", True, True], []):
            done, _ = draw(processing, scripts, arguments, prompt, out, n_iter=1)
            assert len(done.images) == 3 and all("ImageReward" not in text for text in done.infotexts)
        print(json.dumps({"case": "forge: turned off, nothing is asked or changed", "ok": True}))


if __name__ == "__main__":
    main()
