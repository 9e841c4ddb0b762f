/** @file Existing pictures: what their metadata say, what is written into them, and the index of their scores. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { withComment } from "#laurel/image/container-edit";
import { findGenerationData } from "#laurel/image/metadata";
import { readPngText } from "#laurel/image/png";
import { withPngTexts } from "#laurel/image/png-edit";
import { pixelDigest } from "#laurel/library/pictures/read-picture";
import { ScoreIndex } from "#laurel/library/pictures/score-index";
import type { Target } from "./engine.js";
import { mutateBytes, mutateJson, mutateLines, mutatePng } from "./mutate.js";
import { read } from "./seeds.js";

const PNGS = ["webui", "webui-unicode", "comfyui", "comfyui-several", "plain"];
const OTHERS = ["webui.jpg", "webui-unicode.webp", "plain.webp"];
const LINE = { path: "a.png", task: "t", bytes: 1, modified: 2, width: 3, height: 4, prompt: "p", promptFrom: "given" };
const INDEX = [
  '{"laurelScores":1}',
  '{"task":"t","prompt":null}',
  JSON.stringify({ key: "00000001000000ff", ...LINE, digest: null, look: null, side: ["a.txt", 1, 2], score: 0.5 }),
  JSON.stringify({ key: "abcdef0100000000", ...LINE, path: "/b.png", digest: "00", look: "0", side: null, score: null, problem: "broken" }), // prettier-ignore
];

/** @param folder for the index */
export function pictureTargets(folder: string): Target[] {
  const png = async (input: Buffer): Promise<string> => {
    const found = await findGenerationData(input, "x.png");
    const edited = Buffer.concat(withPngTexts(input, [{ keyword: "parameters", value: "a\nb: 1" }], "x.png"));
    if (pixelDigest(edited, "x.png") !== pixelDigest(input, "x.png")) throw new Error("the pixels have changed");
    return "prompt" in found ? `${found.source}: ${found.prompt.length}` : found.missing;
  };
  const other = async (input: Buffer): Promise<string> => {
    const found = await findGenerationData(input, "x");
    const edited = Buffer.concat(withComment(input, "a\nb: 1", "x"));
    if (pixelDigest(edited, "x") !== pixelDigest(input, "x")) throw new Error("the pixels have changed");
    return `${"prompt" in found ? found.prompt.length : found.missing} ${Math.min(edited.length - input.length, 0)}`;
  };
  const index = async (input: Buffer): Promise<string> => {
    const path = join(folder, "scores.jsonl");
    writeFileSync(path, input);
    const opened = await ScoreIndex.open(path);
    try {
      const line = await opened.find("t", join(folder, "a.png"));
      for (let offset = 0; offset < input.length; offset += 7) await opened.read(offset);
      return `${opened.size} ${line === undefined ? "none" : String(line.score)}`;
    } finally {
      await opened.close();
    }
  };
  const graph = async (input: Buffer): Promise<string> => {
    const text = { keyword: "prompt", value: input.toString("utf8"), international: true };
    const found = await findGenerationData(Buffer.concat(withPngTexts(read("pictures/plain.png"), [text], "x")), "x");
    return "prompt" in found ? `${found.prompt.length} ${found.negativePrompt?.length ?? "none"}` : found.missing;
  };
  const graphs = (): Buffer[] =>
    ["comfyui", "comfyui-several"].map((name) => {
      const { value } = readPngText(read(`pictures/${name}.png`)).find(({ keyword }) => keyword === "prompt")!;
      return Buffer.from(value);
    });
  return [
    { name: "picture-graph", seeds: graphs, mutate: mutateJson, run: graph },
    {
      name: "picture-texts",
      seeds: () => PNGS.map((name) => read(`pictures/${name}.png`)),
      mutate: mutatePng,
      run: png,
    },
    {
      name: "picture-exif",
      seeds: () => OTHERS.map((name) => read(`pictures/${name}`)),
      mutate: mutateBytes,
      run: other,
    },
    { name: "score-index", seeds: () => [Buffer.from(`${INDEX.join("\n")}\n`)], mutate: mutateLines, run: index },
  ];
}
