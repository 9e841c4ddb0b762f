/** @file A language model behind `/v1/chat/completions`: OpenAI, Hugging Face's router, vLLM, llama.cpp, Ollama, ... */

import { z } from "zod";
import { UsageError } from "../../errors.js";
import { describeBody, HttpError } from "../http/error.js";
import type { HttpServer } from "../http/client.js";
import type { Chat, ChatMessage, ChatOptions, ChatReply } from "./contract.js";
import { readReply } from "./reply.js";

/** How such a server is used. */
export interface OpenaiChatOptions {
  /** Left out, the one model that the server has. */
  readonly model?: string | undefined;
  /** Further fields of the request, as the server documents them. */
  readonly extra?: Readonly<Record<string, unknown>> | undefined;
  /** Where a key was looked for and not found, for the message of a server that wants one. */
  readonly missingKey?: string | undefined;
}

const PATH = "chat/completions";
/** The longest answer; a million tokens are about this much. */
const MAXIMUM_BYTES = 8 << 20;

/** What a server takes, as far as is known. */
interface Accepted {
  /** How the form of an answer is asked for. */
  readonly form: "json_schema" | "json_object" | "none";
  readonly limit: "max_tokens" | "max_completion_tokens";
  readonly temperature: boolean;
  readonly seed: boolean;
}

/** Opens such a server. Nothing is asked yet. */
export function openOpenaiChat(server: HttpServer, options: OpenaiChatOptions = {}): Chat {
  let accepted: Accepted = { form: "json_schema", limit: "max_tokens", temperature: true, seed: true };
  let model = options.model;
  return {
    name: model === undefined ? server.name : `${model} at ${server.name}`,
    async complete(messages, wanted) {
      model ??= await onlyModel(server, wanted.signal);
      for (let trying = accepted; ;) {
        try {
          const reply = await ask(server, bodyOf(messages, wanted, trying, { ...options.extra, model }), wanted);
          // remembered only now: a request that is refused for another reason says nothing about these
          accepted = trying;
          return { ...reply, warnings: dropped(server, trying, wanted) };
        } catch (error) {
          if (error instanceof HttpError && error.fault === "unauthorised" && options.missingKey !== undefined) {
            const { fault, status } = error;
            throw new HttpError(
              `${error.message}; no key was sent: ${options.missingKey}`,
              { fault, status },
              { cause: error },
            );
          }
          const next = refused(error) ? less(trying, wanted, error.message) : undefined;
          if (next === undefined) throw error;
          trying = next;
        }
      }
    },
    dispose: () => server.close(),
  };
}

async function ask(server: HttpServer, body: unknown, { signal }: ChatOptions): Promise<Omit<ChatReply, "warnings">> {
  const json = await server.json(PATH, { body, signal, maximumBytes: MAXIMUM_BYTES });
  const reply = readReply(json);
  if (!("faults" in reply)) return reply;
  // some gateways report a failure with status 200
  const failure = typeof json === "object" && json !== null && "error" in json ? json.error : undefined;
  if (failure !== undefined && failure !== null) {
    const said = describeBody(Buffer.from(JSON.stringify({ error: failure })), "application/json");
    throw server.fault("bad-response", `${PATH}: expected an answer, got an error: ${said}`);
  }
  throw server.fault("bad-response", `${PATH}: expected an answer with choices, got ${reply.faults}`);
}

function bodyOf(
  messages: readonly ChatMessage[],
  { maxTokens, temperature, seed, jsonSchema }: ChatOptions,
  accepted: Accepted,
  fixed: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const { form, limit } = accepted;
  return {
    ...fixed,
    messages: messages.map(({ role, content }) => ({ role, content })),
    stream: false,
    [limit]: maxTokens,
    ...(temperature === undefined || !accepted.temperature ? {} : { temperature }),
    ...(seed === undefined || !accepted.seed ? {} : { seed }),
    ...(jsonSchema === undefined || form === "none"
      ? {}
      : {
          response_format:
            form === "json_object"
              ? { type: form }
              : { type: form, json_schema: { name: jsonSchema.name, strict: true, schema: jsonSchema.schema } },
        }),
  };
}

function refused(error: unknown): error is HttpError {
  return error instanceof HttpError && (error.status === 400 || error.status === 422);
}

/** What to ask for after a refusal: less of what its message names, else a looser form; undefined when nothing is left to give up. */
function less(accepted: Accepted, wanted: ChatOptions, message: string): Accepted | undefined {
  const { limit, form } = accepted;
  if (limit === "max_tokens" && /max_tokens.*max_completion_tokens/s.test(message))
    return { ...accepted, limit: "max_completion_tokens" };
  if (accepted.temperature && wanted.temperature !== undefined && /\btemperature\b/.test(message))
    return { ...accepted, temperature: false };
  if (accepted.seed && wanted.seed !== undefined && /\bseed\b/.test(message)) return { ...accepted, seed: false };
  if (wanted.jsonSchema === undefined || form === "none") return undefined;
  return { ...accepted, form: form === "json_schema" ? "json_object" : "none" };
}

function dropped(server: HttpServer, accepted: Accepted, wanted: ChatOptions): string[] {
  const names = (["temperature", "seed"] as const).filter((name) => !accepted[name] && wanted[name] !== undefined);
  return names.map((name) => `${server.name}: the model takes no ${name}: it was left out`);
}

const modelsSchema = z.object({ data: z.array(z.object({ id: z.string() })) });

/** The model of a server that has one. @throws UsageError when it has several, or none */
async function onlyModel(server: HttpServer, signal: AbortSignal | undefined): Promise<string> {
  const parsed = modelsSchema.safeParse(await server.json("models", { signal, maximumBytes: MAXIMUM_BYTES }));
  if (!parsed.success) throw server.fault("bad-response", "models: expected a list of models, got something else");
  const names = parsed.data.data.map(({ id }) => id);
  if (names.length === 1) return names[0]!;
  const shown = names.length === 0 ? "none" : `several: ${names.slice(0, 12).join(", ")}`;
  throw new UsageError(`${server.name}: model: expected the name of a model, or a server with one, got ${shown}`);
}
