/** @file The options that several commands have. */

import { DEVICE_CHOICES } from "../runtime/execution-providers.js";
import { SAMPLER_NAMES } from "../samplers/names.js";
import { COMPUTE_TYPES } from "../diffusion/compute-type.js";
import { PREDICTION_TYPES } from "../samplers/names.js";
import { choice, decimal, file, folder, otherwise, several, textual, toggle, whole } from "./declare.js";

/** How a result is printed. */
export const OUTPUT_OPTIONS = {
  json: toggle("print one JSON object instead of the table"),
  quiet: toggle("no progress and no summary", "q"),
};

/** What the commands that work on a run take. */
export const RUN_OPTIONS = {
  durable: toggle("sync every image to the disk before going on"),
  ...OUTPUT_OPTIONS,
};

/** The folder of runs. */
export const OUT_OPTION = { out: otherwise("outputs", folder("folder that holds the runs")) };

/** The reward. */
export const REWARD_OPTION = {
  reward: several(
    textual(
      "what chooses: image-reward, clip-score, aesthetic, blip-score, pickscore, hps, a file or folder; several are brought to one scale and summed by their weights (default: image-reward)",
      "name[=weight],...",
      "a reward",
      "file",
    ),
  ),
  heldOut: several(textual("rewards that are scored and reported, and never choose", "name,...", "a reward", "file")),
  rewardModel: file("ImageReward file, folder or name (default: the demo model)", "path", "a file or folder"),
};

/** Where the pictures come from. */
export const BACKEND_OPTION = {
  backend: textual(
    "where pictures come from: a backend's name, or its YAML file (default: local)",
    "name",
    "a backend's name or file",
    "file",
  ),
};

/** How a picture is sampled. */
export const SAMPLING_OPTIONS = {
  steps: whole("sampling steps (default: the model's)", 1, 1000),
  guidance: decimal("classifier-free guidance; 1 is none (default: the model's)", 0, 100),
  sampler: textual(`${SAMPLER_NAMES.join(", ")} (default: the model's)`, "name", "a sampler's name", SAMPLER_NAMES),
};

/** Where networks are computed. */
export const DEVICE_OPTION = {
  device: choice(`what computes: ${DEVICE_CHOICES.join(", ")} (default: cpu)`, "name", DEVICE_CHOICES),
};

/** Computing with little memory, too. */
export const SESSION_OPTIONS = {
  ...DEVICE_OPTION,
  lowMemory: toggle("load one network at a time and decode large pictures in tiles: slower, with less memory"),
};

/** The same for commands that draw. */
export const DRAWING_SESSION_OPTIONS = {
  ...SESSION_OPTIONS,
  vaeTile: whole("side of the tiles that pictures are decoded in (default: whole, 384 with --low-memory)", 16, 4096, "pixels"), // prettier-ignore
};

/** Which weights of a model draw, and in what they are computed. */
export const MODEL_OPTIONS = {
  variant: textual("variant of the model's weights: fp16, non_ema, ... or ema of a single file", "name", "a variant"),
  prediction: choice("what the denoiser predicts (default: as the model says)", "name", PREDICTION_TYPES),
  dtype: choice("what networks are computed in (default: auto)", "name", COMPUTE_TYPES),
};

/** LoRAs. */
export const LORA_OPTIONS = {
  lora: several(
    textual("LoRA, with a scale if it is not 1; may be given again", "file[:scale]", "a LoRA file", "file"),
  ),
  loraAnneal: decimal("let the LoRAs grow to their scale until this share of the way, 0 to 1 (default: not)", 0, 1),
};

/** The queue and the storage that machines share. */
export const QUEUE_OPTIONS = {
  queue: textual("queue server: redis://host, postgres://host/database, or the environment variable that says it (default: LAUREL_QUEUE)", "address", "an address"), // prettier-ignore
  store: textual("where pictures are shared: a folder or s3://bucket/prefix (default: LAUREL_STORE)", "address", "an address", "directory"), // prettier-ignore
};

/** Giving a run's work to the workers of a queue. */
export const SUBMIT_OPTIONS = {
  queue: textual("let the workers of this queue draw and score: redis://host, postgres://host/database, or the environment variable that says it", "address", "an address"), // prettier-ignore
  store: textual("with --queue: where pictures are shared, a folder or s3://bucket/prefix (default: LAUREL_STORE)", "address", "an address", "directory"), // prettier-ignore
  capability: textual("with --queue: which workers draw (default: by the backend, such as local:sd-1.5)", "name", "a capability"), // prettier-ignore
  inFlight: whole("with --queue: jobs in the queue at once (default: 256)", 1, 100_000),
  priority: whole("with --queue: lower is sooner (default: 1000)", 0, 2_097_151),
  wait: decimal("with --queue: how long to wait for a first worker (default: 60)", 0.1, 1e6, "seconds"),
};

/** `--debug`, which every command has. */
export const DEBUG_OPTION = { debug: toggle("show where an error comes from") };
