/** @file Every parser of files, with good inputs to begin with and mutations that know its structure. */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { crc32 } from "node:zlib";
import { readModelFolder } from "#laurel/diffusion/model-folder";
import { denoiserGraph, decoderGraph } from "#laurel/diffusion/networks";
import { wholeTextGraph } from "#laurel/diffusion/text-networks";
import { decodeImage } from "#laurel/image/decode";
import { readPngText } from "#laurel/image/png";
import { parseAutoencoderConfig } from "#laurel/models/autoencoder-kl";
import { parseClipConfig } from "#laurel/models/clip";
import { parseClipTextConfig } from "#laurel/models/clip-text";
import { imageRewardConfig } from "#laurel/models/image-reward-config";
import { parseUnetConfig } from "#laurel/models/unet-config";
import { readManifest } from "#laurel/pipeline/manifest";
import { candidateLineSchema } from "#laurel/pipeline/candidate-record";
import { readCandidates } from "#laurel/pipeline/recover";
import { readSearch } from "#laurel/pipeline/search-trace";
import { parseSchedulerText } from "#laurel/samplers/scheduler-config";
import { openBertTokenizer } from "#laurel/tokenizers/bert";
import { openClipTokenizer } from "#laurel/tokenizers/clip";
import { parseDemoSettings } from "#laurel/training/demo-settings";
import { parseJson } from "#laurel/util/read-file";
import { openWeights } from "#laurel/weights/open";
import { newRun } from "../../pipeline/runs.js";
import { bytes } from "../../weights/helpers.js";
import { layOut } from "../models.js";
import { chatTargets } from "./chat-targets.js";
import { datasetTargets } from "./dataset-targets.js";
import type { Target } from "./engine.js";
import { type Mutate, mutateBytes, mutateJson, mutateLines, mutatePng } from "./mutate.js";
import { fixture, json, read } from "./seeds.js";
import { pictureTargets } from "./picture-targets.js";
import { pipelineTargets } from "./pipeline-targets.js";
import { weightTargets } from "./weight-targets.js";

/** A folder for the inputs of the targets that read files; the caller removes it. */
export function makeTargets(): { readonly targets: readonly Target[]; readonly dispose: () => void } {
  const folder = mkdtempSync(join(tmpdir(), "laurel-fuzz-"));
  const all = [
    ...weightTargets(folder),
    ...imageTargets(),
    ...configTargets(folder),
    ...tokenizerTargets(folder),
    ...runTargets(folder),
    ...pipelineTargets(folder),
    ...chatTargets(folder),
    ...datasetTargets(folder),
    ...pictureTargets(folder),
  ];
  return { targets: all, dispose: () => rmSync(folder, { recursive: true, force: true }) };
}

// ---- images ----------------------------------------------------------------------------------------------------------

const PNGS = [
  "rgb-tiny",
  "rgba-interlaced-tiny",
  "palette-4bit",
  "grey-2bit",
  "grey-16bit",
  "one-bit",
  "palette-transparent",
];

function imageTargets(): Target[] {
  const decode = async (input: Buffer): Promise<string> => {
    const { width, height, mode } = await decodeImage(input, "x");
    if (!(width > 0 && height > 0)) throw new Error(`an image of ${width} x ${height}`);
    return mode;
  };
  const sharp = (name: string, files: readonly string[]): Target => ({
    name,
    seeds: () => files.map((one) => read(`image/${one}`)),
    mutate: mutateBytes,
    run: decode,
  });
  return [
    { name: "png", seeds: () => PNGS.map((name) => read(`image/${name}.png`)), mutate: mutatePng, run: decode },
    {
      name: "png-text",
      seeds: () => [pngWithTexts()],
      mutate: mutatePng,
      run: (input) => `${Math.min(readPngText(input, "x").length, 3)} texts`,
    },
    sharp("jpeg", ["grey.jpg", "rotated.jpg", "cmyk.jpg"]),
    sharp("webp", ["rgb.webp", "rgba.webp"]),
    sharp("gif", ["palette.gif"]),
    sharp("tiff", ["cmyk.tif"]),
  ];
}

