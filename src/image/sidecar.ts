/** @file Prompts beside pictures: `name.txt` and `name.json`, as WebUIs and data sets keep them. */

import { basename, dirname, extname, join } from "node:path";
import { UsageError } from "../errors.js";
import { parseJson, readTextIfThere } from "../util/read-file.js";
import { parseInfotext } from "./infotext.js";

/** Endings of sidecars. */
export const SIDECAR_EXTENSION = /\.(txt|json)$/i;

/** Largest sidecar that is read. */
const MAXIMUM_BYTES = 1 << 20;

/** Keys of a JSON sidecar that hold a prompt, the first that is there counts. */
const KEYS = ["prompt", "caption", "text"] as const;

/** Names under which a picture's sidecar is looked for, the first that holds a prompt counts. @param name of the picture's file */
export function sidecarNames(name: string): string[] {
  const bare = basename(name, extname(name));
  return [`${bare}.txt`, `${name}.txt`, `${bare}.json`, `${name}.json`];
}

/** What a sidecar says. */
export interface SidecarPrompt {
  readonly prompt: string;
  /** It is the prompt of an infotext, in the syntax of AUTOMATIC1111's web UI. */
  readonly ofInfotext: boolean;
}

/**
 * The prompt in a sidecar: of a text its whole content, or where it is an infotext, as AUTOMATIC1111 saves it beside pictures, its prompt; of JSON the first of `prompt`,
 * `caption` and `text`, or the infotext under `parameters`.
 * @returns undefined when the file is missing or holds none
 * @throws UsageError when it is larger than 1 MiB, no text, or no JSON where it says so
 */
export async function readSidecar(path: string): Promise<SidecarPrompt | undefined> {
  const text = await readTextIfThere(path, { expected: "a prompt", limit: MAXIMUM_BYTES, as: UsageError });
  if (text === undefined || text.trim() === "") return undefined;
  const said = extname(path).toLowerCase() === ".json" ? fromJson(parseJson(text, path, UsageError)) : fromText(text);
  return said === undefined || said.prompt.trim() === "" ? undefined : { ...said, prompt: said.prompt.trim() };
}

/** The prompt in the first sidecar of a picture that holds one. @throws as {@link readSidecar} */
export async function promptBeside(picture: string): Promise<string | undefined> {
  for (const name of sidecarNames(basename(picture))) {
    const said = await readSidecar(join(dirname(picture), name));
    if (said !== undefined) return said.prompt;
  }
  return undefined;
}

function fromText(text: string): SidecarPrompt {
  const { prompt, pairs } = parseInfotext(text);
  return pairs.size === 0 ? { prompt: text, ofInfotext: false } : { prompt, ofInfotext: true };
}

function fromJson(json: unknown): SidecarPrompt | undefined {
  if (typeof json !== "object" || json === null) return undefined;
  const values = json as Readonly<Record<string, unknown>>;
  const own = KEYS.map((key) => values[key]).find((value) => typeof value === "string");
  if (typeof own === "string") return { prompt: own, ofInfotext: false };
  const { parameters } = values;
  return typeof parameters === "string" ? fromText(parameters) : undefined;
}
