/** @file A pipeline's file to a plan: read, fragments, variables, schema, files, prompts, matrix; every fault with its place. */

import { createHash } from "node:crypto";
import { basename, dirname, extname, resolve } from "node:path";
import type { z } from "zod";
import type { BackendConfig } from "../../backends/config.js";
import { loadChatConfig } from "../../backends/chat/config.js";
import { absolutePaths, loadBackendConfig } from "../../backends/load-config.js";
import { UsageError } from "../../errors.js";
import {
  DocumentError,
  type Fault,
  type Located,
  type LocatedMap,
  originAt,
  placeAt,
} from "../../util/yaml/located.js";
import { fromValue } from "../../util/yaml/from-value.js";
import { readLocated } from "../../util/yaml/parse.js";
import { validateLocated } from "../../util/yaml/validate.js";
import { strategyOf } from "../../strategies/open.js";
import { parseStrategy, type StrategySettings } from "../../strategies/settings.js";
import { rewardLocation } from "../../weights/hub/location.js";
import { formatLora, parseLora } from "../../weights/lora/spec.js";
import { checkMatrix, checkSamplers, checkSteps, checkStrength } from "./checks.js";
import { planFiles } from "./files.js";
import { includeFragments } from "./fragments.js";
import { type FaultAt, itemsFor } from "./items.js";
import {
  candidatesPerItem,
  placesOf,
  type OpenSettings,
  type PipelinePlan,
  type PlanItem,
  type PlanStep,
} from "./plan.js";
import { type PromptEntry, promptFault, readPrompts } from "../../prompts/prompt-file.js";
import { documentSchema, exportDocumentSchema, type PipelineDocument, STEP_SCHEMAS } from "./schema.js";
import { substitute } from "./variables.js";

/**
 * Reads a pipeline and works out all it stands for. No model is opened and no server is asked. Paths in a document are relative to the file they are
 * written in, those from `set` to the working directory.
 * @param set values from `--set`, as text
 * @throws DocumentError (a UsageError) with every fault of the document; UsageError for a file that cannot be read
 */
export async function loadPipeline(path: string, set: Readonly<Record<string, string>> = {}): Promise<PipelinePlan> {
  return planDocument(await readDocument(path, set));
}

/** A document with its fragments and variables in it, before it is checked. */
export interface ReadDocument {
  /** Absolute. */
  readonly file: string;
  readonly content: LocatedMap;
}

/** Reads a document, and puts fragments and variables in it. @throws as {@link loadPipeline} */
export async function readDocument(path: string, set: Readonly<Record<string, string>> = {}): Promise<ReadDocument> {
  const file = resolve(path);
  const read = await includeFragments(await readLocated(file));
  if (read.kind !== "map")
    throw new DocumentError([{ place: read.place, message: "expected a mapping, the pipeline" }]);
  const keys = [...Object.keys(documentSchema.shape), ...Object.keys(exportDocumentSchema.shape)];
  return { file, content: substitute(read, set, keys) };
}

/** The plan of a document. @throws as {@link loadPipeline} */
export function planDocument({ file, content }: ReadDocument): Promise<PipelinePlan> {
  return new Loader(file, content).plan();
}

/**
 * The plan of a document that the program wrote. Paths are relative to the working directory.
 * @param name stands for the file in messages and in the manifest
 * @throws DocumentError with every fault
 */
export async function planOf(document: z.input<typeof documentSchema>, name: string): Promise<PipelinePlan> {
  return new Loader(resolve(name), fromValue(document, { file: name, line: 0, column: 0 })).plan();
}

/** Items for prompts that became known later: those of the folder backend. */
export function itemsOf(plan: PipelinePlan, prompts: readonly PromptEntry[]): PlanItem[] {
  return itemsFor(plan.document, prompts, (keys, message) => ({
    place: { file: plan.file, line: 0, column: 0 },
    message: `${keys.join(".")}: ${message}`,
  }));
}

