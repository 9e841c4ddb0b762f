/** @file What a ComfyUI server has: its version, its node classes and what their inputs may hold. */

import { z } from "zod";
import type { HttpServer } from "../http/client.js";
import { parseAnswer as parseAnswerOf } from "../http/parse-answer.js";
import { HttpError } from "../http/error.js";

/** A class of nodes on a server. */
export interface NodeClass {
  /** True when it gives results: only such nodes make a server run a graph. */
  readonly isOutput: boolean;
  /** Names an input may take; undefined where any value may stand. */
  choices(input: string): readonly string[] | undefined;
}

const classesSchema = z.record(
  z.string(),
  z.object({
    input: z.record(z.string(), z.record(z.string(), z.array(z.unknown()).or(z.unknown()))),
    output_node: z.boolean().optional(),
  }),
);
const statsSchema = z.object({ system: z.object({ comfyui_version: z.string().optional() }) });
const optionsSchema = z.object({ options: z.array(z.string()) });

/** The first version whose `/interrupt` takes a prompt and stops no other. Source: ComfyUI, pull request 9607, released in 0.3.57 */
const TARGETED_INTERRUPT = [0, 3, 57];

/** A server's answers, each asked for once. */
export class ServerInfo {
  readonly #server: HttpServer;
  readonly #signal: AbortSignal | undefined;
  readonly #classes = new Map<string, Promise<NodeClass | undefined>>();

  /** @param signal ends the asking */
  constructor(server: HttpServer, signal: AbortSignal | undefined) {
    this.#server = server;
    this.#signal = signal;
  }

  /** A class by name; undefined when the server does not have it. @throws HttpError */
  nodeClass(name: string): Promise<NodeClass | undefined> {
    const known = this.#classes.get(name) ?? this.#ask(name);
    this.#classes.set(name, known);
    return known;
  }

  /** Names that an input of a class may take; none when the class or the input takes none. @throws HttpError */
  async choices(name: string, input: string): Promise<readonly string[]> {
    return (await this.nodeClass(name))?.choices(input) ?? [];
  }

  /** The server's version, for example `0.3.64`; undefined for servers from before it was told. @throws HttpError */
  version(): Promise<string | undefined> {
    return versionOf(this.#server, this.#signal);
  }

  async #ask(name: string): Promise<NodeClass | undefined> {
    const path = `object_info/${encodeURIComponent(name)}`;
    const json = await this.#server.json(path, { signal: this.#signal, timeoutMs: 30_000 });
    const found = Object.entries(parseAnswer(this.#server, path, classesSchema, json)).find(
      ([one]) => one === name,
    )?.[1];
    if (found === undefined) return undefined;
    const inputs = new Map(Object.values(found.input).flatMap((group) => Object.entries(group)));
    return { isOutput: found.output_node === true, choices: (input) => choicesOf(inputs.get(input)) };
  }
}

/** The server's version; undefined when it says none. @throws HttpError when it does not speak ComfyUI's API */
export async function versionOf(server: HttpServer, signal: AbortSignal | undefined): Promise<string | undefined> {
  const json = await server.json("system_stats", { signal, timeoutMs: 30_000 });
  return parseAnswer(server, "system_stats", statsSchema, json).system.comfyui_version;
}

/** Whether a server of this version stops one prompt alone when asked to. */
export function interruptsOne(version: string | undefined): boolean {
  const parts = /^v?(\d+)\.(\d+)\.(\d+)/
    .exec(version ?? "")
    ?.slice(1)
    .map(Number);
  if (parts === undefined) return false;
  const difference = TARGETED_INTERRUPT.map((least, i) => parts[i]! - least).find((one) => one !== 0) ?? 0;
  return difference >= 0;
}

/** An answer of the expected form. @throws HttpError `bad-response` */
export function parseAnswer<T>(server: HttpServer, path: string, schema: z.ZodType<T>, json: unknown): T {
  return parseAnswerOf(server, "ComfyUI's API", path, schema, json);
}

/** True for an answer of a server that does not have the route: it serves files under every other address. */
export function isMissingRoute(error: unknown): boolean {
  return error instanceof HttpError && (error.status === 404 || error.status === 405);
}

/** `[["a", "b"], {...}]`, or in newer servers `["COMBO", { options: ["a", "b"] }]`. */
function choicesOf(spec: unknown): readonly string[] | undefined {
  if (!Array.isArray(spec)) return undefined;
  const [type, options] = spec as readonly unknown[];
  if (Array.isArray(type)) return type.filter((one) => typeof one === "string");
  const parsed = type === "COMBO" ? optionsSchema.safeParse(options) : undefined;
  return parsed?.success === true ? parsed.data.options : undefined;
}
