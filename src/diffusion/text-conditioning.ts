/** @file From prompts to what the denoiser is conditioned on: laid out in chunks, each encoded once by each text encoder and kept for when it comes again. */

import { UsageError } from "../errors.js";
import { parseAttention, type PromptSyntax, syntaxWarnings } from "../prompts/attention-syntax.js";
import { type Chunk, chunkOf, layOutChunks } from "../prompts/chunks.js";
import { emphasise } from "../prompts/emphasis.js";
import type { TextualInversion } from "../prompts/textual-inversion.js";
import { truncationWarning } from "../prompts/truncation.js";
import type { Tensor } from "../tensor/tensor.js";
import { float32, int64 } from "../tensor/tensor.js";
import type { ClipTokenizer } from "../tokenizers/types.js";
import { unlessAborted } from "../util/abort.js";
import { networkLoras, type NetworkLora, type ScaledLora, scaleFeeds } from "./lora.js";
import type { LazyRunnable } from "./runnable.js";
import type { TextComponent, TextNetwork, TextVariant } from "./text-networks.js";

/** Chunks whose states are kept, of each text encoder. */
const KEPT = 64;

/** How the prompts of a request are read. */
export interface PromptSettings {
  readonly syntax: PromptSyntax;
  /** 1 takes the layer of the text encoders that their model was trained with, 2 the one before it, ... */
  readonly clipSkip: number;
  /** For each text encoder; read with the syntax "a1111" only. */
  readonly embeddings: readonly (readonly TextualInversion[])[];
}

/** A prompt, and what it is called in warnings. */
export interface NamedPrompt {
  readonly what: string;
  readonly text: string;
  /** It is what guidance moves away from. @default false */
  readonly negative?: boolean | undefined;
}

/** A prompt as the text encoders will read it. */
export interface LaidOutPrompt {
  /** Of each text encoder. */
  readonly chunks: readonly (readonly Chunk[])[];
  readonly negative: boolean;
  /** Zeros stand for it: nothing is encoded. */
  readonly isZero: boolean;
}

/** Prompts as the text encoders will read them. */
export interface PromptLayout {
  /** All have as many chunks: the shorter prompts end in empty ones. */
  readonly prompts: readonly LaidOutPrompt[];
  /** Tokens of the conditioning. */
  readonly length: number;
  readonly variant: TextVariant;
  /** What was cut, what was not understood. */
  readonly warnings: readonly string[];
}

/** One text encoder of a model. */
export interface TextEncoder {
  readonly network: TextNetwork;
  readonly tokenizer: ClipTokenizer;
  /** Its program, with LoRAs in its layers. */
  readonly program: (variant: TextVariant, loras: readonly NetworkLora[]) => LazyRunnable;
}

/** How prompts are encoded. */
export interface EncodeOptions {
  readonly signal?: AbortSignal | undefined;
  /** Of each text encoder. @default none */
  readonly loras?: Readonly<Partial<Record<TextComponent, readonly ScaledLora[]>>> | undefined;
}

/** What a denoiser is conditioned on. */
export interface Conditioning {
  /** float32 [prompts, length, width]: the states of all text encoders side by side. */
  readonly states: Tensor<"float32">;
  /** float32 [prompts, pooledWidth]: the projected end of each prompt's first chunk; undefined where no text encoder gives it. */
  readonly pooled: Tensor<"float32"> | undefined;
}

/** What one text encoder makes of a chunk, weights applied. */
interface ChunkStates {
  readonly states: Float32Array;
  /** Of a negative prompt. */
  readonly unskipped: Float32Array;
  readonly pooled: Float32Array | undefined;
}

/** Encodes prompts chunk by chunk, so that a conditioning never depends on the prompts beside it. */
export class TextConditioner {
  readonly #encoders: readonly TextEncoder[];
  readonly #zeroEmptyNegative: boolean;
  /** In order of use, the latest last. */
  readonly #known = new Map<string, Promise<ChunkStates>>();

  /**
   * @param encoders all with windows of one length
   * @param zeroEmptyNegative an empty negative prompt is all zeros, not what the text encoders make of nothing
   */
  constructor(encoders: readonly TextEncoder[], { zeroEmptyNegative }: { readonly zeroEmptyNegative: boolean }) {
    this.#encoders = encoders;
    this.#zeroEmptyNegative = zeroEmptyNegative;
  }

