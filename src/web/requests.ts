/** @file What is asked of the server: pictures with their prompts, out of JSON, a form or the bytes of one picture. */

import { z } from "zod";
import { PROMPT_SYNTAXES, promptMeaning } from "../prompts/attention-syntax.js";
import { UsageError } from "../errors.js";
import { Problem } from "./problem.js";

/** A longer prompt is no prompt: rewards read some dozens of words. */
export const LONGEST_PROMPT = 20_000;
/** Faults of one request that are told. */
const MOST_FAULTS = 8;
/** Commas and opening brackets of a body in JSON: each may begin a value, and values take more memory than the text that says them. */
const MOST_VALUES = 2_000_000;
/** Parts of a form beside its pictures and their prompts. */
const MOST_FIELDS = 16;

const promptSchema = z.string().max(LONGEST_PROMPT).describe("what the picture should show");
const imageSchema = z
  .string()
  .min(1)
  .describe("the bytes of a PNG, JPEG, WebP, GIF, TIFF or AVIF file in base64, or as a data: URL; never an address")
  .meta({ contentEncoding: "base64" });

const scoreFields = {
  prompt: promptSchema.optional().describe("what all of `images` should show"),
  images: z.array(imageSchema).min(1).optional(),
  items: z
    .array(z.strictObject({ prompt: promptSchema, image: imageSchema }))
    .min(1)
    .optional()
    .describe(
      "pictures with a prompt each, instead of prompt and images; they are ranked among those of the same prompt",
    ),
  promptSyntax: z
    .enum(PROMPT_SYNTAXES)
    .default("plain")
    .describe(
      "a1111: weights, brackets and <lora:...> of AUTOMATIC1111's web UI are taken out before the reward reads the prompt",
    ),
};

/** What `POST /v1/score` takes. */
export const scoreSchema = z.strictObject(scoreFields);

/** What `POST /v1/rank` takes. */
export const rankSchema = z.strictObject({
  ...scoreFields,
  keep: z.number().int().min(1).optional().describe("at most so many of each prompt's pictures, the best"),
  min: z.number().optional().describe("only pictures that score as much or more"),
  ifNone: z
    .enum(["best", "none"])
    .default("best")
    .describe("what is kept of a prompt's pictures when none scores `min`: the best one, or none"),
});

/** A picture to score. */
export interface AskedItem {
  /** Where it stands in the request, for messages: `images[2]`. */
  readonly where: string;
  /** What the reward reads. */
  readonly prompt: string;
  /** The file. */
  readonly bytes: Uint8Array;
}

/** A request that was understood. */
export interface Asked {
  readonly items: readonly AskedItem[];
  readonly keep: number | undefined;
  readonly min: number | undefined;
  readonly ifNone: "best" | "none";
}

type Fields = z.infer<typeof rankSchema>;

/**
 * Reads a request.
 * @param query the address's parameters, which describe a picture that is sent as it is
 * @param most pictures
 * @throws Problem 415 for another kind of content, 413 for too many pictures, 400 for what is not as it should be
 */
export async function readAsked(
  body: Buffer,
  contentType: string,
  query: URLSearchParams,
  { schema, most }: { readonly schema: z.ZodType<unknown>; readonly most: number },
): Promise<Asked> {
  const [type = ""] = contentType.split(";");
  const kind = type.trim().toLowerCase();
  if (kind === "application/json") return fromJson(check(schema, parse(body, most)), most);
  if (kind === "multipart/form-data") return fromForm(await readForm(body, contentType, most), schema, most);
  if (kind.startsWith("image/") || kind === "application/octet-stream") {
    if (body.length === 0) throw new Problem(400, "body: expected the bytes of a picture, got none");
    const fields = check(schema, { ...numbers(Object.fromEntries(query)), images: ["-"] });
    return asked(fields, [{ where: "body", prompt: promptOf(fields), bytes: body }], most);
  }
  throw new Problem(
    415,
    `Content-Type: expected application/json, multipart/form-data or image/..., got ${JSON.stringify(kind.slice(0, 80))}`,
  );
}

function parse(body: Buffer, most: number): unknown {
  let values = 0;
  for (const byte of body) if (byte === 0x2c || byte === 0x5b || byte === 0x7b) values++;
  if (values > MOST_VALUES)
    throw new Problem(413, `body: expected at most ${MOST_VALUES} values in JSON, got ${values}`);
  let value: unknown;
  try {
    value = JSON.parse(body.toString("utf8"));
  } catch {
    throw new Problem(400, "body: expected JSON, got text that is none");
  }
  // counted first: of a long list, every element would be checked
  const { images, items } = (value ?? {}) as { images?: unknown; items?: unknown };
  for (const list of [images, items]) if (Array.isArray(list)) checkCount(list.length, most);
  return value;
}

/** @throws Problem 400 that names each field that is wrong */
function check(schema: z.ZodType<unknown>, value: unknown): Fields {
  const { success, data, error } = schema.safeParse(value);
  if (success) return data as Fields;
  const faults = error.issues.slice(0, MOST_FAULTS).map(({ path, message }) => {
    return { field: path.map((part) => String(part).slice(0, 60)).join(".") || "body", detail: message.slice(0, 300) };
  });
  const detail = faults.map((fault) => `${fault.field}: ${fault.detail}`).join("; ");
  throw new Problem(400, detail, { members: { faults } });
}

