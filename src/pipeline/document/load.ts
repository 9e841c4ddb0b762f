/** @file A pipeline's file to a plan: read, fragments, variables, schema, prompts, matrix; every fault with its place. */

import { createHash } from "node:crypto";
import { basename, dirname, extname, isAbsolute, normalize, resolve } from "node:path";
import { loadBackendConfig } from "../../backends/load-config.js";
import { UsageError } from "../../errors.js";
import { isSamplerName, SAMPLER_NAMES } from "../../samplers/names.js";
import { closest } from "../../util/closest.js";
import { DocumentError, type Fault, type Located, placeAt } from "../../util/yaml/located.js";
import { readLocated } from "../../util/yaml/parse.js";
import { validateLocated } from "../../util/yaml/validate.js";
import { includeFragments } from "./fragments.js";
import { candidatesPerItem, type PipelinePlan, type PlanItem, type PlanStep } from "./plan.js";
import { checkPrompt, type PromptEntry, readPrompts } from "./prompts.js";
import { documentSchema, type PipelineDocument, SETTING_NAMES, settingsSchema, STEP_SCHEMAS } from "./schema.js";
import { fillTemplate, substitute } from "./variables.js";

/** Items of one run, at most. */
const MAXIMUM_ITEMS = 1_000_000;

/**
 * Reads a pipeline and works out all it stands for. No model is opened and no server is asked.
 * @param set values from `--set`, as text
 * @throws DocumentError (a UsageError) with every fault of the document; UsageError for files it names
 */
export async function loadPipeline(path: string, set: Readonly<Record<string, string>> = {}): Promise<PipelinePlan> {
  const file = resolve(path);
  const read = await includeFragments(await readLocated(file));
  if (read.kind !== "map")
    throw new DocumentError([{ place: read.place, message: "expected a mapping, the pipeline" }]);
  const located = substitute(read, set);
  const document = validateLocated(documentSchema, located);
  const folder = dirname(file);
  const at = (keys: readonly PropertyKey[], message: string): Fault => ({
    place: placeAt(located, keys),
    message: `${keys.join(".")}: ${message}`,
  });

  const steps = document.steps.map(toStep);
  const faults = [...checkSteps(steps, at), ...checkMatrix(document, at)];
  if (faults.length > 0) throw new DocumentError(faults);
  const backend =
    typeof document.backend === "string" ? await loadBackendConfig(document.backend, folder) : document.backend;
  const promptsFromBackend = !Array.isArray(document.prompts) && "from" in document.prompts;
  if (promptsFromBackend && backend.backend !== "folder") {
    throw new DocumentError([
      at(["prompts", "from"], `expected the folder backend, whose pictures carry prompts, got ${backend.backend}`),
    ]);
  }
  if (backend.backend === "local") {
    const wrong = samplersOf(document).filter(([, name]) => !isSamplerName(name));
    if (wrong.length > 0) {
      throw new DocumentError(
        wrong.map(([keys, name]) => {
          const near = closest(name, SAMPLER_NAMES);
          return at(
            keys,
            `expected one of ${SAMPLER_NAMES.join(", ")}, got ${name}${near === undefined ? "" : `; did you mean ${near}?`}`,
          );
        }),
      );
    }
  }
  const prompts = await promptsOf(document, folder, located);
  const items = expand(document, prompts, at);
  const content = { document, items, steps, backend };
  return {
    name: document.name ?? basename(file, extname(file)),
    file,
    document,
    digest: createHash("sha256").update(JSON.stringify(content)).digest("hex"),
    seed: document.seed ?? null,
    seeds: document.seeds,
    items,
    promptsFromBackend,
    steps,
    backend,
    reward: { model: document.reward?.model === undefined ? null : resolve(folder, document.reward.model) },
    concurrency: document.concurrency?.items,
    budget: document.budget ?? {},
    candidatesPerItem: candidatesPerItem(steps),
    out: document.out,
  };
}

