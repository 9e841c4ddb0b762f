/** @file A tokenizer's files in the Hugging Face layout: configuration, special tokens, vocabulary. Checked once, here. */

import { join } from "node:path";
import { ModelError } from "../errors.js";
import { parseJson, readTextIfThere } from "../util/read-file.js";

/** The largest vocabularies in use, as tokenizer.json, take about a third of it. */
const MAX_FILE_BYTES = 32 << 20;
/** Ids beyond it are no rows of an embedding. */
const MAX_ID = 1 << 24;

/** A parsed JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** The configuration of a tokenizer's folder. */
export interface TokenizerConfig {
  /** `tokenizer_config.json`, overridden by `special_tokens_map.json` where transformers lets that decide. */
  readonly settings: JsonObject;
  /** Tokens outside the vocabulary proper, with their ids. */
  readonly added: ReadonlyMap<string, number>;
}

/** The roles a special token can have in a configuration. */
export const SPECIAL_ROLES = [
  "bos_token",
  "eos_token",
  "unk_token",
  "sep_token",
  "pad_token",
  "cls_token",
  "mask_token",
] as const;

/** True for a JSON object. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A file's text, or undefined when there is no such file. @throws ModelError when it cannot be read. */
export function readText(path: string): Promise<string | undefined> {
  return readTextIfThere(path, { expected: "a tokenizer's file", limit: MAX_FILE_BYTES });
}

/** A JSON file's object, or undefined when there is no such file. @throws ModelError when it holds something else. */
export async function readJsonObject(path: string): Promise<JsonObject | undefined> {
  const text = await readText(path);
  if (text === undefined) return undefined;
  const value = parseJson(text, path);
  if (isObject(value)) return value;
  throw new ModelError(`${path}: expected a JSON object, got ${Array.isArray(value) ? "an array" : String(value)}`);
}

/** Reads the configuration files of a folder; each may be absent. */
export async function readTokenizerConfig(folder: string): Promise<TokenizerConfig> {
  const path = join(folder, "tokenizer_config.json");
  const config = (await readJsonObject(path)) ?? {};
  const decoder = config["added_tokens_decoder"];
  const added = new Map<string, number>();
  if (isObject(decoder)) {
    for (const [id, token] of Object.entries(decoder)) {
      const content = tokenContent(token);
      if (content === undefined || !/^\d+$/.test(id) || !isId(Number(id)))
        throw badTable(path, `added_tokens_decoder.${id}`);
      added.set(content, Number(id));
    }
    return { settings: config, added };
  }
  for (const [token, id] of Object.entries((await readJsonObject(join(folder, "added_tokens.json"))) ?? {})) {
    if (!isId(id)) throw badTable(join(folder, "added_tokens.json"), token);
    added.set(token, id);
  }
  const special = (await readJsonObject(join(folder, "special_tokens_map.json"))) ?? {};
  return { settings: { ...config, ...special }, added };
}

/** A row of an embedding. */
function isId(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= MAX_ID;
}

function badTable(path: string, key: string): ModelError {
  return new ModelError(`${path}: expected a token with a whole number as id, got another form at ${key}`);
}

/** A token written as a string or as `{ "content": ... }`. */
function tokenContent(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  return isObject(value) && typeof value["content"] === "string" ? value["content"] : undefined;
}

/** The special token of a role, or `fallback` where the configuration names none. */
export function specialToken(settings: JsonObject, role: (typeof SPECIAL_ROLES)[number], fallback: string): string {
  return tokenContent(settings[role]) ?? fallback;
}

/** `additional_special_tokens` of a configuration. */
export function additionalTokens(settings: JsonObject): string[] {
  const tokens = settings["additional_special_tokens"];
  return Array.isArray(tokens) ? tokens.map(tokenContent).filter((token) => token !== undefined) : [];
}

/** `model_max_length` of a configuration, or undefined when it is absent or the placeholder for "unlimited". */
export function modelMaxLength(settings: JsonObject): number | undefined {
  const length = settings["model_max_length"];
  return typeof length === "number" && length < 1e6 ? length : undefined;
}

