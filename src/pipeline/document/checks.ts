/** @file What a schema cannot say of a pipeline: whether its steps can follow each other, and its matrix and its settings fit them. */

import { isAbsolute, normalize } from "node:path";
import { isSamplerName, SAMPLER_NAMES } from "../../samplers/names.js";
import { strategyNeeds } from "../../strategies/names.js";
import { closest } from "../../util/closest.js";
import { fromValue } from "../../util/yaml/from-value.js";
import { DocumentError, type Fault } from "../../util/yaml/located.js";
import { validateLocated } from "../../util/yaml/validate.js";
import type { FaultAt } from "./items.js";
import type { PlanStep } from "./plan.js";
import { type PipelineDocument, SETTING_NAMES, settingsSchema } from "./schema.js";

type Drawing = Extract<PlanStep, { readonly settings: object }>;

/** Whether the steps can follow each other. */
export function checkSteps(steps: readonly PlanStep[], matrix: object, at: FaultAt): Fault[] {
  const faults: Fault[] = [];
  let drawn = false;
  let scored = false;
  steps.forEach((step, i) => {
    const fail = (message: string, ...keys: string[]): number => faults.push(at(["steps", i, ...keys], message));
    switch (step.kind) {
      case "generate":
        if (drawn && !steps.slice(0, i).some(({ kind }) => kind === "refine"))
          fail("expected one generate, or one after refine, got another");
        if (step.until !== undefined && steps[i + 1]?.kind !== "score")
          fail("expected score right after generate with until, since it stops by scores");
        if (step.until !== undefined && step.until.images > step.count)
          fail(`expected at most the ${step.count} of count, got ${step.until.images}`, "generate", "until", "images");
        if (step.strategy !== undefined && strategyNeeds(step.strategy.name).reward && steps[i + 1]?.kind !== "score")
          fail(`expected score right after generate with the strategy ${step.strategy.name}, which goes by scores`);
        if (step.mask !== undefined && step.init === undefined)
          fail("expected init beside it, the picture it is a mask of, got it alone", "generate", "mask");
        drawn = true;
        scored = false;
        break;
      case "score":
        if (!drawn) fail("expected a step that draws before score");
        else if (scored) fail("expected score once after a step that draws, got it again");
        else if (!isDrawing(steps[i - 1]!))
          fail(`expected score right after the step that draws, got it after ${steps[i - 1]!.kind}`);
        scored = true;
        break;
      case "select":
        if (!scored) fail("expected score before select");
        if (step.diverse && step.per === "run")
          fail("expected it beside per: item, whose pictures are of one prompt, got per: run", "select", "diverse");
        break;
      case "refine":
        if (step.refiner === "llm" && step.chat === undefined)
          fail("expected chat beside it, the language model to ask, got llm alone", "refine", "refiner");
        for (const name of ["chat", "tokens"] as const)
          if (step.refiner !== "llm" && step[name] !== undefined)
            fail(`expected it beside refiner: llm, got ${step.refiner}`, "refine", name);
        drawn = true;
        scored = true;
        break;
      case "img2img":
        if (!drawn) fail("expected a step that draws before img2img");
        drawn = true;
        scored = false;
        break;
      case "export": {
        if (!drawn) fail("expected a step that draws before export");
        const path = normalize(step.to.replace(/\$\{[^}]*\}/g, "x"));
        if (isAbsolute(path) || path.split(/[\\/]/)[0] === ".." || path === ".")
          fail(`expected a folder inside the run's folder, got ${step.to}`, "export", "to");
        const known = ["id", ...Object.keys(matrix).map((name) => `matrix.${name}`)];
        for (const [all, escaped, name = ""] of step.to.matchAll(/\$(\$?)\{([^{}]*)\}/g)) {
          if (escaped === "" && !known.includes(name.trim()))
            fail(`expected one of ${known.join(", ")}, got ${all}`, "export", "to");
        }
        break;
      }
      default:
        step satisfies never;
    }
    const crossing = step.kind === "select" && step.per === "run";
    if (crossing && steps.slice(i + 1).some(({ kind }) => kind !== "export"))
      fail("expected only export after select per run");
  });
  return faults;
}

