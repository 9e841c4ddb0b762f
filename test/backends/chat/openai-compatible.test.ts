import { afterEach, describe, expect, it } from "vitest";
import type { Chat, ChatOptions, ChatReply } from "#laurel/backends/chat/contract";
import { openOpenaiChat, type OpenaiChatOptions } from "#laurel/backends/chat/openai-compatible";
import { HttpServer } from "#laurel/backends/http/client";
import { Secret } from "#laurel/util/secret";
import { type ChatBehaviour, startChat } from "../servers/chat-server.js";

const started: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map((one) => one.close()));
});

type Server = Awaited<ReturnType<typeof startChat>>;

async function open(
  behaviour: Partial<ChatBehaviour> = {},
  options: OpenaiChatOptions = { model: "tiny" },
  key?: string,
  timeoutMs = 5000,
): Promise<{ server: Server; chat: Chat }> {
  const server = await startChat({ answer: () => "hello", ...behaviour });
  const client = new HttpServer({
    name: "chat",
    url: `${server.url}/v1`,
    headers: key === undefined ? {} : { authorization: new Secret(`Bearer ${key}`) },
    backoffMs: 1,
    maximumBackoffMs: 5,
    idleMs: 200,
    timeoutMs,
    retries: 2,
  });
  started.push(server, { close: () => client.close() });
  return { server, chat: openOpenaiChat(client, options) };
}

const SCHEMA = { type: "object", properties: {}, additionalProperties: false };

function ask(chat: Chat, change: Partial<ChatOptions> = {}): Promise<ChatReply> {
  return chat.complete([{ role: "user", content: "Say hello." }], { maxTokens: 64, ...change });
}

describe("a language model behind /v1/chat/completions", () => {
  it("sends what was asked and gives the text, the tokens and why it ended", async () => {
    const { chat, server } = await open({}, { model: "tiny", extra: { reasoning_effort: "low" } }, "key-of-chat");
    server.behaviour.key = "key-of-chat";
    const jsonSchema = { name: "greeting", schema: SCHEMA };
    expect(await ask(chat, { temperature: 0.5, seed: 7, jsonSchema })).toEqual({
      text: "hello",
      usage: { promptTokens: 100, completionTokens: 50 },
      finishReason: "stop",
      warnings: [],
    });
    expect(server.asked).toEqual([
      {
        model: "tiny",
        reasoning_effort: "low",
        messages: [{ role: "user", content: "Say hello." }],
        stream: false,
        max_tokens: 64,
        temperature: 0.5,
        seed: 7,
        response_format: { type: "json_schema", json_schema: { ...jsonSchema, strict: true } },
      },
    ]);
  });

  it("asks a server for its model once, when none is named", async () => {
    const { chat, server } = await open({ models: ["only"] }, {});
    await ask(chat);
    await ask(chat);
    expect(server.seen.map(({ path }) => path)).toEqual(["/v1/models", "/v1/chat/completions", "/v1/chat/completions"]);
    expect(server.asked[0]?.model).toBe("only");
  });

  it.each([
    [["a", "b"], /expected the name of a model, or a server with one, got several: a, b/],
    [[], /got none/],
  ])("names the models of a server that has %j", async (models, message) => {
    const { chat } = await open({ models }, {});
    await expect(ask(chat)).rejects.toThrow(message);
  });

  it("falls back from a schema to JSON to plain text, and remembers what the server takes", async () => {
    const jsonSchema = { name: "greeting", schema: SCHEMA };
    const { chat, server } = await open({ refuses: ["json_schema"] });
    await ask(chat, { jsonSchema });
    expect(server.asked[0]?.response_format).toEqual({ type: "json_object" });
    await ask(chat, { jsonSchema });
    expect(server.seen).toHaveLength(3);
    server.behaviour.refuses = ["json_schema", "json_object"];
    await ask(chat, { jsonSchema });
    await ask(chat, { jsonSchema });
    expect(server.asked.slice(2).map((one) => one.response_format)).toEqual([undefined, undefined]);
    expect(server.seen).toHaveLength(6);
  });

  it("leaves out what the model does not take, and says so", async () => {
    const { chat, server } = await open({ refuses: ["max_tokens", "temperature", "seed"] });
    const { warnings } = await ask(chat, { temperature: 0.5, seed: 7 });
    expect(warnings).toEqual([
      "chat: the model takes no temperature: it was left out",
      "chat: the model takes no seed: it was left out",
    ]);
    expect(server.asked[0]).toMatchObject({ max_completion_tokens: 64 });
  });

  it("forgets what it gave up when the request is refused all the same", async () => {
    const jsonSchema = { name: "greeting", schema: SCHEMA };
    const { chat, server } = await open({ refuses: ["everything"] });
    await expect(ask(chat, { jsonSchema })).rejects.toThrow(/400: .*maximum context length/);
    expect(server.seen).toHaveLength(3);
    server.behaviour.refuses = [];
    await ask(chat, { jsonSchema });
    expect(server.asked[0]?.response_format?.type).toBe("json_schema");
  });
});