function pngWithTexts(): Buffer {
  const chunk = (type: string, data: Uint8Array | string): Buffer => {
    const body = bytes(type, data);
    const [length, crc] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(body.length - 4);
    crc.writeUInt32BE(crc32(body));
    return bytes(length, body, crc);
  };
  const zipped = Buffer.from("789c4b4c4a06000 24d0127".replace(" ", ""), "hex");
  return bytes(
    "\x89PNG\r\n\x1a\n",
    chunk("tEXt", "parameters\0a cat"),
    chunk("zTXt", bytes("z\0\0", zipped)),
    chunk("iTXt", bytes("laurel\0\x01\0en\0x\0", zipped)),
    chunk("IEND", ""),
  );
}

// ---- configurations --------------------------------------------------------------------------------------------------

/** Parses a configuration, and builds its network where it is small enough to be built in no time. */
function config<C>(
  name: string,
  file: string,
  parse: (value: unknown) => C,
  build: (config: C) => unknown = () => undefined,
): Target {
  return {
    name,
    seeds: () => [read(file)],
    mutate: mutateJson,
    run: (input) => {
      build(parse(parseJson(input.toString("utf8"), "x")));
    },
  };
}

function configTargets(folder: string): Target[] {
  const shapes = new Map<string, readonly number[]>();
  const loadShapes = openWeights(fixture("models/image-reward/ImageReward.safetensors")).then(({ entries }) => {
    for (const [name, { shape }] of entries) shapes.set(name, shape);
  });
  const med = JSON.parse(read("models/image-reward/med_config.json").toString("utf8")) as unknown;
  const diffusion = join(folder, "diffusion");
  layOut("diffusion", diffusion);
  return [
    {
      name: "scheduler",
      seeds: () => [read("models/tiny-sd/scheduler/scheduler_config.json")],
      mutate: mutateJson,
      run: (input) => void parseSchedulerText(input.toString("utf8"), "x"),
    },
    config(
      "unet",
      "models/tiny-sd/unet/config.json",
      (value) => parseUnetConfig(value, "x"),
      (unet) => {
        const side = 2 ** unet.levels.length;
        if (side <= 64) denoiserGraph(unet, { width: side, height: side }, 8);
      },
    ),
    config(
      "vae",
      "models/tiny-sd/vae/config.json",
      (value) => parseAutoencoderConfig(value, "x"),
      (vae) => decoderGraph(vae, { width: 8, height: 8 }),
    ),
    config(
      "clip-text",
      "models/tiny-sd/text_encoder/config.json",
      (value) => parseClipTextConfig(value, "x"),
      (config) => {
        const network = { component: "text_encoder", config, taken: "last", pooled: false } as const;
        return wholeTextGraph(network, Math.min(8, config.maxPositions));
      },
    ),
    config("clip", "models/clip/config.json", (value) => parseClipConfig(value, "x")),
    {
      name: "image-reward",
      seeds: () => [json({ med, own: { vision_heads: 2, max_text_length: 8, score_std: 1 } })],
      mutate: mutateJson,
      run: async (input) => {
        await loadShapes;
        const value = parseJson(input.toString("utf8"), "x");
        const { med: medConfig, own } = (typeof value === "object" && value !== null ? value : {}) as Record<
          string,
          unknown
        >;
        imageRewardConfig(shapes, medConfig, own, "x");
      },
    },
    ...["model_index.json", "laurel.json"].map((name): Target => ({
      name: name.replace(".json", "").replace("_", "-"),
      seeds: () => [
        name === "laurel.json"
          ? json({ name: "x", sampler: "ddim", steps: 4, guidance: 2, width: 64, height: 64 })
          : read(`models/tiny-sd/${name}`),
      ],
      mutate: mutateJson,
      run: async (input) => {
        writeFileSync(join(diffusion, name), input);
        try {
          await readModelFolder(diffusion);
        } finally {
          writeFileSync(join(diffusion, name), name === "laurel.json" ? "{}" : read(`models/tiny-sd/${name}`));
        }
      },
    })),
  ];
}

