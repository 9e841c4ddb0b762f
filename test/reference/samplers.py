"""Golden sampler trajectories from diffusers' schedulers, with a fixed rational function in place of the denoiser.

Run: python test/reference/samplers.py   (versions: test/reference/requirements.txt)
Writes test/fixtures/samplers/trajectories.json.
"""

import base64
import json
import warnings
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import diffusers
import torch

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "samplers" / "trajectories.json"
CLASSES = {
    "ddpm": "DDPMScheduler",
    "ddim": "DDIMScheduler",
    "pndm": "PNDMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-a": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "dpmpp-2m": "DPMSolverMultistepScheduler",
    "dpmpp-2m-sde": "DPMSolverMultistepScheduler",
    "dpmpp-sde": "DPMSolverSDEScheduler",
    "unipc": "UniPCMultistepScheduler",
    "lcm": "LCMScheduler",
}
TAKES_GENERATOR = ("ddpm", "ddim", "euler-a", "dpmpp-2m-sde", "lcm")
SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
SHAPE = (1, 2, 2, 4)
SEED = 7

# scheduler_config.json of published models; the one of LCM Dreamshaper spells out its class's defaults
PUBLISHED = {
    "Stable Diffusion 1.5": dict(_class_name="PNDMScheduler", _diffusers_version="0.6.0", beta_end=0.012, beta_schedule="scaled_linear", beta_start=0.00085, clip_sample=False, num_train_timesteps=1000, set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1, trained_betas=None),
    "Stable Diffusion 2.1": dict(_class_name="DDIMScheduler", _diffusers_version="0.8.0", beta_end=0.012, beta_schedule="scaled_linear", beta_start=0.00085, clip_sample=False, num_train_timesteps=1000, prediction_type="v_prediction", set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1, trained_betas=None),
    "Stable Diffusion 2.1 with Euler": dict(_class_name="EulerDiscreteScheduler", _diffusers_version="0.10.0.dev0", beta_end=0.012, beta_schedule="scaled_linear", beta_start=0.00085, clip_sample=False, num_train_timesteps=1000, prediction_type="v_prediction", set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1, trained_betas=None),
    "SD-Turbo": dict(_class_name="EulerDiscreteScheduler", _diffusers_version="0.24.0.dev0", beta_end=0.012, beta_schedule="scaled_linear", beta_start=0.00085, clip_sample=False, interpolation_type="linear", num_train_timesteps=1000, prediction_type="epsilon", set_alpha_to_one=False, sigma_max=None, sigma_min=None, skip_prk_steps=True, steps_offset=1, timestep_spacing="trailing", timestep_type="discrete", trained_betas=None, use_karras_sigmas=False),
    "SDXL-Turbo": dict(_class_name="EulerAncestralDiscreteScheduler", _diffusers_version="0.24.0.dev0", beta_end=0.012, beta_schedule="scaled_linear", beta_start=0.00085, clip_sample=False, interpolation_type="linear", num_train_timesteps=1000, prediction_type="epsilon", sample_max_value=1.0, set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1, timestep_spacing="trailing", trained_betas=None),
    "SDXL base": dict(_class_name="EulerDiscreteScheduler", _diffusers_version="0.19.0.dev0", beta_end=0.012, beta_schedule="scaled_linear", beta_start=0.00085, clip_sample=False, interpolation_type="linear", num_train_timesteps=1000, prediction_type="epsilon", sample_max_value=1.0, set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1, timestep_spacing="leading", trained_betas=None, use_karras_sigmas=False),
    "LCM Dreamshaper": dict(_class_name="LCMScheduler", _diffusers_version="0.22.0.dev0", beta_end=0.012, beta_schedule="scaled_linear", beta_start=0.00085, clip_sample=False, clip_sample_range=1.0, dynamic_thresholding_ratio=0.995, num_train_timesteps=1000, original_inference_steps=50, prediction_type="epsilon", rescale_betas_zero_snr=False, sample_max_value=1.0, set_alpha_to_one=True, steps_offset=0, thresholding=False, timestep_spacing="leading", trained_betas=None),
    # what `LCMScheduler.from_config(pipe.scheduler.config)` saves after LCM-LoRA is loaded into Stable Diffusion 1.5
    "LCM-LoRA on Stable Diffusion 1.5": dict(_class_name="LCMScheduler", _diffusers_version="0.22.3", beta_end=0.012, beta_schedule="scaled_linear", beta_start=0.00085, clip_sample=False, clip_sample_range=1.0, dynamic_thresholding_ratio=0.995, num_train_timesteps=1000, original_inference_steps=50, prediction_type="epsilon", rescale_betas_zero_snr=False, sample_max_value=1.0, set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1, thresholding=False, timestep_scaling=10.0, timestep_spacing="leading", trained_betas=None),
}


