/** @file What the commands do, imported when one runs. */

import type { CommandName, COMMANDS } from "./commands.js";
import type { Action } from "./context.js";
import type { FlagsOf } from "./declare.js";

/** The implementation of every command, typed by its options. */
export const ACTIONS: {
  readonly [Name in CommandName]: () => Promise<Action<FlagsOf<(typeof COMMANDS)[Name]["options"]>>>;
} = {
  generate: async () => (await import("./commands/generate.js")).generate,
  refine: async () => (await import("./commands/refine.js")).refine,
  compare: async () => (await import("./commands/compare.js")).compare,
  score: async () => (await import("./commands/score.js")).score,
  sort: async () => (await import("./commands/sort.js")).sort,
  serve: async () => (await import("./commands/serve.js")).serve,
  worker: async () => (await import("./commands/worker.js")).worker,
  "jobs list": async () => (await import("./commands/jobs-list.js")).jobsList,
  "jobs retry": async () => (await import("./commands/jobs-retry.js")).jobsRetry,
  "jobs cancel": async () => (await import("./commands/jobs-cancel.js")).jobsCancel,
  "jobs rm": async () => (await import("./commands/jobs-rm.js")).jobsRm,
  run: async () => (await import("./commands/run.js")).run,
  check: async () => (await import("./commands/check.js")).check,
  init: async () => (await import("./commands/init.js")).init,
  schema: async () => (await import("./commands/schema.js")).schema,
  resume: async () => (await import("./commands/resume.js")).resume,
  rerun: async () => (await import("./commands/rerun.js")).rerun,
  "runs list": async () => (await import("./commands/runs-list.js")).runsList,
  "runs show": async () => (await import("./commands/runs-show.js")).runsShow,
  "runs diff": async () => (await import("./commands/runs-diff.js")).runsDiff,
  "runs rm": async () => (await import("./commands/runs-rm.js")).runsRm,
  "export preferences": async () => (await import("./commands/export-preferences.js")).exportPreferences,
  "export images": async () => (await import("./commands/export-images.js")).exportImages,
  "export reward": async () => (await import("./commands/export-reward.js")).exportReward,
  "eval preferences": async () => (await import("./commands/eval-preferences.js")).evalPreferences,
  "eval models": async () => (await import("./commands/eval-models.js")).evalModels,
  "lora inspect": async () => (await import("./commands/lora-inspect.js")).loraInspect,
  "lora convert": async () => (await import("./commands/lora-convert.js")).loraConvert,
  "lora merge": async () => (await import("./commands/lora-merge.js")).loraMerge,
  "train refl": async () => (await import("./commands/train.js")).train("refl"),
  "train draft": async () => (await import("./commands/train.js")).train("draft"),
  "train dpo": async () => (await import("./commands/train.js")).train("dpo"),
  "train sft": async () => (await import("./commands/train.js")).train("sft"),
  "models list": async () => (await import("./commands/models-list.js")).modelsList,
  "models pull": async () => (await import("./commands/models-pull.js")).modelsPull,
  "models verify": async () => (await import("./commands/models-verify.js")).modelsVerify,
  "models path": async () => (await import("./commands/models-path.js")).modelsPath,
  "models rm": async () => (await import("./commands/models-rm.js")).modelsRm,
  "verify image-reward": async () => (await import("./commands/verify-image-reward.js")).verifyImageReward,
  doctor: async () => (await import("./commands/doctor.js")).doctor,
  completion: async () => (await import("./commands/completion.js")).completion,
  "demo evaluate": async () => (await import("./commands/demo-evaluate.js")).demoEvaluate,
  "demo finetune": async () => (await import("./commands/demo-finetune.js")).demoFinetune,
  "demo refine": async () => (await import("./commands/demo-refine.js")).demoRefine,
  "demo train": async () => (await import("./commands/demo-train.js")).demoTrain,
};
