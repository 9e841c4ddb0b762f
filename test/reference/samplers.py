"""Golden sampler trajectories from diffusers' schedulers, with a fixed rational function in place of the denoiser.

Run: python test/reference/samplers.py   (versions: test/reference/requirements.txt)
Writes test/fixtures/samplers/trajectories.json.
"""

import base64
import json
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "samplers" / "trajectories.json"
CLASSES = {"ddpm": DDPMScheduler, "ddim": DDIMScheduler, "euler": EulerDiscreteScheduler, "dpmpp-2m": DPMSolverMultistepScheduler}
SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
SHAPE = (1, 2, 2, 4)


def model(x, t):
    """A smooth, bounded, nonlinear stand-in for the denoiser; only + - * /, so that it is the same in any language."""
    c = (float(t) - 500.0) / 1000.0
    return (x * 0.8 + c) / (1.0 + x * x * 0.5)


def b64(tensor):
    return base64.b64encode(tensor.detach().numpy().astype("<f4").tobytes()).decode()


def run(name, config, steps, eta=0.0, seed=7):
    scheduler = CLASSES[name](**config)
    scheduler.set_timesteps(steps)
    generator = torch.Generator("cpu").manual_seed(seed)
    initial = torch.randn(SHAPE, generator=generator)
    sample = initial * scheduler.init_noise_sigma
    samples, noises = [], []
    for t in scheduler.timesteps:
        output = model(scheduler.scale_model_input(sample, t), t)
        before = generator.get_state()
        kwargs = {"generator": generator} if name in ("ddpm", "ddim") else {}
        if name == "ddim":
            kwargs["eta"] = eta
        result = scheduler.step(output, t, sample, **kwargs, return_dict=False)
        if not torch.equal(before, generator.get_state()):
            again = torch.Generator("cpu")
            again.set_state(before)
            noises.append(b64(torch.randn(SHAPE, generator=again)))
        else:
            noises.append(None)
        sample = result[0]
        samples.append(b64(sample))
    stated = {k: v for k, v in config.items()}
    return {
        "sampler": name,
        "config": {"_class_name": CLASSES[name].__name__, **stated},
        "steps": steps,
        "eta": eta,
        "timesteps": [float(t) for t in scheduler.timesteps],
        "initialScale": float(scheduler.init_noise_sigma),
        "initial": b64(initial),
        "samples": samples,
        "noises": noises,
    }


def cases():
    for prediction in ("epsilon", "v_prediction", "sample"):
        p = dict(SD, prediction_type=prediction)
        yield "ddpm", dict(p, clip_sample=False), 10
        yield "ddpm", dict(p, timestep_spacing="trailing"), 7
        yield "ddim", dict(p, clip_sample=False, set_alpha_to_one=False, steps_offset=1), 20
        yield "ddim", dict(p, timestep_spacing="trailing"), 6
        yield "ddim", dict(p, clip_sample=False), 10, 1.0
        yield "euler", dict(p), 10
        yield "euler", dict(p, timestep_spacing="leading", steps_offset=1), 20
        yield "euler", dict(p, timestep_spacing="trailing"), 1
        yield "dpmpp-2m", dict(p), 20
        yield "dpmpp-2m", dict(p), 8
        yield "dpmpp-2m", dict(p, timestep_spacing="leading", steps_offset=1), 25
    e = dict(SD, prediction_type="epsilon")
    v = dict(SD, prediction_type="v_prediction")
    yield "ddpm", dict(e, clip_sample=True, clip_sample_range=0.7, variance_type="fixed_large"), 12
    yield "ddpm", dict(e, clip_sample=False, timestep_spacing="linspace", steps_offset=1), 5
    yield "ddpm", dict(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", clip_sample=True), 10
    yield "ddpm", dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=2e-2, beta_schedule="linear", clip_sample=True), 50
    yield "ddpm", dict(v, clip_sample=False, rescale_betas_zero_snr=True, timestep_spacing="trailing"), 10
    yield "ddim", dict(e, clip_sample=False, timestep_spacing="linspace"), 15, 0.5
    yield "ddim", dict(v, clip_sample=False, rescale_betas_zero_snr=True, timestep_spacing="trailing"), 10
    yield "euler", dict(e, use_karras_sigmas=True), 12
    yield "euler", dict(e, final_sigmas_type="sigma_min"), 9
    yield "euler", dict(v, rescale_betas_zero_snr=True, timestep_spacing="trailing"), 8
    yield "dpmpp-2m", dict(e, timestep_spacing="trailing"), 1
    yield "dpmpp-2m", dict(e, timestep_spacing="trailing"), 7
    yield "dpmpp-2m", dict(e, use_karras_sigmas=True), 20
    yield "dpmpp-2m", dict(e, solver_type="heun"), 10
    yield "dpmpp-2m", dict(e, solver_order=1), 10
    yield "dpmpp-2m", dict(e, lower_order_final=False), 10
    yield "dpmpp-2m", dict(v, final_sigmas_type="sigma_min"), 10
    yield "dpmpp-2m", dict(v, final_sigmas_type="sigma_min", euler_at_final=True), 20
    yield "dpmpp-2m", dict(v, final_sigmas_type="sigma_min", lower_order_final=False), 16
    yield "dpmpp-2m", dict(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", lambda_min_clipped=-5.1), 20
    yield "dpmpp-2m", dict(v, rescale_betas_zero_snr=True, timestep_spacing="trailing"), 20


def main():
    alpha_bars = {}
    for schedule in ("linear", "scaled_linear", "squaredcos_cap_v2"):
        for rescale in (False, True):
            scheduler = DDIMScheduler(**dict(SD, beta_schedule=schedule, rescale_betas_zero_snr=rescale))
            alpha_bars[f"{schedule}{'/zero-snr' if rescale else ''}"] = b64(scheduler.alphas_cumprod)
    fixture = {
        "command": "python test/reference/samplers.py",
        "versions": {"diffusers": diffusers.__version__, "torch": torch.__version__, "numpy": np.__version__},
        "alphaBars": {"config": SD, "values": alpha_bars},
        "shape": SHAPE,
        "cases": [run(*case) for case in cases()],
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(fixture, indent=1) + "\n")
    print(OUT, OUT.stat().st_size, len(fixture["cases"]))


main()
