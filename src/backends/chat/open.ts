/** @file Opens a language model from its configuration. */

import { readSecret, Secret } from "../../util/secret.js";
import { HttpServer } from "../http/client.js";
import type { ChatConfig } from "./config.js";
import type { Chat } from "./contract.js";
import { openOpenaiChat } from "./openai-compatible.js";

/**
 * Opens what `config` says. No request is made.
 * @param environment where secrets are looked up
 * @throws UsageError for a wrong address, or a key that is named and cannot be read
 */
export async function openChat(
  config: ChatConfig,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<Chat> {
  const { url, model, extra, timeout, retries } = config;
  const key = config.key === undefined ? undefined : await readSecret(config.key, "chat: key", environment);
  const headers = key === undefined ? {} : { authorization: new Secret(`Bearer ${key.reveal()}`) };
  const server = new HttpServer({ name: `chat ${url}`, url, headers, timeoutMs: timeout * 1000, retries });
  const missing = config.key?.env === undefined ? undefined : `${config.key.env} is not set`;
  return openOpenaiChat(server, { model, extra, missingKey: key === undefined ? missing : undefined });
}
