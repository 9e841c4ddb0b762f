/** @file Opens an exported reward: scores and gradients of the pictures that its models take. */

import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { ModelError, UsageError } from "../../errors.js";
import { encodePrompts, stackRows, truncationWarnings } from "../../rewards/batched.js";
import { type Device, openDevice } from "../../runtime/device.js";
import type { Program } from "../../runtime/program.js";
import { elementCount, float32, type Tensor } from "../../tensor/tensor.js";
import { wordPieceTokenizer } from "../../tokenizers/bert.js";
import { bytePairTokenizer } from "../../tokenizers/clip.js";
import type { TokenizerDescription } from "../../tokenizers/description.js";
import type { Tokenizer } from "../../tokenizers/types.js";
import { sha256File } from "../../util/files.js";
import { kept } from "../../util/kept.js";
import { describeSystemError, parseJson, readText } from "../../util/read-file.js";
import { readRewardManifest, type RewardManifest } from "./manifest.js";
import { modelPorts } from "./ports.js";

/** How a bundle is opened. */
export interface LoadRewardOptions {
  /** Where its models run. @default a device of its own, which `dispose` closes */
  readonly device?: Device | undefined;
  /** Compares the digest of every file; otherwise only sizes. @default true */
  readonly verify?: boolean | undefined;
}

/** What {@link LoadedReward.score} gives. */
export interface LoadedScores {
  /** One score a row. */
  readonly scores: number[];
  /** Of an ensemble, the scores of each reward by its name. */
  readonly members: Readonly<Record<string, number[]>>;
  /** What of the prompts could not be read. */
  readonly warnings: string[];
}

/** What {@link LoadedReward.gradient} gives. */
export interface LoadedGradient extends LoadedScores {
  /** upstream_i * d score_i / d input_i, float32, the shape of the input. */
  readonly gradient: Tensor<"float32">;
}

/** Most of a tokenizer's file. */
const TOKENIZER_BYTES = 64 << 20;

/**
 * Opens a folder that `laurel export reward` wrote. Its models are loaded when they are first needed.
 * @throws ModelError for a manifest of another form, and naming every file that is missing or has changed
 */
export async function loadReward(directory: string, options: LoadRewardOptions = {}): Promise<LoadedReward> {
  const root = resolve(directory);
  const manifest = await readRewardManifest(root);
  await checkFiles(root, manifest, options.verify ?? true);
  const tokenizers = await Promise.all(
    manifest.rewards.map(async ({ tokenizer }) => {
      if (tokenizer === null) return undefined;
      const path = join(root, tokenizer.file);
      const text = await readText(path, { expected: "a tokenizer", limit: TOKENIZER_BYTES });
      return openDescribed(parseJson(text, path) as TokenizerDescription, path);
    }),
  );
  const device = options.device ?? openDevice();
  return new LoadedReward(root, manifest, tokenizers, device, options.device === undefined);
}

function openDescribed(description: TokenizerDescription, where: string): Tokenizer {
  switch (description.kind) {
    case "word-piece":
      return wordPieceTokenizer(description);
    case "byte-pair":
      return bytePairTokenizer(description);
    default:
      throw new ModelError(
        `${where}: expected a word-piece or byte-pair tokenizer, got ${JSON.stringify(description satisfies never)}`,
      );
  }
}

async function checkFiles(root: string, { files }: RewardManifest, verify: boolean): Promise<void> {
  const faults = await Promise.all(
    files.map(async ({ path, bytes, sha256 }) => {
      const file = join(root, path);
      try {
        const { size } = await stat(file);
        if (size !== bytes) return `${path}: expected ${bytes} bytes, got ${size}`;
        if (!verify) return undefined;
        const digest = await sha256File(file);
        return digest === sha256 ? undefined : `${path}: expected sha256 ${sha256}, got ${digest}`;
      } catch (error) {
        return `${path}: expected a file, got ${describeSystemError(error)}`;
      }
    }),
  );
  const found = faults.filter((fault) => fault !== undefined);
  if (found.length > 0) throw new ModelError(`${root}: ${found.join("; ")}`);
}

/** An exported reward. A score never depends on the rows beside it, unless the models were made for a fixed batch. */
export class LoadedReward {
  readonly #programs = new Map<"score" | "gradient", Promise<Program>>();

  /** Use {@link loadReward}. @internal */
  constructor(
    /** Absolute. */
    readonly directory: string,
    readonly manifest: RewardManifest,
    /** Of each reward of the manifest; undefined for one that reads no text. */
    readonly tokenizers: readonly (Tokenizer | undefined)[],
    private readonly device: Device,
    private readonly ownsDevice: boolean,
  ) {}

