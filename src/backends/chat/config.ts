/** @file How a language model is configured: a `chat` document in `configs/backends/*.yaml`. Secrets are named here, never written. */

import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import { UsageError } from "../../errors.js";
import { closest } from "../../util/closest.js";
import { readLocated } from "../../util/yaml/parse.js";
import { validateLocated } from "../../util/yaml/validate.js";
import { isSecretName } from "../../util/secret.js";
import { addressSchema, secretSchema } from "../config.js";
import { SHIPPED, shippedConfigs } from "../shipped.js";

const text = z.string().min(1);
const scalar = z.union([z.string(), z.number(), z.boolean()]);
const field = text.refine((name) => !isSecretName(name), "expected no secret among the further fields");

/** What a chat configuration may say. */
export const chatConfigSchema = z
  .strictObject({
    chat: z.literal("openai-compatible").describe("the contract that the server speaks: /v1/chat/completions"),
    url: addressSchema.describe("base address, up to and with /v1"),
    model: text.optional().describe("left out, the one model that the server has"),
    key: secretSchema.optional(),
    temperature: z.number().min(0).max(2).optional().describe("left out, the server's own"),
    maxTokens: z
      .number()
      .int()
      .min(64)
      .max(1_000_000)
      .default(4096)
      .describe("most tokens of one answer, reasoning included"),
    extra: z
      .record(field, z.union([scalar, z.record(field, scalar)]))
      .optional()
      .describe("further fields of the request, as the server documents them"),
    timeout: z.number().positive().max(86_400).default(300).describe("seconds one answer may take"),
    retries: z.number().int().min(0).max(20).default(2).describe("attempts after the first"),
    price: z
      .strictObject({
        prompt: z.number().nonnegative().describe("of a million tokens that are sent"),
        completion: z.number().nonnegative().describe("of a million tokens that are answered"),
        currency: text.default("USD"),
      })
      .optional()
      .describe("what tokens cost"),
    budget: z
      .strictObject({ tokens: z.number().int().min(1).optional(), money: z.number().positive().optional() })
      .optional()
      .describe("what the refinement of one prompt may use"),
  })
  .refine(({ budget, price }) => budget?.money === undefined || price !== undefined, {
    path: ["budget", "money"],
    message: "expected a price beside it, without which money cannot be counted",
  });

export type ChatConfig = z.infer<typeof chatConfigSchema>;

/**
 * The configuration that `name` stands for: a path to a YAML file (it ends in `.yaml` or `.yml`), or one that ships inside.
 * @param folder what a relative path is relative to; the path of a key is relative to the configuration
 * @throws UsageError when there is none, DocumentError when the file is wrong
 */
export async function loadChatConfig(name: string, folder = "."): Promise<ChatConfig> {
  const file = fileOf(name, folder);
  const config = validateLocated(chatConfigSchema, await readLocated(file));
  const secret = config.key?.file;
  return secret === undefined ? config : { ...config, key: { file: resolve(dirname(file), secret) } };
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
