import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readTrainingPrompts, weightedPrompts } from "#laurel/training/data/prompts";

const folder = mkdtempSync(join(tmpdir(), "laurel-prompts-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

describe("readTrainingPrompts", () => {
  it("reads a text with a prompt a line, in which nothing is a comment", async () => {
    expect(await readTrainingPrompts(file("a.txt", "a red circle\n\n# a heading\r\n"))).toEqual([
      { prompt: "a red circle", weight: 1 },
      { prompt: "# a heading", weight: 1 },
    ]);
  });

  it("reads weights from JSON lines, JSON and CSV, 1 where a row has none", async () => {
    const expected = [
      { prompt: "a", weight: 2.5 },
      { prompt: "b", weight: 1 },
      { prompt: "c", weight: 0 },
    ];
    const rows = [{ prompt: "a", weight: 2.5 }, { text: "b" }, { prompt: "c", weight: 0 }];
    const lines = rows.map((row) => JSON.stringify(row)).join("\n");
    expect(await readTrainingPrompts(file("w.jsonl", lines))).toEqual(expected);
    expect(await readTrainingPrompts(file("w.json", JSON.stringify(rows)))).toEqual(expected);
    expect(await readTrainingPrompts(file("w.csv", "prompt,weight\na,2.5\nb,\nc,0\n"))).toEqual(expected);
  });

  it("reads ImageReward's refl_data.json", async () => {
    const rows = [
      { text: "a cat", image: "000044-0048" },
      { text: "a dog", image: "000044-0049" },
    ];
    expect(await readTrainingPrompts(file("refl_data.json", JSON.stringify(rows)))).toEqual([
      { prompt: "a cat", weight: 1 },
      { prompt: "a dog", weight: 1 },
    ]);
  });

  it.each([
    ["empty.txt", "", ["empty.txt: expected prompts, got none"]],
    ["blank.jsonl", "\n \n", ["blank.jsonl: expected prompts, got none"]],
    ["none.json", "[]", ["none.json: expected prompts, got none"]],
    ["empty.json", "", ["empty.json: expected JSON, got an empty file"]],
    ["cut.json", '["a",\n "b",\n {"prompt": "c"\n', ["cut.json:4:1: expected JSON, got"]],
    ["comma.json", '["a",\n"b"\n"c"]', ["comma.json:3:1: expected JSON, got"]],
    ["line.jsonl", '"a"\n{"prompt": "b"\n', ["line.jsonl:2:1: expected JSON, got"]],
    ["field.jsonl", '{"id": 1}\n', ["field.jsonl:1:1: expected a text under prompt, text, caption, got id"]],
    [
      "weight.jsonl",
      '{"prompt": "a", "weight": -1}\n{"prompt": "b"}\n{"prompt": "c", "weight": "many"}',
      [
        'weight.jsonl:1:1: weight: expected a number, 0 or more, got "-1"',
        'weight.jsonl:3:1: weight: expected a number, 0 or more, got "many"',
      ],
    ],
    ["weight.csv", "prompt,weight\na,1\nb,nan\n", ['weight.csv:3:1: weight: expected a number, 0 or more, got "nan"']],
    ["zero.csv", "prompt,weight\na,0\n", ["zero.csv: expected a prompt with a weight above 0, got none among 1"]],
    ["prompts.yaml", "- a", ["prompts.yaml: expected a file ending in .txt, .csv, .jsonl, .ndjson, .json"]],
  ])("refuses %s and says where", async (name, content, expected) => {
    const error = (await readTrainingPrompts(file(name, content)).then(
      () => new Error("read"),
      (cause: unknown) => cause,
    )) as Error & { faults?: readonly string[] };
    const faults = error.faults ?? [error.message];
    expect(faults).toHaveLength(expected.length);
    for (const [i, text] of expected.entries()) expect(faults[i]).toContain(text);
  });

  it("names a file that is not there", async () => {
    await expect(readTrainingPrompts(join(folder, "absent.txt"))).rejects.toThrow(
      "absent.txt: expected a file of prompts, got no such file",
    );
  });
});

describe("weightedPrompts", () => {
  it("gives every prompt the share of [0, 1) that its weight asks for", () => {
    const draw = weightedPrompts([
      { prompt: "a", weight: 1 },
      { prompt: "never", weight: 0 },
      { prompt: "b", weight: 3 },
      { prompt: "nor this", weight: 0 },
    ]);
    const drawn = [0, 0.2499, 0.25, 0.6, 0.999999999].map((uniform) => draw(uniform).prompt);
    expect(drawn).toEqual(["a", "a", "b", "b", "b"]);
  });

  it("refuses prompts that all weigh nothing", () => {
    expect(() => weightedPrompts([{ prompt: "a", weight: 0 }])).toThrow("expected a prompt with a weight above 0");
    expect(() => weightedPrompts([])).toThrow("got none among 0");
  });
});