def model(x, t):
    """A smooth, bounded, nonlinear stand-in for the denoiser; only + - * /, so that it is the same in any language."""
    c = (float(t) - 500.0) / 1000.0
    return (x * 0.8 + c) / (1.0 + x * x * 0.5)


def b64(tensor):
    return base64.b64encode(tensor.detach().numpy().astype("<f4").tobytes()).decode()


def method_of(name):
    return name.removesuffix("-karras")


def make(name, config):
    stated = {key: value for key, value in config.items() if not key.startswith("_")}
    if name.endswith("-karras"):
        stated["use_karras_sigmas"] = True
    if method_of(name) == "dpmpp-2m-sde":
        stated["algorithm_type"] = "sde-dpmsolver++"
    cls = getattr(diffusers, CLASSES[method_of(name)])
    extra = {"noise_sampler_seed": SEED} if method_of(name) == "dpmpp-sde" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = cls.from_config(stated, **extra)
    return scheduler, {"_class_name": CLASSES[method_of(name)], **stated, **config}


def noising_table(scheduler):
    """Weights of picture and noise in add_noise at every evaluation."""
    one, zero = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    table = []
    for i in range(len(scheduler.timesteps)):
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(i)
        t = scheduler.timesteps[i : i + 1]
        pair = scheduler.add_noise(one, zero, t), scheduler.add_noise(zero, one, t)
        table.append([float(f"{weight.item():.8g}") for weight in pair])
    if hasattr(scheduler, "set_begin_index"):
        scheduler._begin_index = None
    return table


def brownian_noise(scheduler, entry, last):
    """Independent standard normals from the reference's own Brownian tree, whose intervals for the half and the whole step overlap."""
    if last:
        return None
    # asked for exactly as the scheduler asks: a rounding of 1e-7 in an end moves the path by its root
    t, t_next = (-scheduler.sigmas[i].log() for i in ((entry, entry + 1) if entry % 2 == 0 else (entry - 1, entry)))
    sigma, middle, sigma_next = (torch.exp(-time) for time in (t, t + (t_next - t) * 0.5, t_next))
    half = scheduler.noise_sampler(sigma, middle).double()
    if entry % 2 == 0:
        return half
    whole = scheduler.noise_sampler(sigma, sigma_next).double()
    rest = whole * (sigma - sigma_next).sqrt().double() - half * (sigma - middle).sqrt().double()
    return rest / (middle - sigma_next).sqrt().double()


