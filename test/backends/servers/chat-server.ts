/** @file A server with `/v1/chat/completions` for tests, strict about what it is asked; what it answers is scripted. */

import { z } from "zod";
import { type ScriptedServer, startServer } from "./scripted-server.js";

/** A message as it came in. */
export type SeenMessage = z.infer<typeof messageSchema>;

/** A request as it came in. */
export type ChatRequest = z.infer<typeof requestSchema>;

/** How the server behaves. */
export interface ChatBehaviour {
  /** Text of the answer to the nth request, or the whole answer. */
  answer: (request: ChatRequest, n: number) => string | Record<string, unknown>;
  /** Expects this key. */
  key?: string;
  /** Models it has. */
  models?: readonly string[];
  /** Fields and values that it refuses, as different servers do. */
  refuses?: readonly ("json_schema" | "json_object" | "max_tokens" | "temperature" | "seed" | "everything")[];
  /** Tokens it reports; null reports none. */
  usage?: { readonly prompt_tokens: number; readonly completion_tokens: number } | null;
  /** @default "stop" */
  finish?: string | null;
}

const messageSchema = z.strictObject({ role: z.enum(["system", "user", "assistant"]), content: z.string().min(1) });

const requestSchema = z
  .strictObject({
    model: z.string().min(1),
    messages: z.array(messageSchema).min(1),
    stream: z.literal(false),
    max_tokens: z.number().int().min(1).optional(),
    max_completion_tokens: z.number().int().min(1).optional(),
    temperature: z.number().min(0).max(2).optional(),
    seed: z
      .number()
      .int()
      .min(0)
      .max(2 ** 31 - 1)
      .optional(),
    reasoning_effort: z.enum(["low", "high"]).optional(),
    response_format: z
      .discriminatedUnion("type", [
        z.strictObject({ type: z.literal("json_object") }),
        z.strictObject({
          type: z.literal("json_schema"),
          json_schema: z.strictObject({
            name: z.string().regex(/^[\w-]{1,64}$/),
            strict: z.literal(true),
            schema: z.looseObject({ type: z.literal("object"), additionalProperties: z.literal(false) }),
          }),
        }),
      ])
      .optional(),
  })
  .refine(({ max_tokens: old, max_completion_tokens: current }) => (old === undefined) !== (current === undefined));

const invalid = (message: string, param: string | null = null): { status: number; json: unknown } => ({
  status: 400,
  json: { error: { message, type: "invalid_request_error", param, code: null } },
});

/** Starts such a server. `asked` are the requests it took, in order. */
export async function startChat(
  behaviour: ChatBehaviour,
): Promise<ScriptedServer & { readonly behaviour: ChatBehaviour; readonly asked: readonly ChatRequest[] }> {
  const asked: ChatRequest[] = [];
  const server = await startServer(({ method, path, headers, body }) => {
    if (behaviour.key !== undefined && headers.authorization !== `Bearer ${behaviour.key}`) {
      return {
        status: 401,
        json: {
          error: { message: "Incorrect API key provided", type: "invalid_request_error", code: "invalid_api_key" },
        },
      };
    }
    const { models = ["tiny"], refuses = [] } = behaviour;
    if (`${method} ${path}` === "GET /v1/models")
      return { json: { object: "list", data: models.map((id) => ({ id, object: "model" })) } };
    if (`${method} ${path}` !== "POST /v1/chat/completions") return { status: 404, json: { error: "not found" } };
    const parsed = requestSchema.safeParse(body);
    if (!parsed.success) return invalid(`test server: ${JSON.stringify(parsed.error.issues)}`);
    const request = parsed.data;
    if (!models.includes(request.model))
      return {
        status: 404,
        json: { error: { message: `model '${request.model}' not found`, type: "not_found_error" } },
      };
    const form = request.response_format?.type;
    if (refuses.includes("everything")) return invalid("This model's maximum context length is 16 tokens");
    if (refuses.includes("max_tokens") && request.max_tokens !== undefined)
      return invalid(
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "max_tokens",
      );
    for (const name of ["temperature", "seed"] as const)
      if (refuses.includes(name) && request[name] !== undefined)
        return invalid(`Unsupported value: '${name}' does not support this value with this model.`, name);
    if (form !== undefined && refuses.includes(form)) return invalid("Invalid parameter: 'response_format'");
    asked.push(request);
    const answer = behaviour.answer(request, asked.length - 1);
    if (typeof answer !== "string") return { json: answer };
    const { usage = { prompt_tokens: 100, completion_tokens: 50 }, finish = "stop" } = behaviour;
    return {
      json: {
        id: "chatcmpl-1",
        object: "chat.completion",
        model: request.model,
        choices: [{ index: 0, message: { role: "assistant", content: answer }, finish_reason: finish }],
        ...(usage === null ? {} : { usage: { ...usage, total_tokens: usage.prompt_tokens + usage.completion_tokens } }),
      },
    };
  });
  return { ...server, behaviour, asked };
}