/** A document whose variables are filled in, on its way to a plan. */
class Loader {
  readonly #file: string;
  readonly #located: Located;
  readonly #document: PipelineDocument;
  readonly #strategyFaults: Fault[] = [];
  readonly #at: FaultAt = (keys, message) => ({
    place: placeAt(this.#located, keys),
    message: `${keys.join(".")}: ${message}`,
  });

  /** @throws DocumentError when it does not meet the schema */
  constructor(file: string, located: Located) {
    this.#file = file;
    this.#located = located;
    this.#document = validateLocated(documentSchema, located);
  }

  async plan(): Promise<PipelinePlan> {
    const document = this.#document;
    const steps = document.steps.map((step, i) => this.#step(step, i));
    const faults: Fault[] = [
      ...this.#strategyFaults,
      ...checkSteps(steps, document.matrix ?? {}, this.#at),
      ...checkMatrix(document, steps, this.#at),
      ...checkStrength(document, steps, this.#at),
    ];
    const backend = await this.#collect(faults, () => this.#backend());
    if (backend?.backend === "local") faults.push(...checkSamplers(document, this.#at));
    await this.#collect(faults, () => this.#checkChats(steps));
    const { prompts } = document;
    const promptsFromBackend = typeof prompts === "object" && "from" in prompts;
    if (promptsFromBackend && backend !== undefined && backend.backend !== "folder") {
      const message = `expected the folder backend, whose pictures carry prompts, got ${backend.backend}`;
      faults.push(this.#at(["prompts", "from"], message));
    }
    if (backend?.backend === "folder" && document.seeds === "distinct")
      faults.push(
        this.#at(
          ["seeds"],
          "expected shared, since a seed of the folder backend is the number of a picture, got distinct",
        ),
      );
    const settings = this.#withPaths(document.settings ?? {}, ["settings"]);
    const files = await this.#collect(faults, () => planFiles(settings, steps, this.#at));
    const entries = await this.#collect(faults, () => this.#prompts());
    const items = await this.#collect(faults, async () =>
      entries === undefined ? undefined : itemsFor({ ...document, settings }, entries, this.#at),
    );
    if (faults.length > 0 || backend === undefined || files === undefined || items === undefined)
      throw new DocumentError(faults);
    return {
      name: document.name ?? basename(this.#file, extname(this.#file)),
      file: this.#file,
      document: { ...document, settings },
      digest: digestOf({ document, steps, backend, files }, items),
      // a seed of the folder backend is the number of a picture
      seed: document.seed ?? (backend.backend === "folder" ? 0 : null),
      seeds: document.seeds,
      items,
      promptsFromBackend,
      steps,
      files,
      backend,
      reward: this.#reward(),
      concurrency: document.concurrency?.items,
      budget: document.budget ?? {},
      candidatesPerItem: candidatesPerItem(steps, placesOf),
      out: document.out === undefined ? undefined : this.#path(["out"], document.out),
    };
  }

  #reward(): PipelinePlan["reward"] {
    const { model, rewards, heldOut } = this.#document.reward ?? {};
    const at = (keys: readonly PropertyKey[], name: string): string => rewardLocation(name, this.#folder(keys));
    return {
      model: model === undefined ? null : at(["reward", "model"], model),
      ...(rewards === undefined
        ? {}
        : {
            rewards: Object.entries(rewards).map(([name, given]) => ({
              reward: at(["reward", "rewards", name], name),
              ...(typeof given === "number" ? { weight: given } : given),
            })),
          }),
      ...(heldOut === undefined ? {} : { heldOut: heldOut.map((name, i) => at(["reward", "heldOut", i], name)) }),
    };
  }

  /** What `work` gives; undefined when it found faults, which are added to the others. */
  async #collect<T>(faults: Fault[], work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof DocumentError)) throw error;
      faults.push(...error.causes);
      return undefined;
    }
  }

  /** As {@link DocumentError}, at `keys` of this document. */
  async #placed<T>(keys: readonly PropertyKey[], work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      if (!(error instanceof UsageError) || error instanceof DocumentError) throw error;
      const told = error.message.replace(`${keys.join(".")}: `, "");
      throw new DocumentError([this.#at(keys, told)], { cause: error });
    }
  }

  /** The folder that a path at `keys` is relative to. */
  #folder(keys: readonly PropertyKey[]): string {
    const { file, line } = originAt(this.#located, keys);
    return line === 0 ? process.cwd() : dirname(resolve(file));
  }

  #path(keys: readonly PropertyKey[], path: string): string {
    return resolve(this.#folder(keys), path);
  }

  async #backend(): Promise<BackendConfig> {
    const { backend } = this.#document;
    const keys = ["backend"];
    if (typeof backend === "string") return this.#placed(keys, loadBackendConfig(backend, this.#folder(keys)));
    return absolutePaths(backend, (inside) => this.#folder([...keys, ...inside]));
  }

  /** @throws DocumentError for a configuration of a language model that cannot be had */
  async #checkChats(steps: readonly PlanStep[]): Promise<void> {
    for (const [i, step] of steps.entries()) {
      if (step.kind === "refine" && step.chat !== undefined)
        await this.#placed(["steps", i, "refine", "chat"], loadChatConfig(step.chat));
    }
  }

  async #prompts(): Promise<readonly PromptEntry[]> {
    const { prompts } = this.#document;
    if (typeof prompts === "object" && "from" in prompts) return [];
    if (typeof prompts === "object" && "file" in prompts) {
      const keys = ["prompts", "file"];
      return this.#placed(keys, readPrompts({ ...prompts, file: this.#path(keys, prompts.file) }));
    }
    const list = typeof prompts === "string" ? [prompts] : prompts;
    const faults: Fault[] = [];
    const entries = list.map((entry, i): PromptEntry => {
      const { id, prompt, negative } =
        typeof entry === "string" ? { id: undefined, prompt: entry, negative: undefined } : entry;
      const fault = promptFault(prompt);
      if (fault !== undefined) faults.push(this.#at(typeof prompts === "string" ? ["prompts"] : ["prompts", i], fault));
      return { id, prompt, negative, fields: {} };
    });
    if (faults.length > 0) throw new DocumentError(faults);
    return entries;
  }

  #step(step: PipelineDocument["steps"][number], i: number): PlanStep {
    const withPaths = <T extends object>(kind: string, settings: T): T => this.#withPaths(settings, ["steps", i, kind]);
    if (step.generate !== undefined) {
      const { count, until, strategy, init, mask, ...settings } = STEP_SCHEMAS.generate.parse(step.generate ?? {});
      const path = (name: string, value: string | undefined): string | undefined =>
        value === undefined ? undefined : this.#path(["steps", i, "generate", name], value);
      const pictures = { init: path("init", init), mask: path("mask", mask) };
      const way = strategy === undefined ? undefined : this.#strategy(strategy, i);
      return { kind: "generate", count, until, strategy: way, ...pictures, settings: withPaths("generate", settings) };
    }
    if (step.select !== undefined) {
      const { keep, diverse, minimum, per } = STEP_SCHEMAS.select.parse(step.select ?? {});
      return { kind: "select", keep, diverse, minimum, per };
    }
    if (step.refine !== undefined) {
      const { refiner, budget, vocabulary, chat, tokens, ...settings } = STEP_SCHEMAS.refine.parse(step.refine ?? {});
      // a name is that of a file that ships inside
      const path = (name: string, value: string | undefined): string | undefined =>
        value !== undefined && /\.ya?ml$/i.test(value) ? this.#path(["steps", i, "refine", name], value) : value;
      const named = { vocabulary: path("vocabulary", vocabulary), chat: path("chat", chat) };
      return { kind: "refine", refiner, budget, ...named, tokens, settings: withPaths("refine", settings) };
    }
    if (step.img2img !== undefined) {
      const { count, ...settings } = STEP_SCHEMAS.img2img.parse(step.img2img ?? {});
      return { kind: "img2img", count, settings: withPaths("img2img", settings) };
    }
    if (step.export !== undefined) return { kind: "export", ...STEP_SCHEMAS.export.parse(step.export ?? {}) };
    return { kind: "score" };
  }

  /** The strategy of a step; what is wrong with it is kept with the other faults. */
  #strategy(said: string | StrategySettings, i: number): StrategySettings | undefined {
    const keys = ["steps", i, "generate", "strategy"];
    try {
      const settings = typeof said === "string" ? parseStrategy(said) : said;
      if (settings.name === "refine")
        throw new UsageError("expected a strategy that draws one prompt, got refine, which is a step of its own");
      strategyOf(settings);
      return settings;
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      this.#strategyFaults.push(this.#at(keys, error.message.replace(/^strategy: /, "")));
      return undefined;
    }
  }

  /** Settings with absolute paths. */
  #withPaths<T extends Pick<OpenSettings, "embeddings" | "lora">>(settings: T, keys: readonly PropertyKey[]): T {
    const { embeddings, lora } = settings;
    const embedding = (path: string, i: number): string => this.#path([...keys, "embeddings", i], path);
    const scaled = (text: string, i: number): string => {
      const { path, scale } = parseLora(text);
      return formatLora({ path: this.#path([...keys, "lora", i], path), scale });
    };
    return {
      ...settings,
      ...(embeddings === undefined ? {} : { embeddings: embeddings.map(embedding) }),
      ...(lora === undefined ? {} : { lora: lora.map(scaled) }),
    };
  }
}

/** A million items are one text too long. */
function digestOf(content: object, items: readonly PlanItem[]): string {
  const hash = createHash("sha256").update(JSON.stringify(content));
  for (const item of items) hash.update(`\n${JSON.stringify(item)}`);
  return hash.digest("hex");
}
