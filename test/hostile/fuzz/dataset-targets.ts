/** @file Data to learn from: preference pairs in parquet, and rows that name pictures. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { readPreferencePairs } from "#laurel/training/data/preference-pairs";
import type { Target } from "./engine.js";
import { type Mutate, mutateBytes, mutateJson, mutateLines } from "./mutate.js";
import { read } from "./seeds.js";

const ROWS = [
  { prompt: "a red circle", chosen: "better.png", rejected: "worse.png" },
  { prompt: "a blue square", chosen: "worse.png", rejected: "better.png", score: 1.5 },
];
const either: Mutate = (input, dice, other) => (dice.below(2) === 0 ? mutateLines : mutateJson)(input, dice, other);

/** @param folder for their files */
export function datasetTargets(folder: string): Target[] {
  for (const name of ["better.png", "worse.png"]) writeFileSync(join(folder, name), read("image/rgb-tiny.png"));
  const pairs = (name: string) => {
    const path = join(folder, name);
    return async (input: Buffer): Promise<string> => {
      writeFileSync(path, input);
      const opened = await readPreferencePairs(path);
      const { prompt, better, worse } = await opened.at(opened.length - 1);
      if (prompt === "" || better.width < 1 || worse.width < 1) throw new Error("no pair");
      return `${Math.min(opened.length, 3)} pairs, ${opened.warnings.length} warnings`;
    };
  };
  return [
    {
      name: "parquet-pairs",
      seeds: () => [read("datasets/pickapic.parquet")],
      mutate: mutateBytes,
      run: pairs("pairs.parquet"),
    },
    {
      name: "picture-rows",
      seeds: () => [Buffer.from(ROWS.map((row) => `${JSON.stringify(row)}\n`).join(""))],
      mutate: either,
      run: pairs("pairs.jsonl"),
    },
  ];
}