describe("what servers answer", () => {
  const message = (content: unknown, more: object = {}, finish: string | null = "stop"): Record<string, unknown> => ({
    choices: [{ message: { role: "assistant", content, ...more }, finish_reason: finish }],
  });

  it.each([
    ["reasoning beside it", message("hello", { reasoning_content: "hm", reasoning: "hm" }), "hello", "stop"],
    ["reasoning before it", message("<think>\nhm {</think>\n\nhello"), "hello", "stop"],
    ["reasoning whose beginning is in the prompt", message("hm</think>hello"), "hello", "stop"],
    ["reasoning that never ended", message("<think>hm, hm", {}, "length"), "", "length"],
    ["only reasoning", message(null, { reasoning_content: "hm" }, "length"), "", "length"],
    [
      "parts",
      message([{ type: "thinking", thinking: [] }, { type: "text", text: "hel" }, { text: "lo" }]),
      "hello",
      "stop",
    ],
    ["no content", message(undefined), "", "stop"],
    ["a refusal", message(null, { refusal: "I cannot." }), "", "refused"],
    ["a filter", message("", {}, "content_filter"), "", "refused"],
    ["tool calls", message(null, { tool_calls: [] }, "tool_calls"), "", "other"],
    ["no reason", message("hello", {}, null), "hello", "stop"],
  ])("takes %s", async (_, answer, text, finishReason) => {
    const { chat } = await open({ answer: () => answer });
    expect(await ask(chat)).toEqual({ text, usage: undefined, finishReason, warnings: [] });
  });

  it.each([
    ["nothing", {}, /expected an answer with choices, got choices: /],
    ["no choices", { choices: [] }, /choices: /],
    ["a number as content", message(5), /choices.0.message.content/],
    ["an error with status 200", { error: { message: "no capacity", code: 502 } }, /got an error: no capacity/],
  ])("refuses %s", async (_, answer, fault) => {
    const { chat } = await open({ answer: () => answer });
    await expect(ask(chat)).rejects.toMatchObject({ fault: "bad-response", message: expect.stringMatching(fault) });
  });

  it("takes tokens that make no sense as not counted", async () => {
    const { chat } = await open({
      answer: () => ({ ...message("hello"), usage: { prompt_tokens: -5, completion_tokens: "x" } }),
    });
    expect((await ask(chat)).usage).toBeUndefined();
  });
});

describe("faults of the server", () => {
  it("refuses an answer of many megabytes", async () => {
    const { chat } = await open({ answer: () => "x".repeat(9 << 20) });
    await expect(ask(chat)).rejects.toThrow(/expected at most 8388608 bytes, got more/);
  });

  it.each([
    [{ kind: "drop" }],
    [{ kind: "cut" }],
    [{ kind: "stall-body" }],
    [{ kind: "status", status: 500 }],
    [{ kind: "status", status: 503, body: "<html><title>Busy</title></html>" }],
    [{ kind: "status", status: 429, headers: { "retry-after": "0" } }],
  ] as const)("asks again after %j", async (fault) => {
    const { chat, server } = await open();
    server.fail([fault]);
    expect((await ask(chat)).text).toBe("hello");
    expect(server.seen).toHaveLength(2);
  });

  it("takes an answer that comes slowly", async () => {
    const { chat, server } = await open();
    server.fail([{ kind: "slow", millisecondsPerChunk: 2 }]);
    expect((await ask(chat)).text).toBe("hello");
  });

  it("gives up on a server that never answers", async () => {
    const { chat, server } = await open({}, { model: "tiny" }, undefined, 200);
    server.fail([{ kind: "stall" }, { kind: "stall" }, { kind: "stall" }]);
    await expect(ask(chat)).rejects.toMatchObject({
      fault: "unavailable",
      message: expect.stringMatching(/expected an answer within 0.2 s/),
    });
  });

  it("stops when it is cancelled", async () => {
    const { chat, server } = await open();
    server.fail([{ kind: "stall" }]);
    const stop = new AbortController();
    const asking = ask(chat, { signal: stop.signal });
    setTimeout(() => stop.abort(), 20);
    await expect(asking).rejects.toMatchObject({ name: "CancelledError" });
  });

  it("says that a key is wrong, without the key", async () => {
    const { chat } = await open({ key: "right" }, { model: "tiny" }, "wrong-key-of-chat");
    const error = await ask(chat).then(
      () => undefined,
      (reason: unknown) => reason as Error,
    );
    expect(error).toMatchObject({ fault: "unauthorised", message: expect.stringMatching(/401: Incorrect API key/) });
    expect(JSON.stringify(error) + String(error?.message)).not.toContain("wrong-key");
  });

  it("names a model that the server does not have", async () => {
    const { chat, server } = await open({}, { model: "huge" });
    await expect(ask(chat)).rejects.toThrow(/404: model 'huge' not found/);
    expect(server.seen).toHaveLength(1);
  });

  it.each([
    ["JSON", "nonsense", /expected JSON, got nonsense/],
    ["a page", "<html><title>Sign in</title></html>", /expected JSON, got an HTML page \(Sign in\)/],
  ])("refuses what is not %s", async (_, body, fault) => {
    const { chat, server } = await open();
    server.fail([{ kind: "status", status: 200, body }]);
    await expect(ask(chat)).rejects.toThrow(fault);
  });
});