def run(name, config, steps, eta=0.0, start=0, published=None):
    scheduler, config = make(name, config)
    scheduler.set_timesteps(steps)
    noising = noising_table(scheduler)
    generator = torch.Generator("cpu").manual_seed(SEED)
    initial = torch.randn(SHAPE, generator=generator)
    sample = initial * scheduler.init_noise_sigma
    begin = start * scheduler.order
    timesteps = scheduler.timesteps[begin:]
    if start > 0:
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(begin)
        picture = torch.linspace(-1, 1, initial.numel()).reshape(SHAPE)
        sample = scheduler.add_noise(picture, initial, timesteps[:1])
    entered = b64(sample)
    # x - x0 at the first level of a rescaled schedule, 4096, loses 2.4e-4 of it in float32: Euler's steps are then taken in double precision
    double = name == "euler" and config.get("rescale_betas_zero_snr", False)
    if double:
        sample, scheduler.sigmas = sample.double(), scheduler.sigmas.double()
    samples, noises = [], []
    for i, t in enumerate(timesteps):
        output = model(scheduler.scale_model_input(sample, t), t)
        before = generator.get_state()
        kwargs = {"generator": generator} if method_of(name) in TAKES_GENERATOR else {}
        if name == "ddim":
            kwargs["eta"] = eta
        with mock.patch.object(torch, "float32", torch.float64 if double else torch.float32):
            result = scheduler.step(output, t, sample, **kwargs, return_dict=False)
        noise = None
        if not torch.equal(before, generator.get_state()):
            again = torch.Generator("cpu")
            again.set_state(before)
            noise = torch.randn(SHAPE, generator=again)
        elif method_of(name) == "dpmpp-sde":
            noise = brownian_noise(scheduler, begin + i, i == len(timesteps) - 1)
        noises.append(None if noise is None else b64(noise))
        sample = result[0]
        assert torch.isfinite(sample).all(), (name, config, steps)
        samples.append(b64(sample))
    return {
        "sampler": name,
        "config": config,
        "steps": steps,
        "eta": eta,
        "start": start,
        "published": published,
        "timesteps": [float(t) for t in timesteps],
        "initialScale": float(scheduler.init_noise_sigma),
        "noising": noising[begin:],
        "initial": b64(initial),
        "entered": entered,
        "samples": samples,
        "noises": noises,
    }


