/** @file From a prompt to what the denoiser is conditioned on, kept for prompts that come again. */

import { UsageError } from "../errors.js";
import type { LazyProgram } from "../runtime/lazy-program.js";
import { int64 } from "../tensor/tensor.js";
import type { ClipTokenizer } from "../tokenizers/types.js";
import { unlessAborted } from "../util/abort.js";

/** Prompts whose conditioning is kept. */
const KEPT = 64;

/** A prompt as the denoiser reads it. */
export interface Conditioning {
  /** float32 [length, width], flattened. */
  readonly states: Float32Array;
  /** The end of the prompt that did not fit; undefined when all of it was read. */
  readonly truncated: string | undefined;
}

/** Encodes prompts one by one, so that a conditioning never depends on the prompts beside it. */
export class TextConditioner {
  readonly #tokenizer: ClipTokenizer;
  readonly #program: LazyProgram;
  /** In order of use, the latest last. */
  readonly #known = new Map<string, Promise<Conditioning>>();

  constructor(tokenizer: ClipTokenizer, program: LazyProgram) {
    this.#tokenizer = tokenizer;
    this.#program = program;
  }

  /** The conditioning of `prompt`. @throws CancelledError when `signal` aborts */
  async encode(prompt: string, signal?: AbortSignal): Promise<Conditioning> {
    if (typeof prompt !== "string") throw new UsageError(`prompt: expected text, got ${typeof prompt}`);
    const known = this.#known.get(prompt);
    this.#known.delete(prompt);
    const conditioning = known ?? this.#run(prompt);
    this.#known.set(prompt, conditioning);
    // what failed (a cancelled run, a dead device) is not kept
    conditioning.catch(() => {
      if (this.#known.get(prompt) === conditioning) this.#known.delete(prompt);
    });
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= KEPT) break;
      this.#known.delete(oldest);
    }
    // others may wait for the same prompt: aborting stops the waiting, not the run
    return unlessAborted(conditioning, signal);
  }

  async #run(prompt: string): Promise<Conditioning> {
    const { ids, truncated } = this.#tokenizer.encode(prompt);
    const program = await this.#program.get();
    const outputs = await program.run({ ids: int64([1, ids.length], ids) });
    return { states: outputs["lastHiddenState"]!.data as Float32Array, truncated };
  }
}

/** The warning for a prompt that did not fit; none when it did. */
export function truncationWarnings(what: string, conditioning: Conditioning): string[] {
  const { truncated } = conditioning;
  return truncated === undefined
    ? []
    : [`${what}: it is longer than the text encoder reads; not read: ${JSON.stringify(truncated)}`];
}
