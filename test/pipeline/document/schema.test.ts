import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Ajv } from "ajv";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { loadChatConfig } from "#laurel/backends/chat/config";
import { loadBackendConfig } from "#laurel/backends/load-config";
import { jsonSchema } from "#laurel/pipeline/document/json-schema";
import { loadPipeline } from "#laurel/pipeline/document/load";
import { FINETUNE_METHODS, readFinetuneSettings } from "#laurel/training/finetune/settings";
import { BAD_SETTINGS } from "./bad-settings.js";
import { BAD_YAML } from "./bad-yaml.js";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const read = (...path: string[]): Promise<string> => readFile(join(ROOT, ...path), "utf8");
const yamls = async (...path: string[]): Promise<string[]> =>
  (await readdir(join(ROOT, ...path))).filter((name) => name.endsWith(".yaml"));

const pipeline = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(jsonSchema("pipeline"));
const backend = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(jsonSchema("backend"));
const training = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(jsonSchema("training"));
const check = (validate: typeof pipeline, text: string): unknown => {
  validate(parse(text));
  return validate.errors;
};

it.each(["pipeline", "backend", "training"] as const)(
  "schema/%s-v1.json is what `laurel schema` prints",
  async (name) => {
    expect(await read("schema", `${name}-v1.json`)).toBe(`${JSON.stringify(jsonSchema(name), null, 2)}\n`);
  },
);

it("every shipped pipeline loads, meets the JSON Schema, and names it", async () => {
  const names = await yamls("pipelines");
  expect(names).toHaveLength(8);
  for (const name of names) {
    const text = await read("pipelines", name);
    expect(text.split("\n")[0]).toBe("# yaml-language-server: $schema=../schema/pipeline-v1.json");
    expect(check(pipeline, text), name).toBeNull();
    if (name === "export-reward.yaml") continue; // draws nothing: it is no pipeline of items
    const plan = await loadPipeline(join(ROOT, "pipelines", name));
    expect(plan.name).toBe(name.replace(".yaml", ""));
    expect(plan.items.length > 0 || plan.promptsFromBackend).toBe(true);
  }
});

it("every shipped configuration of a server loads, meets the JSON Schema, names it and says what it is", async () => {
  const names = await yamls("configs", "backends");
  expect(names.length).toBeGreaterThan(9);
  for (const name of names) {
    const text = await read("configs", "backends", name);
    const [modeline, comment] = text.split("\n");
    expect(modeline).toBe("# yaml-language-server: $schema=../../schema/backend-v1.json");
    expect(comment).toMatch(/^# .{20}/);
    expect(check(backend, text), name).toBeNull();
    const bare = name.replace(".yaml", "");
    const load = /^chat:/m.test(text) ? loadChatConfig : loadBackendConfig;
    expect(await load(bare)).toEqual(await load(join(ROOT, "configs", "backends", name)));
  }
});

it.each(FINETUNE_METHODS)(
  "the shipped settings of %s are complete, meet the JSON Schema, name it and say what they are",
  async (name) => {
    const text = await read("configs", "training", `${name}.yaml`);
    const [modeline, comment] = text.split("\n");
    expect(modeline).toBe("# yaml-language-server: $schema=../../schema/training-v1.json");
    expect(comment).toMatch(/^# .{20}/);
    expect(check(training, text)).toBeNull();
    expect((await readFinetuneSettings(join(ROOT, "configs", "training", `${name}.yaml`))).method).toBe(name);
  },
);

it("the JSON Schema of trainings knows the keys of each method, and files that are used", () => {
  expect(check(training, "use: configs/training/refl.yaml\nmethod: refl\nsampling: { steps: 3 }")).toBeNull();
  expect(
    check(training, "method: sft\nsteps: 1\noptimizer: { schedule: { learningRate: 1 } }\nbeta: 1"),
  ).not.toBeNull();
});

describe("the JSON Schema of pipelines", () => {
  it.each([
    "version: 1\nprompts: a\nsteps: [generate:]",
    "version: 1\nprompts: ${p}\nsteps: ${s}",
    "version: 1\nprompts: { file: '${f}', limit: '${n}' }\nseed: ${s}\nsettings: ${all}\nsteps: [{ generate: '${g}' }]",
    "use: base.yaml\nsettings: { use: [a.yaml, b.yaml], steps: 3 }",
    "version: 1\nbackend: { use: configs/backends/forge.yaml, retries: 1 }\nprompts: [a]\nsteps: [{ use: step.yaml }]",
    "version: 1\nbackend: { backend: openai, key: { env: '${KEY_NAME}' }, concurrency: '${n}' }\nprompts: [a]\nsteps: [score:]",
    "version: 1\nprompts: { from: backend }\nbackend: { backend: folder, path: ['${a}', b] }\nmatrix: { guidance: '${g}', style: [a, 1, true] }\nsteps: [generate:]",
  ])("takes templates and fragments: %s", (yaml) => {
    expect(check(pipeline, yaml)).toBeNull();
  });

  it.each([
    "misspelt step",
    "unknown key",
    "unknown settings",
    "wrong types",
    "numbers out of range",
    "fraction for a count",
    "no steps",
    "two steps in one",
    "step as text",
  ])("refuses what the loader refuses: %s", (name) => {
    expect(check(pipeline, BAD_YAML[name]?.yaml ?? "")).not.toBeNull();
  });

  it.each(["misspelt kind of backend", "unknown key of a backend", "secret as text"])("refuses %s", (name) => {
    expect(check(pipeline, BAD_SETTINGS[name]?.yaml ?? "")).not.toBeNull();
  });

  it("describes every setting, for editors", () => {
    type Drawing = { properties: { settings: { anyOf: { properties: object }[] } } };
    const { properties } = (jsonSchema("pipeline")["anyOf"] as readonly [Drawing])[0];
    const settings = Object.entries(properties.settings.anyOf[0]!.properties) as [string, { description?: string }][];
    expect(settings.length).toBeGreaterThan(10);
    for (const [name, { description }] of settings) expect(description, name).toBeDefined();
  });
});
