import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadChatConfig } from "#laurel/backends/chat/config";
import { openChat } from "#laurel/backends/chat/open";
import { shippedConfigs } from "#laurel/backends/shipped";
import { startChat } from "../servers/chat-server.js";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "laurel-chat-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function written(text: string): Promise<string> {
  const path = join(folder, "model.yaml");
  await writeFile(path, text);
  return path;
}

describe("configurations of language models", () => {
  it.each([
    ["ollama", "http://127.0.0.1:11434/v1"],
    ["llama-cpp", "http://127.0.0.1:8080/v1"],
    ["vllm", "http://127.0.0.1:8000/v1"],
    ["openai-chat", "https://api.openai.com/v1"],
    ["huggingface-chat", "https://router.huggingface.co/v1"],
  ])("%s ships inside, and is no backend of images", async (name, url) => {
    const config = await loadChatConfig(name);
    expect(config).toMatchObject({ url, maxTokens: 4096, timeout: 300, retries: 2 });
    expect(shippedConfigs("backend")).not.toContain(name);
    const chat = await openChat(config, {});
    await chat.dispose();
  });

  it("names what there is, and the nearest", async () => {
    await expect(loadChatConfig("olama")).rejects.toThrow(
      /expected .*ollama.* or a YAML file, got olama; did you mean ollama\?/,
    );
    await expect(loadChatConfig("../backends/ollama")).rejects.toThrow(/or a YAML file/);
    await expect(loadChatConfig("missing.yaml", folder)).rejects.toThrow(
      /missing.yaml: expected a YAML file, got no such file/,
    );
  });

  it.each([
    [
      "chat: openai-compatible\nurl: http://x/v1\nkey: sk-123",
      /model.yaml:3:6: key: expected \{ env: NAME \} or \{ file: PATH \}/,
    ],
    [
      "chat: openai-compatible\nurl: http://x/v1\nmodell: y",
      /model.yaml:3:1: unknown key modell; did you mean model\?/,
    ],
    ["chat: grpc\nurl: http://x/v1", /model.yaml:1:7: chat: expected openai-compatible, got "grpc"/],
    ["backend: webui", /model.yaml:1:1: /],
    [
      "chat: openai-compatible\nurl: http://x/v1\nbudget: { money: 1 }",
      /model.yaml:3:18: budget.money: expected a price/,
    ],
    [
      "chat: openai-compatible\nurl: http://x/v1\nmaxTokens: 1",
      /model.yaml:3:12: maxTokens: expected at least 64, got 1/,
    ],
  ])("refuses %j with the place", async (text, message) => {
    await expect(loadChatConfig(await written(text))).rejects.toThrow(message);
  });

  it.each([
    ["url: http://me:secret-word@x/v1", /model.yaml:2:6: url: expected an address without user or password in it/],
    ["url: http://x/v1\nextra: { api_key: secret-word }", /expected no secret among the further fields/],
  ])("refuses a secret in the clear, without repeating it: %s", async (yaml, message) => {
    const error = await loadChatConfig(await written(`chat: openai-compatible\n${yaml}`)).catch(
      (reason: unknown) => reason as Error,
    );
    expect(error).toMatchObject({ message: expect.stringMatching(message) });
    expect((error as Error).message).not.toContain("secret-word");
  });

  it("looks for the file of a key beside the configuration", async () => {
    const config = await loadChatConfig(
      await written("chat: openai-compatible\nurl: http://x/v1\nkey: { file: key.txt }"),
    );
    expect(config.key).toEqual({ file: join(folder, "key.txt") });
  });

  it("sends the key that the environment holds", async () => {
    const server = await startChat({ answer: () => "hello", key: "from-environment" });
    const config = await loadChatConfig(
      await written(`chat: openai-compatible\nurl: ${server.url}/v1\nmodel: tiny\nkey: { env: CHAT_KEY }\n`),
    );
    const chat = await openChat(config, { CHAT_KEY: "from-environment" });
    try {
      expect((await chat.complete([{ role: "user", content: "hi" }], { maxTokens: 9 })).text).toBe("hello");
      expect(JSON.stringify(config)).not.toContain("from-environment");
      await chat.dispose();
      const without = await openChat(config, {});
      await expect(without.complete([{ role: "user", content: "hi" }], { maxTokens: 9 })).rejects.toThrow(
        /401: Incorrect API key provided; no key was sent: CHAT_KEY is not set/,
      );
      await without.dispose();
    } finally {
      await server.close();
    }
  });
});
