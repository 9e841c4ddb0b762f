/** @file What a strategy is asked for: its name and its options, as data and as text. */

import { z } from "zod";
import { UsageError } from "../errors.js";
import { closest } from "../util/closest.js";
import { DocumentError } from "../util/yaml/located.js";
import { fromValue } from "../util/yaml/from-value.js";
import { validateLocated } from "../util/yaml/validate.js";
import { STRATEGY_NAMES, type StrategyName } from "./names.js";
import { POTENTIALS } from "./search/particles.js";

/** A share of a whole. */
const share = z.number().min(0).max(1);
/** A share that is neither nothing nor all. */
const part = z.number().gt(0).lt(1);
/** How far to go from a picture. */
const strength = z.number().gt(0).max(1);
const times = z.number().int().min(1);

const schedule = z
  .strictObject({
    from: part.optional().describe("first share of the way at which particles are resampled"),
    to: part.optional().describe("last share of the way"),
    times: times.max(1000).optional().describe("how many times"),
  })
  .refine(({ from, to }) => from === undefined || to === undefined || from <= to, {
    message: "expected at least from",
    path: ["to"],
  })
  .optional();

const strengths = z
  .strictObject({
    from: strength.optional().describe("how far the first round goes from its picture"),
    to: strength.optional().describe("how far the last round goes"),
  })
  .refine(({ from, to }) => from === undefined || to === undefined || to <= from, {
    message: "expected at most from",
    path: ["to"],
  })
  .optional();

/** The schema of each strategy, by its name. */
const SCHEMAS = {
  "best-of-n": z.strictObject({ name: z.literal("best-of-n") }),
  halving: z.strictObject({ name: z.literal("halving") }),
  particles: z.strictObject({
    name: z.literal("particles"),
    potential: z
      .enum(POTENTIALS)
      .optional()
      .describe("what counts of a particle: its best reward, their sum, the last gain"),
    lambda: z.number().gt(0).optional().describe("how sharply the reward is followed"),
    schedule,
    threshold: share.optional().describe("resampled when fewer than this share of the particles count"),
    eta: strength.optional().describe("share of fresh noise"),
  }),
  neighbours: z.strictObject({
    name: z.literal("neighbours"),
    explore: part.optional().describe("share of the budget that is drawn from seeds"),
    perRound: times.optional().describe("pictures of a round"),
    radius: strength.optional().describe("share of fresh noise in a neighbour"),
  }),
  "noise-gradient": z.strictObject({
    name: z.literal("noise-gradient"),
    explore: z.number().min(0).lt(1).optional().describe("share of the budget that is drawn from seeds"),
    learningRate: z.number().gt(0).optional().describe("length of a step along a clipped gradient"),
    clip: z.number().gt(0).optional().describe("largest norm of the gradient"),
    momentum: z.number().min(0).lt(1).optional().describe("Nesterov momentum"),
    regulariser: z.number().min(0).optional().describe("weight of the noise's log density beside the reward"),
    through: z.number().int().min(0).optional().describe("entries of the sampler that gradients pass the denoiser in"),
    from: z.number().min(0).lt(1).optional().describe("share of the way whose latents are moved; 0 moves the noise"),
    patience: z.number().int().min(0).optional().describe("steps down that are followed before going back to the best"),
    iterations: times.optional().describe("most steps of the ascent"),
  }),
  "img2img-loop": z.strictObject({
    name: z.literal("img2img-loop"),
    explore: part.optional().describe("share of the budget that is drawn from seeds"),
    rounds: times.max(1000).optional().describe("rounds that the rest is spread over"),
    strength: strengths,
  }),
  refine: z.strictObject({
    name: z.literal("refine"),
    refiner: z.enum(["evolve", "llm"]).optional().describe("what proposes prompts"),
    vocabulary: z.string().min(1).optional().describe("configs/prompts/<name>.yaml or a file: edits to draw on"),
    chat: z.string().min(1).optional().describe("configs/backends/<name>.yaml or a file: the language model of llm"),
    tokens: times.optional().describe("tokens that the language model may use"),
  }),
} as const satisfies Readonly<Record<StrategyName, z.ZodObject>>;

/** A strategy and its options; what is left out is the strategy's own default. */
export const strategySchema = z
  .discriminatedUnion("name", [
    SCHEMAS["best-of-n"],
    SCHEMAS.halving,
    SCHEMAS.particles,
    SCHEMAS.neighbours,
    SCHEMAS["noise-gradient"],
    SCHEMAS["img2img-loop"],
    SCHEMAS.refine,
  ])
  .describe("a strategy and its options");

