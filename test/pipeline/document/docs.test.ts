import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { Ajv } from "ajv";
import { expect, it } from "vitest";
import { parse } from "yaml";
import { COMMANDS } from "#laurel/cli/commands";
import { jsonSchema } from "#laurel/pipeline/document/json-schema";
import { documentSchema, settingsSchema, STEP_SCHEMAS } from "#laurel/pipeline/document/schema";
import { planOf } from "./bad-document.js";

const text = await readFile(fileURLToPath(new URL("../../../docs/pipelines.md", import.meta.url)), "utf8");
const blocks = (language: string): string[] =>
  [...text.matchAll(new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, "gs"))].map(([, block]) => block ?? "");
const validate = new Ajv({ allowUnionTypes: true }).compile(jsonSchema("pipeline"));

/** Twenty rows, since the example leaves out ten. */
const PROMPTS = `caption,style\n${Array.from({ length: 20 }, (_, i) => `prompt ${i},oil\n`).join("")}`;

it.each(blocks("yaml"))("an example of docs/pipelines.md is sound: %#", async (yaml) => {
  expect(validate(parse(yaml)), JSON.stringify(validate.errors)).toBe(true);
  const { items } = await planOf(yaml, {}, { "prompts.csv": PROMPTS });
  expect(items.length).toBeGreaterThan(0);
});

it("the page has examples, and its command lines name commands and options that there are", () => {
  expect(blocks("yaml").length).toBeGreaterThan(5);
  const lines = blocks("sh").flatMap((block) => block.trim().split("\n"));
  expect(lines.length).toBeGreaterThan(3);
  for (const line of lines) {
    const [, command = "", ...words] = line.replace(/#.*$/, "").trim().split(/\s+/);
    const declaration = Object.entries(COMMANDS).find(([name]) => name === command)?.[1];
    expect(declaration, line).toBeDefined();
    const options = Object.keys(declaration?.options ?? {}).map(
      (key) => `--${key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`,
    );
    for (const word of words) if (word.startsWith("--")) expect(options, line).toContain(word);
  }
});

it("the page names every key, every setting and what every step takes", () => {
  const steps = Object.values(STEP_SCHEMAS).flatMap((schema) => Object.keys(schema.shape));
  for (const key of [
    ...Object.keys(documentSchema.shape),
    ...Object.keys(settingsSchema.shape),
    ...Object.keys(STEP_SCHEMAS),
    ...steps,
  ])
    expect(text, key).toMatch(new RegExp(`\`${key}\`|\\b${key}:|\`${key}: `));
});