// ---- tokenizers ------------------------------------------------------------------------------------------------------

function tokenizerTargets(folder: string): Target[] {
  const files: readonly (readonly [name: string, model: "clip" | "bert", source: string, mutate: Mutate])[] = [
    ["vocab.json", "clip", "models/tiny-sd/tokenizer", mutateJson],
    ["merges.txt", "clip", "models/tiny-sd/tokenizer", mutateLines],
    ["tokenizer_config.json", "clip", "models/tiny-sd/tokenizer", mutateJson],
    ["special_tokens_map.json", "clip", "models/tiny-sd/tokenizer", mutateJson],
    ["vocab.txt", "bert", "rewards/image-reward", mutateLines],
  ];
  // With the tokens that a tokenizer_config.json adds, special_tokens_map.json is not looked at.
  const beside = (name: string): string[] =>
    name === "special_tokens_map.json"
      ? ["vocab.json", "merges.txt"]
      : ["vocab.json", "merges.txt", "tokenizer_config.json"];
  const plain = files.map(([name, kind, source, mutate]): Target => {
    const path = join(folder, `tokenizer-${name}`);
    return {
      name: `tokenizer ${name}`,
      seeds: () => [read(`${source}/${name}`)],
      mutate,
      run: async (input) => {
        layOutTokenizer(path, kind === "clip" ? beside(name).map((other) => [other, read(`${source}/${other}`)]) : []);
        writeFileSync(join(path, name), input);
        return tokenise(kind, path);
      },
    };
  });
  const jsons = (["clip", "bert"] as const).map((kind): Target => ({
    name: `${kind} tokenizer.json`,
    seeds: () => [tokenizerJson(kind)],
    mutate: mutateJson,
    run: (input) => {
      const path = join(folder, `${kind}-json`);
      layOutTokenizer(path, [["tokenizer.json", input]]);
      return tokenise(kind, path);
    },
  }));
  return [...plain, ...jsons];
}

function layOutTokenizer(path: string, files: readonly (readonly [string, Uint8Array])[]): void {
  mkdirSync(path, { recursive: true });
  for (const [name, content] of files) writeFileSync(join(path, name), content);
}

async function tokenise(kind: "clip" | "bert", path: string): Promise<string> {
  const tokenizer = kind === "clip" ? await openClipTokenizer(path) : await openBertTokenizer(path, { maxLength: 16 });
  const { ids } = tokenizer.encode("A red circle, 12 é <|endoftext|> [SEP]");
  const wrong = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= tokenizer.vocabularySize);
  if (wrong !== undefined) throw new Error(`an id of ${wrong} in a vocabulary of ${tokenizer.vocabularySize}`);
  return "";
}

/** A tokenizer.json as in use, with a small vocabulary: a large one would be changed in places that do not matter. */
function tokenizerJson(kind: "clip" | "bert"): Buffer {
  const names =
    kind === "clip"
      ? ["<|startoftext|>", "<|endoftext|>", "r", "e", "d</w>", "re", "red</w>", "a</w>"]
      : ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "##e", "circle"];
  const source = kind === "clip" ? "tokenizers/clip-json/tokenizer.json" : "tokenizers/bert-json/tokenizer.json";
  const real = JSON.parse(read(source).toString("utf8")) as { model: object; added_tokens: { content: string }[] };
  const vocab = Object.fromEntries(names.map((name, id) => [name, id]));
  const added = real.added_tokens.map((token) => ({ ...token, id: vocab[token.content] ?? 0 }));
  const merges = kind === "clip" ? { merges: ["r e", "re d</w>"] } : {};
  return json({ ...real, added_tokens: added, model: { ...real.model, vocab, ...merges } });
}