/** A strategy with its options. */
export type StrategySettings = z.infer<typeof strategySchema>;

/** The settings of one strategy. */
export type SettingsOf<Name extends StrategyName> = Extract<StrategySettings, { readonly name: Name }>;

/** An option as text has it: where it is in the settings, and what it may be. */
interface TextOption {
  readonly path: readonly string[];
  readonly schema: z.ZodType;
}

/** The keys that the text of a strategy may have; those of an inner mapping stand beside the others. */
export function strategyKeys(name: StrategyName): string[] {
  return [...textOptions(name).keys()];
}

function textOptions(name: StrategyName): ReadonlyMap<string, TextOption> {
  const options = Object.entries(SCHEMAS[name].shape).flatMap(([key, field]): [string, TextOption][] => {
    const schema = unwrapped(field);
    if (key === "name") return [];
    if (!(schema instanceof z.ZodObject)) return [[key, { path: [key], schema }]];
    return Object.entries(schema.shape).map(([inner, one]) => [inner, { path: [key, inner], schema: unwrapped(one) }]);
  });
  return new Map(options);
}

function unwrapped(field: unknown): z.ZodType {
  return field instanceof z.ZodOptional ? unwrapped(field.unwrap()) : (field as z.ZodType);
}

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/**
 * Reads `NAME` or `NAME:key=value:key=value`, as in `particles:lambda=3:eta=0.5`. A value may hold colons that no `key=` follows.
 * @param where what the text stands for, in messages
 * @throws UsageError with every fault: a name or a key that is unknown, a value out of range
 */
export function parseStrategy(text: string, where = "strategy"): StrategySettings {
  const [, name = "", rest] = /^([^:]*)(?::(.*))?$/su.exec(text.trim()) ?? [];
  const known = STRATEGY_NAMES.find((one) => one === name);
  if (known === undefined) throw new UsageError(unknown(where, STRATEGY_NAMES, name));
  const options = textOptions(known);
  const found = new Map<string, unknown>();
  const faults: string[] = [];
  const place = `${where} ${known}`;
  for (const pair of rest === undefined ? [] : rest.split(/:(?=[a-z][\w-]*=)/iu)) {
    const [, key = pair, value] = /^([^=]*)=(.*)$/su.exec(pair) ?? [];
    const option = options.get(key);
    if (value === undefined) faults.push(`${place}: expected key=value, got ${JSON.stringify(pair)}`);
    else if (option === undefined) faults.push(unknown(place, [...options.keys()], key));
    else if (found.has(key)) faults.push(`${place}: expected ${key} once, got it again`);
    else found.set(key, readValue(value, option.schema));
  }
  if (faults.length > 0) throw new UsageError(faults.join("; "));
  return checkSettings({ name: known, ...nested(options, found) }, place);
}

/** Text where text is meant, a number where it reads as one. */
function readValue(text: string, schema: z.ZodType): unknown {
  return schema.safeParse(text).success || !NUMBER.test(text) ? text : Number(text);
}

function nested(options: ReadonlyMap<string, TextOption>, found: ReadonlyMap<string, unknown>): object {
  const settings: Record<string, unknown> = {};
  for (const [key, value] of found) {
    const [outer = key, inner] = options.get(key)?.path ?? [];
    settings[outer] = inner === undefined ? value : { ...(settings[outer] as object | undefined), [inner]: value };
  }
  return settings;
}

function checkSettings(settings: unknown, where: string): StrategySettings {
  try {
    return validateLocated(strategySchema, fromValue(settings, { file: "", line: 0, column: 0 }));
  } catch (error) {
    if (!(error instanceof DocumentError)) throw error;
    const faults = error.causes.map(({ message }) => message).join("; ");
    throw new UsageError(`${where}: ${faults}`, { cause: error });
  }
}

function unknown(where: string, known: readonly string[], name: string): string {
  const near = closest(name, known);
  const expected = known.length === 0 ? "no options" : known.join(", ");
  return `${where}: expected ${expected}, got ${JSON.stringify(name)}${near === undefined ? "" : `; did you mean ${near}?`}`;
}

/** The text that {@link parseStrategy} reads as `settings`. */
export function printStrategy({ name, ...options }: StrategySettings): string {
  const pairs = Object.entries(options).flatMap(([key, value]: [string, unknown]) =>
    typeof value === "object" && value !== null ? Object.entries(value) : [[key, value] as const],
  );
  const said = pairs.flatMap(([key, value]) => (value === undefined ? [] : [`:${key}=${String(value)}`]));
  return `${name}${said.join("")}`;
}