/** A cell of the matrix that sets a setting must hold values the setting takes, and some step must take it. */
export function checkMatrix(
  { matrix = {}, template }: PipelineDocument,
  steps: readonly PlanStep[],
  at: FaultAt,
): Fault[] {
  const faults: Fault[] = [];
  for (const [name, values] of Object.entries(matrix)) {
    const fail = (message: string, ...keys: PropertyKey[]): number =>
      faults.push(at(["matrix", name, ...keys], message));
    if (!/^[A-Za-z_][\w-]*$/.test(name)) fail("expected a name of letters, digits, _ and -");
    values.forEach((value, i) => {
      if (values.indexOf(value) < i) fail(`expected each value once, got ${JSON.stringify(value)} again`, i);
    });
    const setting = SETTING_NAMES.find((one) => one === name);
    if (setting === undefined) {
      const used = new RegExp(`\\$\\{\\s*matrix\\.${name.replace(/[^\w-]/g, ".")}\\s*\\}`).test(template);
      const near = closest(name, SETTING_NAMES);
      const hint = near === undefined ? "" : `; did you mean ${near}?`;
      if (!used)
        fail(
          `expected a setting (${SETTING_NAMES.join(", ")}) or a name that template uses as \${matrix.${name}}, got neither${hint}`,
        );
      continue;
    }
    const drawing = steps.filter(isDrawing);
    if (drawing.length > 0 && drawing.every(({ settings }) => settings[setting] !== undefined))
      fail(`expected a step that takes it, got none: every step that draws says its own ${name}`);
    values.forEach((value, i) => {
      try {
        validateLocated(settingsSchema, fromValue({ [setting]: value }, { file: "", line: 0, column: 0 }));
      } catch (error) {
        if (!(error instanceof DocumentError)) throw error;
        for (const { message } of error.causes) fail(message.replace(`${name}: `, ""), i);
      }
    });
  }
  return faults;
}

/** A strength that no step reads is one that somebody expects something of. */
export function checkStrength(document: PipelineDocument, steps: readonly PlanStep[], at: FaultAt): Fault[] {
  const message = "expected a picture (init) to start from, or img2img, got neither";
  const starts = (step: PlanStep): boolean =>
    step.kind === "img2img" || (step.kind === "generate" && step.init !== undefined);
  const faults = steps.flatMap((step, i) =>
    isDrawing(step) && step.settings.strength !== undefined && !starts(step)
      ? [at(["steps", i, step.kind, "strength"], message)]
      : [],
  );
  if (steps.some(starts)) return faults;
  if (document.settings?.strength !== undefined) faults.push(at(["settings", "strength"], message));
  if (document.matrix?.["strength"] !== undefined) faults.push(at(["matrix", "strength"], message));
  return faults;
}

/** Names of samplers that the local backend lacks; what a server has, only the server knows. */
export function checkSamplers({ settings, matrix, steps }: PipelineDocument, at: FaultAt): Fault[] {
  const named: (readonly [readonly PropertyKey[], unknown])[] = [[["settings", "sampler"], settings?.sampler]];
  (matrix?.["sampler"] ?? []).forEach((value, i) => named.push([["matrix", "sampler", i], value]));
  steps.forEach((step, i) => {
    for (const kind of ["generate", "refine", "img2img"] as const)
      named.push([["steps", i, kind, "sampler"], step[kind]?.sampler]);
  });
  return named.flatMap(([keys, name]) => {
    if (typeof name !== "string" || isSamplerName(name)) return [];
    const near = closest(name, SAMPLER_NAMES);
    const hint = near === undefined ? "" : `; did you mean ${near}?`;
    return [at(keys, `expected one of ${SAMPLER_NAMES.join(", ")}, got ${name}${hint}`)];
  });
}

function isDrawing(step: PlanStep): step is Drawing {
  return "settings" in step;
}