  /**
   * Scores every row of `input`.
   * @param prompts one for all rows, or one a row
   * @param input float32, as `manifest.picture` says: `[N, 3, H, W]` in [0, 1] for an image
   * @throws UsageError when shapes do not fit
   */
  async score(
    prompts: string | readonly string[],
    input: Tensor<"float32">,
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<LoadedScores> {
    const { feeds, warnings, rows } = this.#feeds(prompts, input);
    const outputs = await this.#run("score", feeds, rows, signal);
    return { ...this.#scores(outputs), warnings };
  }

  /**
   * As `score`, and the gradient of the scores with respect to the input.
   * @param upstream what each row's gradient is multiplied with @default ones
   */
  async gradient(
    prompts: string | readonly string[],
    input: Tensor<"float32">,
    upstream?: readonly number[],
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<LoadedGradient> {
    const { feeds, warnings, rows } = this.#feeds(prompts, input);
    const factors = upstream ?? Array.from({ length: rows }, () => 1);
    if (factors.length !== rows) throw new UsageError(`upstream: expected ${rows} numbers, got ${factors.length}`);
    const outputs = await this.#run("gradient", { ...feeds, upstream: float32([rows], factors) }, rows, signal);
    const slopes = outputs.map(({ gradient }) => gradient!.data as Float32Array);
    const data = new Float32Array(input.data.length);
    slopes.reduce((at, slope) => (data.set(slope, at), at + slope.length), 0);
    return { ...this.#scores(outputs), gradient: float32(input.shape, data), warnings };
  }

  /** Frees the models; they are loaded again when needed, unless the device was this reward's own. */
  async dispose(): Promise<void> {
    const programs = [...this.#programs.values()];
    this.#programs.clear();
    if (this.ownsDevice) await this.device.close();
    else for (const program of programs) await (await program.catch(() => undefined))?.dispose();
  }

  /** Rows that every run has. */
  get #batch(): number {
    const [batch] = this.manifest.picture.shape;
    // one at a time: products of several rows may round differently, and the inner tensors of a backward pass are large
    return typeof batch === "number" ? batch : 1;
  }

  #feeds(prompts: string | readonly string[], input: Tensor<"float32">) {
    const { picture, rewards } = this.manifest;
    const [count = 0] = input.shape;
    const expected = picture.shape.slice(1);
    if (
      input.dtype !== "float32" ||
      input.shape.slice(1).join() !== expected.join() ||
      count < 1 ||
      count % this.#batch !== 0 ||
      input.data.length !== elementCount(input.shape)
    ) {
      const rows = this.#batch === 1 ? "N" : `a multiple of ${this.#batch}`;
      throw new UsageError(
        `${picture.name}: expected float32 [${[rows, ...expected].join(",")}], got ${input.dtype} [${input.shape.join(",")}]`,
      );
    }
    const texts = typeof prompts === "string" ? Array.from({ length: count }, () => prompts) : prompts;
    if (texts.length !== count) throw new UsageError(`prompts: expected ${count}, one a row, got ${texts.length}`);
    const feeds: Record<string, Tensor> = { [picture.name]: input };
    const warnings: string[] = [];
    rewards.forEach(({ name, inputs }, i) => {
      const tokenizer = this.tokenizers[i];
      if (tokenizer === undefined) return;
      const encodings = encodePrompts(tokenizer, texts);
      const { maxLength } = tokenizer;
      if (inputs.ids !== undefined) {
        feeds[inputs.ids] = stackRows(
          encodings.map(({ ids }) => ids),
          maxLength,
        );
      }
      if (inputs.mask !== undefined) {
        feeds[inputs.mask] = stackRows(
          encodings.map(({ mask }) => mask),
          maxLength,
        );
      }
      warnings.push(...truncationWarnings(name, maxLength, encodings));
    });
    return { feeds, warnings, rows: count };
  }

  /** Outputs of every part of `rows`. */
  async #run(
    kind: "score" | "gradient",
    feeds: Readonly<Record<string, Tensor>>,
    rows: number,
    signal: AbortSignal | undefined,
  ): Promise<Record<string, Tensor>[]> {
    const program = await this.#program(kind);
    const outputs: Record<string, Tensor>[] = [];
    for (let start = 0; start < rows; start += this.#batch) {
      const part = Object.entries(feeds).map(([name, tensor]) => [name, rowsOf(tensor, start, this.#batch)]);
      outputs.push(await program.run(Object.fromEntries(part) as Record<string, Tensor>, { signal }));
    }
    return outputs;
  }

  #program(kind: "score" | "gradient"): Promise<Program> {
    return kept(this.#programs, kind, () => {
      const model = this.manifest.models[kind];
      const label = `${this.manifest.name} ${kind}`;
      return this.device.load(join(this.directory, model.file), { label, ...modelPorts(model) });
    });
  }

  #scores(outputs: readonly Record<string, Tensor>[]): Pick<LoadedScores, "scores" | "members"> {
    const all = (name: string): number[] => outputs.flatMap((part) => Array.from(part[name]!.data as Float32Array));
    const { rewards } = this.manifest;
    const members = rewards.length === 1 ? [] : rewards.map(({ name }) => [name, all(`${name}.score`)] as const);
    return { scores: all("score"), members: Object.fromEntries(members) };
  }
}

/** `count` rows of a tensor from `start` on. */
function rowsOf(tensor: Tensor, start: number, count: number): Tensor {
  const [rows = 1, ...rest] = tensor.shape;
  const row = tensor.data.length / rows;
  return { ...tensor, shape: [count, ...rest], data: tensor.data.slice(start * row, (start + count) * row) } as Tensor;
}
