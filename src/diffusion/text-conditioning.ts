/** @file From prompts to what the denoiser is conditioned on: laid out in chunks, each encoded once and kept for when it comes again. */

import { UsageError } from "../errors.js";
import { parseAttention, type PromptSyntax, syntaxWarnings } from "../prompts/attention-syntax.js";
import { type Chunk, chunkOf, layOutChunks } from "../prompts/chunks.js";
import { emphasise } from "../prompts/emphasis.js";
import type { TextualInversion } from "../prompts/textual-inversion.js";
import { truncationWarning } from "../prompts/truncation.js";
import type { LazyProgram } from "../runtime/lazy-program.js";
import type { Tensor } from "../tensor/tensor.js";
import { float32, int64 } from "../tensor/tensor.js";
import type { ClipTokenizer } from "../tokenizers/types.js";
import { unlessAborted } from "../util/abort.js";
import { type NetworkLora, networkLoras, type ScaledLora, scaleFeeds } from "./lora.js";
import type { TextVariant } from "./networks.js";

/** Chunks whose states are kept. */
const KEPT = 64;

/** How the prompts of a request are read. */
export interface PromptSettings {
  readonly syntax: PromptSyntax;
  /** 1 takes the text encoder's last layer, 2 the one before it, ... */
  readonly clipSkip: number;
  /** Read with the syntax "a1111" only. */
  readonly embeddings: readonly TextualInversion[];
}

/** A prompt, and what it is called in warnings. */
export interface NamedPrompt {
  readonly what: string;
  readonly text: string;
}

/** Prompts as the text encoder will read them. */
export interface PromptLayout {
  /** Chunks of each prompt, of all as many: the shorter prompts end in empty ones. */
  readonly prompts: readonly (readonly Chunk[])[];
  /** Tokens of the conditioning. */
  readonly length: number;
  readonly variant: TextVariant;
  /** What was cut, what was not understood. */
  readonly warnings: readonly string[];
}

/** The program of a text encoder with LoRAs in its layers. */
export type TextProgram = (variant: TextVariant, loras: readonly NetworkLora[]) => LazyProgram;

/** How prompts are encoded. */
export interface EncodeOptions {
  readonly signal?: AbortSignal | undefined;
  /** Of the text encoder. @default none */
  readonly loras?: readonly ScaledLora[] | undefined;
}

/** Encodes prompts chunk by chunk, so that a conditioning never depends on the prompts beside it. */
export class TextConditioner {
  readonly #tokenizer: ClipTokenizer;
  readonly #program: TextProgram;
  readonly #width: number;
  /** In order of use, the latest last. */
  readonly #known = new Map<string, Promise<Float32Array>>();

  /** @param width numbers of one token's state */
  constructor(tokenizer: ClipTokenizer, program: TextProgram, width: number) {
    this.#tokenizer = tokenizer;
    this.#program = program;
    this.#width = width;
  }

  /** Reads prompts without encoding them. @throws UsageError for a prompt that is no text, or wrong in its syntax */
  layOut(prompts: readonly NamedPrompt[], { syntax, clipSkip, embeddings }: PromptSettings): PromptLayout {
    const warnings: string[] = [];
    const chunks = prompts.map(({ what, text }) => {
      if (typeof text !== "string") throw new UsageError(`${what}: expected text, got ${typeof text}`);
      if (syntax === "a1111") {
        warnings.push(...syntaxWarnings(what, text));
        return layOutChunks(parseAttention(text), this.#tokenizer, embeddings);
      }
      const { ids, truncated } = this.#tokenizer.encode(text);
      if (truncated !== undefined) {
        warnings.push(truncationWarning(`${what}: it is longer than the text encoder reads`, truncated));
      }
      return [chunkOf(ids)];
    });
    const count = Math.max(...chunks.map((one) => one.length));
    const [empty] = layOutChunks([], this.#tokenizer);
    return {
      prompts: chunks.map((one) => [...one, ...Array<Chunk>(count - one.length).fill(empty!)]),
      length: count * this.#tokenizer.maxLength,
      variant: { skippedLayers: clipSkip - 1, replacing: embeddings.length > 0 },
      warnings,
    };
  }

  /** The conditioning, float32 [prompts, length, width]. @throws CancelledError when `signal` aborts */
  async encode(
    { prompts, length, variant }: PromptLayout,
    { signal, loras = [] }: EncodeOptions = {},
  ): Promise<Tensor<"float32">> {
    const encoded = Promise.all(prompts.flat().map((chunk) => this.#encodeChunk(chunk, variant, loras)));
    const states = new Float32Array(prompts.length * length * this.#width);
    // others may wait for the same chunk: aborting stops the waiting, not the run
    const chunks = await unlessAborted(encoded, signal);
    chunks.forEach((one, i) => states.set(one, i * one.length));
    return float32([prompts.length, length, this.#width], states);
  }

  #encodeChunk(chunk: Chunk, variant: TextVariant, loras: readonly ScaledLora[]): Promise<Float32Array> {
    const key = JSON.stringify([
      variant.skippedLayers,
      chunk.ids,
      chunk.multipliers,
      chunk.insertions.map(({ at, embedding }) => [at, embedding.digest]),
      loras.map(({ lora, scale }) => [lora.key, scale]),
    ]);
    const states = this.#known.get(key) ?? this.#run(chunk, variant, loras);
    this.#known.delete(key);
    this.#known.set(key, states);
    // what failed (a cancelled run, a dead device) is not kept
    states.catch(() => {
      if (this.#known.get(key) === states) this.#known.delete(key);
    });
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= KEPT) break;
      this.#known.delete(oldest);
    }
    return states;
  }

  async #run(
    { ids, multipliers, insertions }: Chunk,
    variant: TextVariant,
    loras: readonly ScaledLora[],
  ): Promise<Float32Array> {
    const program = await this.#program(variant, networkLoras(loras)).get();
    const feeds: Record<string, Tensor> = {
      ids: int64([1, ids.length], ids),
      ...scaleFeeds(loras, program.inputs),
    };
    if (variant.replacing) {
      const given = new Uint8Array(ids.length);
      const vectors = new Float32Array(ids.length * this.#width);
      for (const { at, embedding } of insertions) {
        given.fill(1, at, at + embedding.count);
        vectors.set(embedding.vectors, at * this.#width);
      }
      feeds["given"] = { dtype: "bool", shape: [1, ids.length, 1], data: given };
      feeds["vectors"] = float32([1, ids.length, this.#width], vectors);
    }
    const outputs = await program.run(feeds);
    return emphasise(outputs["lastHiddenState"]!.data as Float32Array, multipliers);
  }
}