/** Items for prompts that became known later: those of the folder backend. */
export function itemsOf(plan: PipelinePlan, prompts: readonly PromptEntry[]): PlanItem[] {
  return expand(plan.document, prompts, (keys, message) => ({
    place: { file: plan.file, line: 0, column: 0 },
    message: `${keys.join(".")}: ${message}`,
  }));
}

function toStep(step: PipelineDocument["steps"][number]): PlanStep {
  if (step.generate !== undefined) {
    const { count, until, ...settings } = STEP_SCHEMAS.generate.parse(step.generate ?? {});
    return { kind: "generate", count, until, settings };
  }
  if (step.select !== undefined) {
    const { keep, minimum, per } = STEP_SCHEMAS.select.parse(step.select ?? {});
    return { kind: "select", keep, minimum, per };
  }
  if (step.refine !== undefined) {
    const { refiner, budget, vocabulary, chat, ...settings } = STEP_SCHEMAS.refine.parse(step.refine ?? {});
    return { kind: "refine", refiner, budget, vocabulary, chat, settings };
  }
  if (step.img2img !== undefined) {
    const { count, strength, ...settings } = STEP_SCHEMAS.img2img.parse(step.img2img ?? {});
    return { kind: "img2img", count, strength, settings };
  }
  if (step.export !== undefined) return { kind: "export", ...STEP_SCHEMAS.export.parse(step.export ?? {}) };
  return { kind: "score" };
}

/** What a fault says of the place at `keys`. */
type FaultAt = (keys: readonly PropertyKey[], message: string) => Fault;