  /** Reads prompts without encoding them. @throws UsageError for a prompt that is no text, or wrong in its syntax */
  layOut(prompts: readonly NamedPrompt[], settings: PromptSettings): PromptLayout {
    const warnings: string[] = [];
    const chunks = prompts.map((prompt) => this.#chunksOf(prompt, settings, warnings));
    const count = Math.max(...chunks.flat().map((one) => one.length));
    const filled = (one: readonly Chunk[], { tokenizer }: TextEncoder): readonly Chunk[] => {
      const [empty] = layOutChunks([], tokenizer);
      return [...one, ...Array<Chunk>(count - one.length).fill(empty!)];
    };
    return {
      prompts: prompts.map(({ text, negative = false }, i) => ({
        chunks: chunks[i]!.map((one, j) => filled(one, this.#encoders[j]!)),
        negative,
        isZero: negative && text === "" && this.#zeroEmptyNegative,
      })),
      length: count * this.#encoders[0]!.tokenizer.maxLength,
      variant: {
        skippedLayers: settings.clipSkip - 1,
        replacing: settings.embeddings.some((ofEncoder) => ofEncoder.length > 0),
      },
      warnings,
    };
  }

  /** @throws CancelledError when `signal` aborts */
  async encode(layout: PromptLayout, { signal, loras = {} }: EncodeOptions = {}): Promise<Conditioning> {
    const { prompts, length, variant } = layout;
    const encoded = Promise.all(
      prompts.map(async ({ chunks, isZero }) =>
        isZero
          ? undefined
          : Promise.all(
              this.#encoders.map((encoder, i) =>
                Promise.all(
                  chunks[i]!.map((chunk) =>
                    this.#encodeChunk(encoder, chunk, variant, loras[encoder.network.component] ?? []),
                  ),
                ),
              ),
            ),
      ),
    );
    // others may wait for the same chunk: aborting stops the waiting, not the run
    const states = await unlessAborted(encoded, signal);
    const width = this.#encoders.reduce((sum, { network }) => sum + network.config.width, 0);
    const joined = new Float32Array(prompts.length * length * width);
    const pooledWidth = this.#encoders.find(({ network }) => network.pooled)?.network.config.projection;
    const pooled = pooledWidth === undefined ? undefined : new Float32Array(prompts.length * pooledWidth);
    states.forEach((ofPrompt, i) => {
      const own = joined.subarray(i * length * width, (i + 1) * length * width);
      let left = 0;
      ofPrompt?.forEach((chunks, j) => {
        const { config } = this.#encoders[j]!.network;
        const rows = chunks.map((one) => (prompts[i]!.negative ? one.unskipped : one.states));
        putColumns(own, width, left, rows, config.width);
        left += config.width;
        const end = chunks[0]?.pooled;
        if (end !== undefined) pooled?.set(end, i * end.length);
      });
    });
    return {
      states: float32([prompts.length, length, width], joined),
      pooled: pooled === undefined ? undefined : float32([prompts.length, pooledWidth!], pooled),
    };
  }

  /** The chunks of one prompt, for each text encoder. */
  #chunksOf({ what, text }: NamedPrompt, { syntax, embeddings }: PromptSettings, warnings: string[]): Chunk[][] {
    if (typeof text !== "string") throw new UsageError(`${what}: expected text, got ${typeof text}`);
    if (syntax === "a1111") {
      warnings.push(...syntaxWarnings(what, text));
      const fragments = parseAttention(text);
      return this.#encoders.map(({ tokenizer }, i) => layOutChunks(fragments, tokenizer, embeddings[i]));
    }
    return this.#encoders.map(({ tokenizer }, i) => {
      const { ids, truncated } = tokenizer.encode(text);
      if (truncated !== undefined && i === 0) {
        warnings.push(truncationWarning(`${what}: it is longer than the text encoder reads`, truncated));
      }
      return [chunkOf(ids)];
    });
  }

  #encodeChunk(
    encoder: TextEncoder,
    chunk: Chunk,
    variant: TextVariant,
    loras: readonly ScaledLora[],
  ): Promise<ChunkStates> {
    const key = JSON.stringify([
      encoder.network.component,
      variant.skippedLayers,
      chunk.ids,
      chunk.multipliers,
      chunk.insertions.map(({ at, embedding }) => [at, embedding.digest]),
      loras.map(({ lora, scale }) => [lora.key, scale]),
    ]);
    const states = this.#known.get(key) ?? runChunk(encoder, chunk, variant, loras);
    this.#known.delete(key);
    this.#known.set(key, states);
    // what failed (a cancelled run, a dead device) is not kept
    states.catch(() => {
      if (this.#known.get(key) === states) this.#known.delete(key);
    });
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= KEPT * this.#encoders.length) break;
      this.#known.delete(oldest);
    }
    return states;
  }
}

async function runChunk(
  { network, program: programOf }: TextEncoder,
  { ids, multipliers, insertions }: Chunk,
  variant: TextVariant,
  loras: readonly ScaledLora[],
): Promise<ChunkStates> {
  const { width } = network.config;
  const program = await programOf(variant, networkLoras(loras)).get();
  const feeds: Record<string, Tensor> = {
    ids: int64([1, ids.length], ids),
    ...scaleFeeds(loras, program.inputs),
  };
  if (variant.replacing) {
    const given = new Uint8Array(ids.length);
    const vectors = new Float32Array(ids.length * width);
    for (const { at, embedding } of insertions) {
      given.fill(1, at, at + embedding.count);
      vectors.set(embedding.vectors, at * width);
    }
    feeds["given"] = { dtype: "bool", shape: [1, ids.length, 1], data: given };
    feeds["vectors"] = float32([1, ids.length, width], vectors);
  }
  const outputs = await program.run(feeds);
  const weighted = (name: string): Float32Array => emphasise(outputs[name]!.data as Float32Array, multipliers);
  const states = weighted("states");
  return {
    states,
    unskipped: outputs["unskipped"] === undefined ? states : weighted("unskipped"),
    pooled: outputs["pooled"]?.data as Float32Array | undefined,
  };
}

/** Writes rows of `width` numbers, chunk after chunk, into the rows of `into`, `across` numbers wide, from column `left` on. */
function putColumns(
  into: Float32Array,
  across: number,
  left: number,
  chunks: readonly Float32Array[],
  width: number,
): void {
  let row = 0;
  for (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += width, row++) {
      into.set(chunk.subarray(at, at + width), row * across + left);
    }
  }
}