// ---- runs ------------------------------------------------------------------------------------------------------------

function runTargets(folder: string): Target[] {
  const { config: run, request, models } = newRun();
  const timings = { loadMs: 0, generateMs: 0, scoreMs: 0, writeMs: 0, programMs: 0, totalMs: 0 };
  const manifest = {
    ...{ schemaVersion: 1, runId: "x", status: "complete", createdAt: "2026-01-01", finishedAt: null, sessions: 1 },
    ...{
      request,
      config: run,
      seeds: { first: 500, last: 509 },
      models,
      timings,
      evaluations: 0,
      ranking: [1, 0],
      warnings: [],
      error: null,
    },
    versions: { laurel: "0", node: "20", onnxruntime: "1", platform: "x" },
  };
  const path = join(folder, "run.json");
  return [
    {
      name: "run.json",
      seeds: () => [json(manifest)],
      mutate: mutateJson,
      run: async (input) => {
        writeFileSync(path, input);
        const { config: read } = await readManifest(path);
        if (read.count < 1 || read.count > 10_000) throw new Error(`a count of ${read.count}`);
      },
    },
    {
      name: "candidates.jsonl",
      seeds: () => [Buffer.from([0, 1, 2].map(candidateLine).join(""))],
      mutate: mutateLines,
      run: async (input) => {
        writeFileSync(join(folder, "candidates.jsonl"), input);
        const list = { directory: folder, file: "candidates.jsonl", schema: candidateLineSchema };
        let lines = 0;
        for await (const { image } of readCandidates({ ...list, accepts: ({ index }) => index < 3 })) {
          if (image.includes("..") || image.startsWith("/")) throw new Error(`a path of ${image}`);
          lines++;
        }
        return `${lines} lines`;
      },
    },
    {
      name: "search.jsonl",
      seeds: () => [Buffer.from(SEARCH_EVENTS.map(line).join(""))],
      mutate: mutateLines,
      run: async (input) => {
        writeFileSync(join(folder, "search.jsonl"), input);
        const events = await readSearch(folder);
        if (events.some((event) => event.type !== "plan" && !(event.step >= 0))) throw new Error("a step below 0");
        return `${events.length} lines`;
      },
    },
    {
      name: "training-yaml",
      seeds: () => [readFileSync(fileURLToPath(new URL("../../../configs/training/judge.yaml", import.meta.url)))],
      mutate: mutateLines,
      run: (input) => void parseDemoSettings("judge", input.toString("utf8"), "x"),
    },
  ];
}

const SEARCH_EVENTS = [
  { type: "look", index: 0, step: 2, score: -0.5 },
  { type: "pruned", index: 0, step: 2, reason: "x" },
  { type: "parted", index: 0, from: 1, step: 2 },
  { type: "plan", steps: 4, begun: 2, cuts: [{ step: 2, keep: 0.5 }], previews: { observed: 2, fidelity: [{ step: 2, rankCorrelation: 1, regret: 0 }] } }, // prettier-ignore
];

function line(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}

function candidateLine(index: number): string {
  const source = { name: "x", model: "y", digest: null };
  const line = {
    ...{
      schemaVersion: 1,
      index,
      seed: 500 + index,
      prompt: "a",
      negativePrompt: null,
      score: 0.5,
      evaluations: 1,
      laurel: "0",
    },
    ...{ settings: { steps: 4, guidance: null, sampler: "paint", strength: null }, width: 16, height: 16 },
    ...{ lineage: { strategy: "best-of-n", parent: null, round: 0 }, backend: source, reward: source },
    ...{ image: `images/00/000${index}-${500 + index}.png`, bytes: 10, sha256: "a" },
  };
  return `${JSON.stringify(line)}\n`;
}