function fromJson(fields: Fields, most: number): Asked {
  const { images, items, prompt } = fields;
  if ((images === undefined) === (items === undefined)) {
    throw new Problem(400, `body: expected images or items, got ${images === undefined ? "neither" : "both"}`);
  }
  if (items === undefined) {
    const shared = promptOf(fields);
    const list = images?.map((text, i) => ({ where: `images[${i}]`, prompt: shared, text })) ?? [];
    return asked(fields, decoded(list, most), most);
  }
  if (prompt !== undefined) throw new Problem(400, "prompt: expected none beside items, which have their own, got one");
  const list = items.map((item, i) => ({ where: `items[${i}].image`, prompt: item.prompt, text: item.image }));
  return asked(fields, decoded(list, most), most);
}

/** The prompt of all pictures. @throws Problem 400 without one */
function promptOf({ prompt }: Fields): string {
  if (prompt === undefined) throw new Problem(400, "prompt: expected what the pictures should show, got none");
  return prompt;
}

/** Files out of base64. @throws Problem 400 for other text */
function decoded(
  list: readonly { readonly where: string; readonly prompt: string; readonly text: string }[],
  most: number,
): AskedItem[] {
  checkCount(list.length, most);
  return list.map(({ where, prompt, text }) => ({ where, prompt, bytes: fromBase64(text, where) }));
}

function fromBase64(text: string, where: string): Uint8Array {
  const start = /^data:[^,;]{0,100};base64,/i.exec(text)?.[0].length ?? 0;
  if (start === 0 && /^[a-z][a-z0-9+.-]{0,20}:/i.test(text)) {
    throw new Problem(400, `${where}: expected a picture in base64, got an address; nothing is fetched`);
  }
  const digits = start === 0 ? text : text.slice(start);
  const bytes = Buffer.from(digits, "base64");
  // Buffer passes over what is no base64: line breaks may be lost, nothing else
  if (bytes.length === 0 || /[^A-Za-z0-9+/_\-=\s]|=[^=\s]/.test(digits)) {
    throw new Problem(400, `${where}: expected a picture in base64, got text that is none`);
  }
  return bytes;
}

async function readForm(body: Buffer, contentType: string, most: number): Promise<FormData> {
  const [, quoted, plain = ""] = /;\s*boundary=(?:"([^"]+)"|([^\s;]+))/i.exec(contentType) ?? [];
  const boundary = Buffer.from(`--${quoted ?? plain}`);
  let parts = 0;
  for (let at = body.indexOf(boundary); at >= 0 && parts <= 2 * most + MOST_FIELDS; parts++) {
    at = body.indexOf(boundary, at + boundary.length);
  }
  if (parts > 2 * most + MOST_FIELDS) throw new Problem(413, `images: expected at most ${most} in one request, got more parts`); // prettier-ignore
  try {
    return await new Response(new Uint8Array(body), { headers: { "content-type": contentType } }).formData();
  } catch {
    throw new Problem(400, "body: expected a form of several parts, got something else");
  }
}

/** One prompt for all pictures, or as many prompts as pictures, in their order. */
async function fromForm(form: FormData, schema: z.ZodType<unknown>, most: number): Promise<Asked> {
  const texts: Record<string, string> = {};
  const prompts: string[] = [];
  const files: Blob[] = [];
  for (const [name, value] of form) {
    if (typeof value !== "string") files.push(value);
    else if (name === "prompt") prompts.push(value);
    else texts[name] = value;
  }
  checkCount(files.length, most);
  if (files.length === 0) throw new Problem(400, "image: expected a file, got none");
  if (prompts.length !== 1 && prompts.length !== files.length) {
    throw new Problem(400, `prompt: expected 1, or one for each of ${files.length} pictures, got ${prompts.length}`);
  }
  const fields = check(schema, { ...numbers(texts), prompt: prompts.find((one) => one.length > LONGEST_PROMPT) ?? prompts[0], images: ["-"] }); // prettier-ignore
  const items = files.map(async (file, i) => ({
    where: `image[${i}]`,
    prompt: prompts[i] ?? prompts[0] ?? "",
    bytes: new Uint8Array(await file.arrayBuffer()),
  }));
  return asked(fields, await Promise.all(items), most);
}

/** Fields of a form or an address are text; what is a number becomes one. */
function numbers(fields: Readonly<Record<string, string>>): Record<string, unknown> {
  const read = ([name, text]: readonly [string, string]): [string, unknown] => {
    const isNumber = (name === "keep" || name === "min") && text.trim() !== "" && Number.isFinite(Number(text));
    return [name, isNumber ? Number(text) : text];
  };
  return Object.fromEntries(Object.entries(fields).map(read));
}

function checkCount(count: number, most: number): void {
  if (count > most) throw new Problem(413, `images: expected at most ${most} in one request, got ${count}`);
}

function asked(fields: Fields, items: readonly AskedItem[], most: number): Asked {
  checkCount(items.length, most);
  const { keep, min, ifNone = "best", promptSyntax } = fields;
  const read = (prompt: string): string => {
    try {
      return promptMeaning(prompt, promptSyntax);
    } catch (error) {
      if (error instanceof UsageError) throw new Problem(400, error.message, { cause: error });
      throw error;
    }
  };
  return { items: items.map((item) => ({ ...item, prompt: read(item.prompt) })), keep, min, ifNone };
}
