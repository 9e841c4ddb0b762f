import { join, relative } from "node:path";
import { describe, expect, it } from "vitest";
import { UsageError } from "#laurel/errors";
import { loadPipeline } from "#laurel/pipeline/document/load";
import { SAMPLER_NAMES } from "#laurel/samplers/names";
import { DocumentError } from "#laurel/util/yaml/located";
import { type BadDocument, withFiles } from "./bad-document.js";
import { BAD_PROMPTS } from "./bad-prompts.js";
import { BAD_SETTINGS } from "./bad-settings.js";
import { BAD_YAML } from "./bad-yaml.js";

const TAIL = "\nprompts: [a]\nsteps: [generate:, score:]\n";
const LETTERS = "abcdefghijklmnopqrstuvw".split("");
const lines = (count: number, line: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => line(i)).join("\n");

/** What takes more room than a table has, or would take all of memory if it were not refused. */
const LARGE: Readonly<Record<string, BadDocument>> = {
  "alias bomb": {
    yaml: `a: &a [x,x,x,x,x,x,x,x,x]\n${lines(6, (i) => `${LETTERS[i + 1]!}: &${LETTERS[i + 1]!} [${Array<string>(9).fill(`*${LETTERS[i]!}`).join(",")}]`)}`,
    faults: ["p.yaml:1:20: expected at most 200000 values, aliases spelled out, got more"],
  },
  "a line of 10 MB": {
    yaml: `name: ${"x".repeat(10 << 20)}`,
    faults: ["p.yaml: expected a YAML file, got 10485766 bytes, more than the 2097152 it may have"],
  },
  "100,000 lists in each other": {
    yaml: "[".repeat(100_000),
    faults: ["p.yaml:1:66: expected at most 64 levels, got more"],
  },
  "half a million mappings in each other": {
    yaml: "{".repeat(500_000),
    faults: ["p.yaml:1:300000: expected at most 300000 words and marks, got more"],
  },
  "text bomb of variables": {
    yaml: `version: 1\nvariables:\n  a: ${"x".repeat(1000)}\n${lines(20, (i) => `  ${LETTERS[i + 1]!}: ${`\${${LETTERS[i]!}}`.repeat(10)}`)}${TAIL}`,
    faults: ["p.yaml:8:6: expected at most 16777216 characters from variables, got more"],
  },
  "list bomb of variables": {
    yaml: `version: 1\nvariables:\n  a: [1,2,3]\n${lines(20, (i) => `  ${LETTERS[i + 1]!}: [${Array<string>(9).fill(`"\${${LETTERS[i]!}}"`).join(", ")}]`)}${TAIL}`,
    faults: ["p.yaml:3:6: expected at most 200000 values, variables filled in, got more"],
  },
  "5,000 variables that need each other": {
    yaml: `version: 1\nvariables:\n${lines(5000, (i) => `  v${i}: \${v${i + 1}}`)}\n  v5000: x${TAIL}`,
    faults: ["p.yaml:34:8: expected at most 32 variables that need each other in a row, got more"],
  },
  "matrix of 10^20 cells": {
    yaml: `version: 1\nmatrix:\n${lines(10, (i) => `  m${i}: [${lines(100, String).replaceAll("\n", ",")}]`)}\ntemplate: "${lines(10, (i) => `\${matrix.m${i}}`).replaceAll("\n", "")}"${TAIL}`,
    faults: ["p.yaml:3:3: matrix: expected at most 1000000 items, got 1 prompts times 100000000000000000000 cells"],
  },
  "prompts of 100,000 characters and of none": {
    yaml: `version: 1\nprompts: [ok, "${"x".repeat(100_000)}", ""]\nsteps: [generate:]`,
    faults: [
      "p.yaml:2:15: prompts.1: expected at most 10000 characters, got 100000",
      "p.yaml:2:100019: prompts.2: expected at least 1 character, got 0",
    ],
  },
  "a template that makes a prompt too long": {
    yaml: `version: 1\nprompts: ["${"x".repeat(9990)}"]\ntemplate: "\${prompt} and more words"\nsteps: [generate:]`,
    faults: ["p.yaml:3:11: template: item 0: expected a prompt of at most 10000 characters, got 10005"],
  },
  "a line of 100,000 characters in a file": {
    yaml: "version: 1\nprompts: { file: p.txt }\nsteps: [generate:]",
    files: { "p.txt": `ok\n${"x".repeat(100_000)}\n` },
    faults: ["p.txt:2:1: expected a prompt of at most 10000 characters, got 100000"],
  },
  "binary prompts": {
    yaml: "version: 1\nprompts: { file: p.txt }\nsteps: [generate:]",
    files: { "p.txt": Buffer.from([255, 254, 0]) },
    faults: ["p.yaml:2:18: prompts.file: p.txt: expected a file of prompts, got bytes that are no text in UTF-8"],
  },
};

async function faultsOf({ yaml, set, files }: BadDocument): Promise<readonly string[]> {
  return withFiles({ "p.yaml": yaml, ...files }, async (folder) => {
    const shown = (text: string): string =>
      text
        .replaceAll(`${relative(process.cwd(), folder)}/`, "./")
        .replaceAll(`${folder}/`, "")
        .replaceAll(folder, ".")
        .replaceAll(SAMPLER_NAMES.join(", "), "{samplers}");
    try {
      await loadPipeline(join(folder, "p.yaml"), set);
    } catch (error) {
      expect(error).toBeInstanceOf(UsageError);
      return (error instanceof DocumentError ? error.faults : [(error as Error).message]).map(shown);
    }
    return [];
  });
}

describe.each([
  ["of themselves", BAD_YAML],
  ["in what they name", BAD_SETTINGS],
  ["in their prompts", BAD_PROMPTS],
  ["by their size", LARGE],
])("documents that are wrong %s", (_, table) => {
  it.each(Object.entries(table))(
    "%s",
    async (_name, document) => {
      expect(await faultsOf(document)).toEqual(document.faults);
    },
    10_000,
  );
});

describe("secrets", () => {
  const secrets = Object.entries(BAD_SETTINGS).filter(([name]) => /^secret|^password/.test(name));
  it("is never repeated by a message", async () => {
    expect(secrets.length).toBeGreaterThan(6);
    for (const [, document] of secrets) {
      expect(JSON.stringify([document.yaml, document.set, document.files])).toMatch(/very-?secret/);
      expect((await faultsOf(document)).join()).not.toMatch(/very-?secret/);
    }
  });
});

it("refuses bytes that are no YAML", async () => {
  for (const [bytes, actual] of [
    [Buffer.from([0, 255, 254, 1]), "bytes that are no text in UTF-8"],
    [Buffer.from("89504e470d0a1a0a0000000d", "hex"), "a PNG image"],
  ] as const) {
    await withFiles({ "p.yaml": bytes }, async (folder) => {
      await expect(loadPipeline(join(folder, "p.yaml"))).rejects.toThrow(`expected a YAML file, got ${actual}`);
      await expect(loadPipeline(folder)).rejects.toThrow("expected a YAML file, got a folder");
      await expect(loadPipeline(join(folder, "no.yaml"))).rejects.toThrow("expected a YAML file, got no such file");
    });
  }
});

it("lists 50 faults and the number of the others", async () => {
  const steps = lines(80, () => "  - generate: { cuont: 1 }");
  const faults = await faultsOf({ yaml: `version: 1\nprompts: [a]\nsteps:\n${steps}`, faults: [] });
  expect(faults).toHaveLength(51);
  expect(faults.at(-1)).toBe("and 30 more faults");
});
