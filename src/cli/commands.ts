/** @file The commands by name, as data. What each does is in actions.ts. */

import { CHECK } from "./commands/check.entry.js";
import { COMPARE } from "./commands/compare.entry.js";
import { COMPLETION } from "./commands/completion.entry.js";
import { DEMO_EVALUATE } from "./commands/demo-evaluate.entry.js";
import { DEMO_FINETUNE } from "./commands/demo-finetune.entry.js";
import { DEMO_REFINE } from "./commands/demo-refine.entry.js";
import { DEMO_TRAIN } from "./commands/demo-train.entry.js";
import { DOCTOR } from "./commands/doctor.entry.js";
import { EVAL_MODELS } from "./commands/eval-models.entry.js";
import { EVAL_PREFERENCES } from "./commands/eval-preferences.entry.js";
import { EXPORT_IMAGES } from "./commands/export-images.entry.js";
import { EXPORT_PREFERENCES } from "./commands/export-preferences.entry.js";
import { EXPORT_REWARD } from "./commands/export-reward.entry.js";
import { GENERATE } from "./commands/generate.entry.js";
import { INIT } from "./commands/init.entry.js";
import { JOBS_CANCEL } from "./commands/jobs-cancel.entry.js";
import { JOBS_LIST } from "./commands/jobs-list.entry.js";
import { JOBS_RETRY } from "./commands/jobs-retry.entry.js";
import { JOBS_RM } from "./commands/jobs-rm.entry.js";
import { LORA_CONVERT } from "./commands/lora-convert.entry.js";
import { LORA_INSPECT } from "./commands/lora-inspect.entry.js";
import { LORA_MERGE } from "./commands/lora-merge.entry.js";
import { MODELS_LIST } from "./commands/models-list.entry.js";
import { MODELS_PATH } from "./commands/models-path.entry.js";
import { MODELS_PULL } from "./commands/models-pull.entry.js";
import { MODELS_RM } from "./commands/models-rm.entry.js";
import { MODELS_VERIFY } from "./commands/models-verify.entry.js";
import { REFINE } from "./commands/refine.entry.js";
import { RERUN } from "./commands/rerun.entry.js";
import { RESUME } from "./commands/resume.entry.js";
import { RUN } from "./commands/run.entry.js";
import { RUNS_DIFF } from "./commands/runs-diff.entry.js";
import { RUNS_LIST } from "./commands/runs-list.entry.js";
import { RUNS_RM } from "./commands/runs-rm.entry.js";
import { RUNS_SHOW } from "./commands/runs-show.entry.js";
import { SCHEMA } from "./commands/schema.entry.js";
import { SCORE } from "./commands/score.entry.js";
import { SORT } from "./commands/sort.entry.js";
import { SERVE } from "./commands/serve.entry.js";
import { TRAIN_DPO, TRAIN_DRAFT, TRAIN_REFL, TRAIN_SFT } from "./commands/train.entry.js";
import { WORKER } from "./commands/worker.entry.js";
import { VERIFY_IMAGE_REWARD } from "./commands/verify-image-reward.entry.js";
import type { GroupDeclaration } from "./declare.js";

/** Every command; a name of two words is a command of a group. */
export const COMMANDS = {
  generate: GENERATE,
  refine: REFINE,
  compare: COMPARE,
  score: SCORE,
  sort: SORT,
  serve: SERVE,
  run: RUN,
  check: CHECK,
  init: INIT,
  schema: SCHEMA,
  resume: RESUME,
  rerun: RERUN,
  "runs list": RUNS_LIST,
  "runs show": RUNS_SHOW,
  "runs diff": RUNS_DIFF,
  "runs rm": RUNS_RM,
  worker: WORKER,
  "jobs list": JOBS_LIST,
  "jobs retry": JOBS_RETRY,
  "jobs cancel": JOBS_CANCEL,
  "jobs rm": JOBS_RM,
  "export preferences": EXPORT_PREFERENCES,
  "export images": EXPORT_IMAGES,
  "export reward": EXPORT_REWARD,
  "eval preferences": EVAL_PREFERENCES,
  "eval models": EVAL_MODELS,
  "lora inspect": LORA_INSPECT,
  "lora convert": LORA_CONVERT,
  "lora merge": LORA_MERGE,
  "train refl": TRAIN_REFL,
  "train draft": TRAIN_DRAFT,
  "train dpo": TRAIN_DPO,
  "train sft": TRAIN_SFT,
  "models list": MODELS_LIST,
  "models pull": MODELS_PULL,
  "models verify": MODELS_VERIFY,
  "models path": MODELS_PATH,
  "models rm": MODELS_RM,
  doctor: DOCTOR,
  "verify image-reward": VERIFY_IMAGE_REWARD,
  completion: COMPLETION,
  "demo evaluate": DEMO_EVALUATE,
  "demo finetune": DEMO_FINETUNE,
  "demo refine": DEMO_REFINE,
  "demo train": DEMO_TRAIN,
} as const;

/** A command's whole name. */
export type CommandName = keyof typeof COMMANDS;

/** The groups by name. */
export const GROUPS: Readonly<Record<string, GroupDeclaration>> = {
  runs: {
    heading: "Pictures",
    summary: "list, show, compare and remove runs",
    examples: ["laurel runs list", "laurel runs diff RUN OTHER", "laurel runs rm --older-than 30d"],
  },
  jobs: {
    heading: "Machines",
    summary: "list, retry, cancel and remove the jobs of a queue",
    examples: ["laurel jobs", "laurel jobs list --state failed", "laurel jobs retry --all"],
    fallback: "list",
  },
  export: {
    heading: "Pictures",
    summary: "write datasets out of runs, and rewards for other programs",
    examples: [
      "laurel export preferences RUN OTHER --margin 0.5 --out pairs.parquet",
      "laurel export images RUN --top-k 4 --out good",
      "laurel export reward --out reward",
    ],
  },
  eval: {
    heading: "Pictures",
    summary: "measure how well rewards agree with people",
    examples: [
      "laurel eval preferences data/test.json --images data/test_images --reward image-reward-v1.0",
      "laurel eval models people.csv --prompts benchmark-prompts.json --images generations --reward image-reward-v1.0",
    ],
  },
  lora: {
    heading: "Installation",
    summary: "look into LoRA files, rename them for other programs, merge them into models",
    examples: [
      "laurel lora inspect tuned.safetensors",
      "laurel lora convert tuned.safetensors --to kohya --out tuned-kohya.safetensors",
      "laurel lora merge --lora tuned.safetensors:0.8 --out merged",
    ],
  },
  verify: {
    heading: "Installation",
    summary: "check published models against the figures that were published with them",
    examples: ["laurel verify image-reward"],
  },
  models: {
    heading: "Installation",
    summary: "list, fetch, check and remove models",
    examples: ["laurel models", "laurel models pull sd-1.5", "laurel models verify", "laurel models rm sd-1.5"],
    fallback: "list",
  },
  train: {
    heading: "Training",
    summary: "fine-tune a model by reward, by preference or on pictures",
    examples: ["laurel train refl", "laurel train dpo --pairs pairs.parquet", "laurel train refl --resume RUN"],
  },
  demo: {
    heading: "Demo models",
    summary: "measure and train the demo models",
    examples: [
      "laurel demo evaluate --prompts 20 --images 4",
      "laurel demo train reward --from models/demo --minutes 10",
    ],
  },
};