/** Whether the steps can follow each other. */
function checkSteps(steps: readonly PlanStep[], at: FaultAt): Fault[] {
  const faults: Fault[] = [];
  let drawn = false;
  let scored = false;
  steps.forEach((step, i) => {
    const fail = (message: string): number => faults.push(at(["steps", i], message));
    switch (step.kind) {
      case "generate":
        if (drawn && !steps.slice(0, i).some(({ kind }) => kind === "refine"))
          fail("expected one generate, or one after refine, got another");
        if (step.until !== undefined && steps[i + 1]?.kind !== "score")
          fail("expected score right after generate with until, since it stops by scores");
        drawn = true;
        scored = false;
        break;
      case "score":
        if (!drawn) fail("expected a step that draws before score");
        scored = true;
        break;
      case "select":
        if (!scored) fail("expected score before select");
        break;
      case "refine":
        drawn = true;
        scored = true;
        break;
      case "img2img":
        if (!drawn) fail("expected a step that draws before img2img");
        scored = false;
        break;
      case "export": {
        if (!drawn) fail("expected a step that draws before export");
        const path = normalize(step.to.replace(/\$\{[^}]*\}/g, "x"));
        if (isAbsolute(path) || path.split(/[\\/]/)[0] === "..")
          fail(`to: expected a folder inside the run's folder, got ${step.to}`);
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

/** A cell of the matrix that sets a setting must hold values the setting takes. */
function checkMatrix({ matrix = {}, template }: PipelineDocument, at: FaultAt): Fault[] {
  const faults: Fault[] = [];
  for (const [name, values] of Object.entries(matrix)) {
    const setting = SETTING_NAMES.find((one) => one === name);
    if (setting === undefined) {
      const used = template.includes(`\${matrix.${name}}`);
      const near = closest(name, SETTING_NAMES);
      if (!used && near !== undefined)
        faults.push(
          at(["matrix", name], `expected a setting or a name used in the template, got ${name}; did you mean ${near}?`),
        );
      else if (!used)
        faults.push(
          at(
            ["matrix", name],
            `expected a setting (${SETTING_NAMES.join(", ")}) or a name that the template uses as \${matrix.${name}}`,
          ),
        );
      continue;
    }
    values.forEach((value, i) => {
      const parsed = settingsSchema.safeParse({ [setting]: value });
      if (!parsed.success)
        faults.push(
          at(
            ["matrix", name, i],
            `expected a value of ${name}, got ${JSON.stringify(value)}: ${parsed.error.issues[0]?.message ?? ""}`,
          ),
        );
    });
  }
  return faults;
}

/** Every place that names a sampler. */
function samplersOf({ settings, matrix, steps }: PipelineDocument): (readonly [readonly PropertyKey[], string])[] {
  const found: (readonly [readonly PropertyKey[], string | undefined])[] = [
    [["settings", "sampler"], settings?.sampler],
  ];
  (matrix?.["sampler"] ?? []).forEach((value, i) => found.push([["matrix", "sampler", i], String(value)]));
  steps.forEach((step, i) => {
    for (const kind of ["generate", "refine", "img2img"] as const)
      found.push([["steps", i, kind, "sampler"], step[kind]?.sampler]);
  });
  return found.flatMap(([keys, name]) => (name === undefined ? [] : [[keys, name] as const]));
}

async function promptsOf(
  document: PipelineDocument,
  folder: string,
  located: Located,
): Promise<readonly PromptEntry[]> {
  const { prompts } = document;
  if (!Array.isArray(prompts)) {
    if ("from" in prompts) return [];
    return readPrompts({ ...prompts, file: resolve(folder, prompts.file) });
  }
  return prompts.map((entry, i): PromptEntry => {
    const { id, prompt, negative } =
      typeof entry === "string" ? { id: undefined, prompt: entry, negative: undefined } : entry;
    try {
      checkPrompt(prompt, `prompts.${i}`);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      throw new DocumentError([{ place: placeAt(located, ["prompts", i]), message: error.message }], { cause: error });
    }
    return { id, prompt, negative, fields: {} };
  });
}

/** Prompts times cells. */
function expand(document: PipelineDocument, prompts: readonly PromptEntry[], at: FaultAt): PlanItem[] {
  const cells = cellsOf(document.matrix ?? {});
  if (prompts.length * cells.length > MAXIMUM_ITEMS) {
    throw new DocumentError([
      at(
        ["matrix"],
        `expected at most ${MAXIMUM_ITEMS} items, got ${prompts.length} prompts times ${cells.length} cells`,
      ),
    ]);
  }
  const width = String(Math.max(prompts.length - 1, 0)).length;
  const taken = new Set<string>();
  return prompts.flatMap((entry, i) =>
    cells.map((cell, j): PlanItem => {
      const name = entry.id ?? String(i).padStart(width, "0");
      let id = cells.length === 1 ? name : `${name}.${j}`;
      while (taken.has(id)) id = `${id}+`;
      taken.add(id);
      const values = new Map<string, string>([
        ["prompt", entry.prompt],
        ["id", id],
      ]);
      for (const [key, value] of Object.entries(entry.fields)) values.set(`item.${key}`, value);
      for (const [key, value] of Object.entries(cell)) values.set(`matrix.${key}`, String(value));
      const drawn = fillTemplate(document.template, values, "template");
      checkPrompt(drawn, `prompt ${id}`);
      const varied = Object.fromEntries(
        Object.entries(cell).filter(([key]) => SETTING_NAMES.some((one) => one === key)),
      );
      const settings = {
        ...document.settings,
        ...(entry.negative === undefined ? {} : { negative: entry.negative }),
        ...varied,
      };
      return { index: i * cells.length + j, id, prompt: entry.prompt, drawn, cell, settings };
    }),
  );
}

/** Every combination of the matrix, the last name varying fastest; one empty cell without a matrix. */
function cellsOf(
  matrix: NonNullable<PipelineDocument["matrix"]>,
): Readonly<Record<string, string | number | boolean>>[] {
  let cells: Record<string, string | number | boolean>[] = [{}];
  for (const [name, values] of Object.entries(matrix))
    cells = cells.flatMap((cell) => values.map((value) => ({ ...cell, [name]: value })));
  return cells;
}
