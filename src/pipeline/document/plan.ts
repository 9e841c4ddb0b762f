/** @file What a pipeline comes down to: items (a prompt and a cell of the matrix each) and the steps every item goes through. */

import type { z } from "zod";
import type { BackendConfig } from "../../backends/config.js";
import type { OpenRequest } from "../../backends/resolve.js";
import { strategyNeeds } from "../../strategies/names.js";
import type { StrategySettings } from "../../strategies/settings.js";
import { parseLora } from "../../weights/lora/spec.js";
import type { PipelineDocument, settingsSchema } from "./schema.js";

/** Settings as far as they are said. */
export type OpenSettings = z.infer<typeof settingsSchema>;

/** Settings as a backend is asked for them. */
export function requestSettings({
  negative,
  lora,
  loraScale = 1,
  ...settings
}: OpenSettings): Omit<OpenRequest, "prompt" | "seed" | "count"> {
  const loras = lora?.map((text) => {
    const { path, scale } = parseLora(text);
    return { path, scale: scale * loraScale };
  });
  return { ...settings, negativePrompt: negative, loras };
}

/** One prompt under one cell of the matrix. */
export interface PlanItem {
  /** 0, 1, ... in the order of prompts, then of matrix cells. */
  readonly index: number;
  /** Names it in files and reports; unique. */
  readonly id: string;
  /** The user's prompt: what pictures are scored against. */
  readonly prompt: string;
  /** The prompt that is drawn: the template filled in. */
  readonly drawn: string;
  /** The cell of the matrix. */
  readonly cell: Readonly<Record<string, string | number | boolean>>;
  /** From the document, the prompt's entry and the cell; a step's own settings go before them. */
  readonly settings: OpenSettings;
}

/** One step, complete. */
export type PlanStep =
  | {
      readonly kind: "generate";
      /** Candidates per item, at most. */
      readonly count: number;
      readonly until: { readonly score: number; readonly images: number } | undefined;
      /** How the compute of so many is spent; undefined for best-of-n. */
      readonly strategy: StrategySettings | undefined;
      /** Pictures to start from: absolute paths, among the plan's {@link PipelinePlan.files}. */
      readonly init: string | undefined;
      readonly mask: string | undefined;
      readonly settings: OpenSettings;
    }
  | { readonly kind: "score" }
  | {
      readonly kind: "select";
      readonly keep: number;
      /** Good candidates that differ, rather than the best. */
      readonly diverse: boolean;
      readonly minimum: number | undefined;
      readonly per: "item" | "run";
    }
  | {
      readonly kind: "refine";
      readonly refiner: "evolve" | "llm";
      /** Candidates, at most. */
      readonly budget: number;
      readonly vocabulary: string | undefined;
      readonly chat: string | undefined;
      /** Of the language model, for one item; undefined leaves it to its configuration. */
      readonly tokens: number | undefined;
      readonly settings: OpenSettings;
    }
  | {
      readonly kind: "img2img";
      /** Candidates per selected picture. */
      readonly count: number;
      /** Its strength is that of the settings, else `IMG2IMG_STRENGTH`. */
      readonly settings: OpenSettings;
    }
  | {
      readonly kind: "export";
      /** Folder inside the run's, with `${id}`, `${item.<column>}` and `${matrix.<name>}` still open. */
      readonly to: string;
      readonly what: "selected" | "all";
      readonly format: "files" | "jsonl" | "csv";
    };

/** How far an img2img step goes where nothing is said. */
export const IMG2IMG_STRENGTH = 0.6;

/** A file that pictures are made from: one that they start from, a mask, an embedding, a LoRA. */
export interface PlanFile {
  /** Absolute. */
  readonly path: string;
  /** SHA-256 when the plan was made, hex; a run that is taken up again expects it. */
  readonly sha256: string;
}

/** A reward with its weight, and where its scores lie if that was said. */
export interface PlanReward {
  readonly reward: string;
  readonly weight: number;
  readonly mean?: number | undefined;
  readonly std?: number | undefined;
}

/** A pipeline ready to run. */
export interface PipelinePlan {
  readonly name: string;
  /** The document's file, absolute. */
  readonly file: string;
  /** The document with variables, fragments and defaults filled in, the variables as they were set; it names secrets and holds none. */
  readonly document: PipelineDocument;
  /** SHA-256 of all that decides what is drawn and scored: the same digest, the same run. */
  readonly digest: string;
  /** Null: the run draws one and records it. */
  readonly seed: number | null;
  readonly seeds: "shared" | "distinct";
  /** Empty when the backend's own pictures say their prompts ({@link promptsFromBackend}). */
  readonly items: readonly PlanItem[];
  readonly promptsFromBackend: boolean;
  readonly steps: readonly PlanStep[];
  readonly files: readonly PlanFile[];
  readonly backend: BackendConfig;
  readonly reward: {
    readonly model: string | null;
    /** What chooses, by names and absolute paths; undefined for `model` alone. */
    readonly rewards?: readonly PlanReward[] | undefined;
    /** What only watches; undefined for none. */
    readonly heldOut?: readonly string[] | undefined;
  };
  /** Items under way at once; undefined leaves it to the backend. */
  readonly concurrency: number | undefined;
  readonly budget: {
    readonly candidates?: number | undefined;
    readonly evaluations?: number | undefined;
    readonly seconds?: number | undefined;
  };
  /**
   * Places for the candidates of one item, over all steps: item i owns the indices `[i * candidatesPerItem, (i + 1) * candidatesPerItem)`. As many as there may
   * be candidates, but for strategies that number pictures which they leave on the way.
   */
  readonly candidatesPerItem: number;
  /** Folder that holds the runs; undefined leaves it to the caller. */
  readonly out: string | undefined;
}

/** Places that the candidates of a generate step may take. */
export function placesOf({ strategy, count }: Extract<PlanStep, { kind: "generate" }>): number {
  return strategy === undefined ? count : strategyNeeds(strategy.name).indices * count;
}

/**
 * Candidates one item may take, over all steps.
 * @param of candidates of a generate step @default its count
 */
export function candidatesPerItem(
  steps: readonly PlanStep[],
  of: (step: Extract<PlanStep, { kind: "generate" }>) => number = ({ count }) => count,
): number {
  let total = 0;
  let selected = 0;
  for (const step of steps) {
    if (step.kind === "generate") {
      total += of(step);
      selected = step.count;
    } else if (step.kind === "select") selected = Math.min(selected, step.keep);
    else if (step.kind === "refine") {
      total += step.budget;
      selected = 1;
    } else if (step.kind === "img2img") {
      total += selected * step.count;
      selected *= step.count;
    }
  }
  return Math.max(total, 1);
}
