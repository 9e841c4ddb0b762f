/**
 * @file From a prompt's fragments to chunks, each as long as the text encoder's window, so that a prompt of any length is read.
 * Reference: modules/sd_hijack_clip.py `tokenize_line` and modules/textual_inversion/textual_inversion.py of AUTOMATIC1111's web UI, v1.10.1
 */

import { UsageError } from "../errors.js";
import type { ClipTokenizer } from "../tokenizers/types.js";
import type { Fragment } from "./attention-syntax.js";
import type { TextualInversion } from "./textual-inversion.js";

/** Tokens that may move to the next chunk, so that a chunk ends at a comma: the web UI's `comma_padding_backtrack`. */
const COMMA_BACKTRACK = 20;
/** Chunks of one prompt. Attention over many more would fill the memory before a picture came of it. */
const MAX_CHUNKS = 64;

/** What the text encoder reads at once; `ids` and `multipliers` have the length of its window. */
export interface Chunk {
  /** Start, text, end, padding; 0 where an embedding's vector stands instead. */
  readonly ids: readonly number[];
  /** Weight of each token; 1 for the frame and the padding. */
  readonly multipliers: readonly number[];
  /** Embeddings and where each one's first vector stands in `ids`. */
  readonly insertions: readonly Insertion[];
}

/** An embedding in a chunk. */
export interface Insertion {
  readonly at: number;
  readonly embedding: TextualInversion;
}

/** A chunk's text, without the frame. */
interface Room {
  readonly tokens: number[];
  readonly multipliers: number[];
  readonly insertions: Insertion[];
}

/** The chunk that is `ids`, with nothing weighted and nothing inserted. */
export function chunkOf(ids: readonly number[]): Chunk {
  return { ids, multipliers: ids.map(() => 1), insertions: [] };
}

/**
 * Lays fragments out in chunks; at least one, which is empty for an empty prompt. Each fragment is tokenized by itself. A full chunk ends at its
 * last comma where one stands among its last 20 tokens: what follows it moves on. An embedding's vectors stay in one chunk; among
 * embeddings whose trigger words begin alike, the longest counts.
 * @throws UsageError for more than 64 chunks, or an embedding that no chunk can hold
 */
export function layOutChunks(
  fragments: readonly Fragment[],
  tokenizer: ClipTokenizer,
  embeddings: readonly TextualInversion[] = [],
): Chunk[] {
  // the window without start and end
  const capacity = tokenizer.maxLength - 2;
  const frame = frameOf(tokenizer);
  const comma = commaOf(tokenizer);
  const triggers = triggersOf(embeddings, tokenizer);
  const chunks: Chunk[] = [];
  let room = emptyRoom();
  let lastComma = -1;
  const next = (): void => {
    if (chunks.length === MAX_CHUNKS) {
      throw new UsageError(`prompt: expected at most ${MAX_CHUNKS} chunks of ${capacity} tokens, got more`);
    }
    chunks.push(framed(room, frame, tokenizer.maxLength));
    room = emptyRoom();
    lastComma = -1;
  };
  for (const fragment of fragments) {
    if (fragment.kind === "break") {
      next();
      continue;
    }
    const tokens = tokenizer.tokenize(fragment.text);
    for (let position = 0; position < tokens.length;) {
      const token = tokens[position]!;
      const used = room.tokens.length;
      if (token === comma) lastComma = used;
      else if (used === capacity && lastComma !== -1 && used - lastComma <= COMMA_BACKTRACK) {
        const moved = cutOff(room, lastComma + 1);
        next();
        room = moved;
      }
      if (room.tokens.length === capacity) next();
      const found = triggers.find(({ ids }) => ids.every((id, i) => tokens[position + i] === id));
      if (found === undefined) {
        room.tokens.push(token);
        room.multipliers.push(fragment.weight);
        position++;
        continue;
      }
      const { embedding, ids } = found;
      if (embedding.count > capacity) {
        throw new UsageError(
          `${embedding.path}: expected at most ${capacity} vectors, which is what a chunk holds, got ${embedding.count}`,
        );
      }
      if (room.tokens.length + embedding.count > capacity) next();
      room.insertions.push({ at: room.tokens.length, embedding });
      for (let i = 0; i < embedding.count; i++) {
        room.tokens.push(0);
        room.multipliers.push(fragment.weight);
      }
      position += ids.length;
    }
  }
  if (room.tokens.length > 0 || chunks.length === 0) next();
  return chunks;
}

function emptyRoom(): Room {
  return { tokens: [], multipliers: [], insertions: [] };
}

/** Takes what stands from `start` on out of `room`, with the embeddings there. */
function cutOff(room: Room, start: number): Room {
  const first = room.insertions.findIndex(({ at }) => at >= start);
  const insertions = first === -1 ? [] : room.insertions.splice(first);
  return {
    tokens: room.tokens.splice(start),
    multipliers: room.multipliers.splice(start),
    insertions: insertions.map(({ at, embedding }) => ({ at: at - start, embedding })),
  };
}

interface FrameIds {
  readonly start: number;
  readonly end: number;
  readonly pad: number;
}

function frameOf(tokenizer: ClipTokenizer): FrameIds {
  const [start, end, pad] = tokenizer.encode("").ids as [number, number, number];
  return { start, end, pad };
}

/** The comma's id; undefined for a vocabulary without one. */
function commaOf(tokenizer: ClipTokenizer): number | undefined {
  const ids = tokenizer.tokenize(",");
  return ids.length === 1 ? ids[0] : undefined;
}

function framed({ tokens, multipliers, insertions }: Room, { start, end, pad }: FrameIds, length: number): Chunk {
  const padding = length - 2 - tokens.length;
  return {
    ids: [start, ...tokens, end, ...Array<number>(padding).fill(pad)],
    multipliers: [1, ...multipliers, 1, ...Array<number>(padding).fill(1)],
    insertions: insertions.map(({ at, embedding }) => ({ at: at + 1, embedding })),
  };
}

interface Trigger {
  readonly ids: readonly number[];
  readonly embedding: TextualInversion;
}

/** Trigger words as ids, the longest first. @throws UsageError for two embeddings of one trigger word, or a word without tokens */
function triggersOf(embeddings: readonly TextualInversion[], tokenizer: ClipTokenizer): Trigger[] {
  const known = new Map<string, Trigger>();
  for (const embedding of embeddings) {
    for (const word of embedding.triggers) {
      const ids = tokenizer.tokenize(word);
      const other = known.get(ids.join());
      if (ids.length === 0)
        throw new UsageError(`${embedding.path}: expected a trigger word, got ${JSON.stringify(word)}`);
      if (other !== undefined && other.embedding !== embedding) {
        throw new UsageError(
          `${embedding.path}: expected a trigger word of its own, got ${JSON.stringify(word)} as in ${other.embedding.path}`,
        );
      }
      known.set(ids.join(), { ids, embedding });
    }
  }
  return [...known.values()].sort((a, b) => b.ids.length - a.ids.length);
}
