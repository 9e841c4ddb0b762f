/** @file How a language model is configured: a `chat` document in `configs/backends/*.yaml`. Secrets are named here, never written. */

import { join, resolve } from "node:path";
import { z } from "zod";
import { UsageError } from "../../errors.js";
import { closest } from "../../util/closest.js";
import { readLocated } from "../../util/yaml/parse.js";
import { validateLocated } from "../../util/yaml/validate.js";
import { secretSchema } from "../config.js";
import { SHIPPED, shippedConfigs } from "../shipped.js";

const scalar = z.union([z.string(), z.number(), z.boolean()]);

/** What a chat configuration may say. */
export const chatConfigSchema = z
  .strictObject({
    /** The contract the server speaks. */
    chat: z.literal("openai-compatible"),
    /** Base address, up to and with `/v1`. */
    url: z.string().min(1),
    /** Left out, the one model that the server has. */
    model: z.string().min(1).optional(),
    key: secretSchema.optional(),
    temperature: z.number().min(0).max(2).optional(),
    /** Most tokens of one answer, reasoning included. */
    maxTokens: z.number().int().min(64).max(1_000_000).default(4096),
    /** Further fields of the request, as the server documents them. */
    extra: z.record(z.string(), z.union([scalar, z.record(z.string(), scalar)])).optional(),
    /** Seconds one answer may take. */
    timeout: z.number().positive().max(86_400).default(300),
    /** Attempts after the first. */
    retries: z.number().int().min(0).max(20).default(2),
    /** What a million tokens cost. */
    price: z
      .strictObject({
        prompt: z.number().nonnegative(),
        completion: z.number().nonnegative(),
        currency: z.string().min(1).default("USD"),
      })
      .optional(),
    /** What one refinement may use. */
    budget: z
      .strictObject({ tokens: z.number().int().min(1).optional(), money: z.number().positive().optional() })
      .optional(),
  })
  .refine(({ budget, price }) => budget?.money === undefined || price !== undefined, {
    path: ["budget", "money"],
    message: "expected a price beside it, without which money cannot be counted",
  });

export type ChatConfig = z.infer<typeof chatConfigSchema>;

/**
 * The configuration that `name` stands for: a path to a YAML file (it ends in `.yaml` or `.yml`), or one that ships inside.
 * @param folder what a relative path is relative to
 * @throws UsageError when there is none, DocumentError when the file is wrong
 */
export async function loadChatConfig(name: string, folder = "."): Promise<ChatConfig> {
  return validateLocated(chatConfigSchema, await readLocated(fileOf(name, folder)));
}

function fileOf(name: string, folder: string): string {
  if (/\.ya?ml$/i.test(name)) return resolve(folder, name);
  const shipped = shippedConfigs("chat");
  if (shipped.includes(name)) return join(SHIPPED, `${name}.yaml`);
  const near = closest(name, shipped);
  throw new UsageError(
    `chat: expected ${shipped.join(", ")} or a YAML file, got ${name}${near === undefined ? "" : `; did you mean ${near}?`}`,
  );
}