def cases():
    spacings = [dict(timestep_spacing="leading", steps_offset=1), dict(timestep_spacing="trailing"), dict(timestep_spacing="linspace")]
    for prediction in ("epsilon", "v_prediction", "sample"):
        p = dict(SD, prediction_type=prediction)
        # every method with every spacing
        for spacing in spacings:
            for name in CLASSES:
                if prediction == "sample" and name in ("pndm", "euler-a", "dpmpp-sde"):
                    continue
                yield name, dict(p, **spacing, clip_sample=False), 5
        for name in ("euler", "heun", "dpmpp-2m", "dpmpp-2m-sde", "dpmpp-sde", "unipc"):
            if prediction == "sample" and name == "dpmpp-sde":
                continue
            yield f"{name}-karras", dict(p, clip_sample=False), 8
        # defaults of the classes, longer trajectories, entered midway
        for name in CLASSES:
            if prediction == "sample" and name in ("pndm", "euler-a", "dpmpp-sde"):
                continue
            betas = dict(SD) if name != "lcm" else {}
            if prediction != "sample":
                yield name, dict(betas, prediction_type=prediction), 20
                yield name, dict(p, clip_sample=False, skip_prk_steps=True), 10, 0.0, 4
        yield "ddpm", dict(p, timestep_spacing="trailing"), 7
        yield "ddim", dict(p, timestep_spacing="trailing"), 6
        yield "ddim", dict(p, clip_sample=False), 10, 1.0
        yield "euler", dict(p, timestep_spacing="trailing"), 1
    e = dict(SD, prediction_type="epsilon")
    v = dict(SD, prediction_type="v_prediction")
    yield "ddpm", dict(e, clip_sample=True, clip_sample_range=0.7, variance_type="fixed_large"), 12
    yield "ddpm", dict(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", clip_sample=True), 10
    yield "ddpm", dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=2e-2, beta_schedule="linear", clip_sample=True), 50
    yield "ddpm", dict(v, clip_sample=False, rescale_betas_zero_snr=True, timestep_spacing="trailing"), 10
    yield "ddim", dict(e, clip_sample=False, timestep_spacing="linspace"), 15, 0.5
    yield "ddim", dict(v, clip_sample=False, rescale_betas_zero_snr=True, timestep_spacing="trailing"), 10
    yield "pndm", dict(e, skip_prk_steps=True, timestep_spacing="trailing", set_alpha_to_one=True), 7
    yield "pndm", dict(v, skip_prk_steps=True), 1
    yield "pndm", dict(e, skip_prk_steps=True), 2
    yield "pndm", dict(e), 4
    yield "pndm", dict(e, skip_prk_steps=True), 8, 0.0, 1
    yield "pndm", dict(e, skip_prk_steps=True), 8, 0.0, 7
    yield "euler-karras", dict(e, timestep_spacing="leading", steps_offset=1), 6
    yield "euler-karras", dict(e, clip_sample=False), 8, 0.0, 3
    yield "euler", dict(e, final_sigmas_type="sigma_min"), 9
    yield "euler", dict(v, rescale_betas_zero_snr=True, timestep_spacing="trailing"), 8
    yield "euler-a", dict(v, rescale_betas_zero_snr=True, timestep_spacing="trailing"), 8
    yield "euler-a", dict(e, timestep_spacing="trailing"), 1
    yield "heun", dict(e, clip_sample=True, clip_sample_range=0.8), 6
    yield "heun", dict(e, timestep_spacing="trailing"), 1
    yield "heun", dict(), 4
    yield "heun-karras", dict(v), 6, 0.0, 2
    yield "dpmpp-sde", dict(e), 1
    yield "dpmpp-sde", dict(), 4
    yield "dpmpp-sde-karras", dict(v), 6, 0.0, 2
    for name in ("dpmpp-2m", "dpmpp-2m-sde"):
        yield name, dict(e, timestep_spacing="trailing"), 1
        yield name, dict(e, timestep_spacing="trailing"), 7
        yield name, dict(e, solver_type="heun"), 10
        yield name, dict(e, solver_order=1), 10
        yield name, dict(e, solver_order=3), 10
        yield name, dict(v, solver_order=3, final_sigmas_type="sigma_min"), 17
        yield name, dict(v, solver_order=3), 16, 0.0, 9
        yield name, dict(e, solver_type="bh2", lower_order_final=False), 10
        yield name, dict(v, final_sigmas_type="sigma_min", euler_at_final=True), 20
        yield name, dict(v, final_sigmas_type="sigma_min", lower_order_final=False), 16
        yield name, dict(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", lambda_min_clipped=-5.1), 20
        yield name, dict(v, rescale_betas_zero_snr=True, timestep_spacing="trailing"), 20
        yield f"{name}-karras", dict(e), 16, 0.0, 6
    for order in (1, 3):
        yield "unipc", dict(e, solver_order=order), 10
        yield "unipc", dict(v, solver_order=order, solver_type="bh1", final_sigmas_type="sigma_min"), 10
    yield "unipc", dict(e, timestep_spacing="trailing"), 1
    yield "unipc", dict(v, solver_order=3), 12, 0.0, 5
    yield "unipc", dict(v, solver_order=3, final_sigmas_type="sigma_min", lower_order_final=False), 16
    yield "unipc", dict(e, disable_corrector=[0, 2]), 8
    yield "unipc", dict(v, rescale_betas_zero_snr=True, timestep_spacing="trailing"), 10
    yield "unipc-karras", dict(v), 8, 0.0, 3
    yield "lcm", dict(e, original_inference_steps=100, timestep_scaling=0.01), 7
    yield "lcm", dict(e, clip_sample=True, clip_sample_range=0.7), 3
    yield "lcm", dict(), 1
    yield "lcm", dict(v, rescale_betas_zero_snr=True), 4
    for title, config in PUBLISHED.items():
        name = next(name for name, cls in CLASSES.items() if cls == config["_class_name"])
        for steps in (1, 4) if "Turbo" in title or "LCM" in title else (20,):
            yield name, config, steps, 0.0, 0, title


def main():
    torch.set_num_threads(1)
    alpha_bars = {}
    for schedule in ("linear", "scaled_linear", "squaredcos_cap_v2"):
        for rescale in (False, True):
            scheduler = diffusers.DDIMScheduler(**dict(SD, beta_schedule=schedule, rescale_betas_zero_snr=rescale))
            alpha_bars[f"{schedule}{'/zero-snr' if rescale else ''}"] = b64(scheduler.alphas_cumprod)
    fixture = {
        "command": "python test/reference/samplers.py",
        "versions": {name: version(name) for name in ("diffusers", "torch", "numpy", "torchsde")},
        "alphaBars": {"config": SD, "values": alpha_bars},
        "shape": SHAPE,
        "seed": SEED,
        "cases": [],
    }
    rows = [run(*case) for case in cases()]
    text = json.dumps(fixture, indent=1).replace('"cases": []', '"cases": [\n' + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n ]")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(text + "\n")
    print(OUT, OUT.stat().st_size, len(rows))


main()