/** A boolean setting; null and absent give `fallback`. */
export function flag<T>(settings: JsonObject, key: string, fallback: T): boolean | T {
  const value = settings[key];
  return typeof value === "boolean" ? value : fallback;
}

/** Checks a token-to-id table. @throws ModelError unless every id is a whole number that occurs once. */
export function checkVocabulary(table: unknown, where: string): Map<string, number> {
  if (!isObject(table)) throw new ModelError(`${where}: expected a table of tokens and ids, got ${String(table)}`);
  const vocabulary = new Map<string, number>();
  const owners = new Map<number, string>();
  for (const [token, id] of Object.entries(table)) {
    if (!isId(id)) {
      throw new ModelError(`${where}: expected a whole number as id of ${JSON.stringify(token)}, got ${String(id)}`);
    }
    const owner = owners.get(id);
    if (owner !== undefined) {
      const pair = `${JSON.stringify(owner)} and ${JSON.stringify(token)}`;
      throw new ModelError(`${where}: expected every id once, got ${id} for ${pair}`);
    }
    owners.set(id, token);
    vocabulary.set(token, id);
  }
  if (vocabulary.size === 0) throw new ModelError(`${where}: expected tokens, got an empty vocabulary`);
  return vocabulary;
}

/** The ids of tokens that must exist. @throws ModelError naming all that do not. */
export function requireTokens(
  vocabulary: ReadonlyMap<string, number>,
  tokens: readonly string[],
  where: string,
): number[] {
  const missing = tokens.filter((token) => !vocabulary.has(token));
  if (missing.length === 0) return tokens.map((token) => vocabulary.get(token) as number);
  const names = [...new Set(missing)].join(", ");
  throw new ModelError(
    `${where}: expected the special tokens in a vocabulary of ${vocabulary.size}, got none for ${names}`,
  );
}

/** How many rows an embedding needs for a vocabulary: its largest id plus one. */
export function vocabularySize(vocabulary: ReadonlyMap<string, number>): number {
  let size = 0;
  for (const id of vocabulary.values()) size = Math.max(size, id + 1);
  return size;
}

/** A parsed `tokenizer.json`. */
export interface TokenizerJson {
  readonly where: string;
  readonly root: JsonObject;
  readonly model: JsonObject;
}

/** Reads a `tokenizer.json` whose model is of the given type; undefined when there is no file. @throws ModelError */
export async function readTokenizerJson(path: string, type: "BPE" | "WordPiece"): Promise<TokenizerJson | undefined> {
  const root = await readJsonObject(path);
  if (root === undefined) return undefined;
  const model = root["model"];
  if (!isObject(model) || (model["type"] !== type && model["type"] !== undefined)) {
    const actual = isObject(model) ? String(model["type"]) : "no model";
    throw new ModelError(`${path}: expected a ${type} tokenizer, got ${actual}`);
  }
  return { where: path, root, model };
}

/** A token that a `tokenizer.json` adds to its vocabulary. */
export interface AddedToken {
  readonly content: string;
  readonly id: number;
  /** It is looked for in normalized text, not in the text as it is. */
  readonly isNormalized: boolean;
}

/** The tokens that a `tokenizer.json` adds to its vocabulary. @throws ModelError when the list has another form */
export function addedTokens({ root, where }: TokenizerJson): AddedToken[] {
  const list = root["added_tokens"] ?? [];
  if (!Array.isArray(list)) throw new ModelError(`${where}: expected a list as added_tokens, got ${String(list)}`);
  return (list as readonly unknown[]).map((token) => {
    if (!isObject(token) || typeof token["content"] !== "string" || !isId(token["id"])) {
      throw new ModelError(`${where}: expected added_tokens with content and id, got ${JSON.stringify(token)}`);
    }
    return { content: token["content"], id: token["id"], isNormalized: token["normalized"] === true };
  });
}
