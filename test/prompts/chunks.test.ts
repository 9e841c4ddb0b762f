/** @file How prompts are laid out in chunks, each case written out by hand token by token. */

import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { UsageError } from "#laurel/errors";
import { parseAttention } from "#laurel/prompts/attention-syntax";
import { layOutChunks } from "#laurel/prompts/chunks";
import type { TextualInversion } from "#laurel/prompts/textual-inversion";
import { openClipTokenizer } from "#laurel/tokenizers/clip";
import type { ClipTokenizer } from "#laurel/tokenizers/types";

/** Start, end, padding and comma of the tokenizer below. */
const [S, E, P, C] = [1000, 1001, 1002, 900];

/** Numbers stand for themselves, words for the places of their letters in the alphabet. */
function numbers(maxLength: number): ClipTokenizer {
  const tokenize = (text: string): number[] =>
    (text.match(/\d+|,|[a-z]/g) ?? []).map((one) =>
      one === "," ? C : /\d/.test(one) ? Number(one) : 600 + one.charCodeAt(0) - 96,
    );
  const ids = [S, E, ...Array<number>(maxLength - 2).fill(P)];
  return { maxLength, vocabularySize: 1003, tokenize, encode: () => ({ ids, mask: [], eosIndex: 1 }) };
}

function embedding(count: number, ...triggers: string[]): TextualInversion {
  return { triggers, count, vectors: new Float32Array(count), path: `/${triggers[0]}.pt`, digest: triggers.join() };
}

type Row = readonly [ids: readonly number[], multipliers?: readonly number[]];

const lay = (prompt: string, embeddings: TextualInversion[] = [], window = 8) =>
  layOutChunks(parseAttention(prompt), numbers(window), embeddings);

/** Rows start with S; a row's multipliers are 1 unless they are given. */
function expectRows(chunks: ReturnType<typeof lay>, rows: readonly Row[]): void {
  expect(chunks.map(({ ids }) => ids)).toEqual(rows.map(([ids]) => ids));
  expect(chunks.map(({ multipliers }) => multipliers)).toEqual(rows.map(([ids, given]) => given ?? ids.map(() => 1)));
}

describe("six tokens to a chunk", () => {
  test.each<readonly [string, readonly Row[]]>([
    ["", [[[S, E, P, P, P, P, P, P]]]],
    ["1 2", [[[S, 1, 2, E, P, P, P, P]]]],
    [
      "1 (2:1.5) 3",
      [
        [
          [S, 1, 2, 3, E, P, P, P],
          [1, 1, 1.5, 1, 1, 1, 1, 1],
        ],
      ],
    ],
    ["1 2 3 4 5 6", [[[S, 1, 2, 3, 4, 5, 6, E]]]],
    [
      "(1 2 3 4 5 6:2)",
      [
        [
          [S, 1, 2, 3, 4, 5, 6, E],
          [1, 2, 2, 2, 2, 2, 2, 1],
        ],
      ],
    ],
    ["1 2 3 4 5 6 7", [[[S, 1, 2, 3, 4, 5, 6, E]], [[S, 7, E, P, P, P, P, P]]]],
    [
      "1 2 3 4 5 (6 7:0.5)",
      [
        [
          [S, 1, 2, 3, 4, 5, 6, E],
          [1, 1, 1, 1, 1, 1, 0.5, 1],
        ],
        [
          [S, 7, E, P, P, P, P, P],
          [1, 0.5, 1, 1, 1, 1, 1, 1],
        ],
      ],
    ],
    // breaks
    ["1 BREAK 2", [[[S, 1, E, P, P, P, P, P]], [[S, 2, E, P, P, P, P, P]]]],
    ["BREAK 2", [[[S, E, P, P, P, P, P, P]], [[S, 2, E, P, P, P, P, P]]]],
    ["1 BREAK", [[[S, 1, E, P, P, P, P, P]]]],
    ["BREAK", [[[S, E, P, P, P, P, P, P]]]],
    ["1 BREAK BREAK 2", [[[S, 1, E, P, P, P, P, P]], [[S, E, P, P, P, P, P, P]], [[S, 2, E, P, P, P, P, P]]]],
    // a full chunk and then a break is an empty chunk no more than in the reference: the full one ends at the break
    ["1 2 3 4 5 6 BREAK 7", [[[S, 1, 2, 3, 4, 5, 6, E]], [[S, 7, E, P, P, P, P, P]]]],
    // what follows the last comma moves on
    ["1 2 3, 4 5 6 7", [[[S, 1, 2, 3, C, E, P, P]], [[S, 4, 5, 6, 7, E, P, P]]]],
    [
      "1 2 3, (4 5:2) 6 7",
      [
        [[S, 1, 2, 3, C, E, P, P]],
        [
          [S, 4, 5, 6, 7, E, P, P],
          [1, 2, 2, 1, 1, 1, 1, 1],
        ],
      ],
    ],
    ["1, 2 3, 4 5", [[[S, 1, C, 2, 3, C, E, P]], [[S, 4, 5, E, P, P, P, P]]]],
    ["1 2 3 4 5, 6", [[[S, 1, 2, 3, 4, 5, C, E]], [[S, 6, E, P, P, P, P, P]]]],
    // a comma that no longer fits begins the next chunk
    ["1 2 3 4 5 6, 7", [[[S, 1, 2, 3, 4, 5, 6, E]], [[S, C, 7, E, P, P, P, P]]]],
    // a comma counts for its own chunk only
    ["1, 2 3 4 5 6 7 8 9", [[[S, 1, C, E, P, P, P, P]], [[S, 2, 3, 4, 5, 6, 7, E]], [[S, 8, 9, E, P, P, P, P]]]],
    // a text that just fits does not move
    ["1, 2 3 4 5", [[[S, 1, C, 2, 3, 4, 5, E]]]],
  ])("%j", (prompt, rows) => {
    expectRows(lay(prompt), rows);
  });
});

test("twenty tokens move with the comma, twenty-one do not", () => {
  const from = (first: number, last: number): number[] => Array.from({ length: last - first + 1 }, (_, i) => first + i);
  const pad = (count: number): number[] => Array<number>(count).fill(P);
  // 24 tokens fit: with the comma fifth, 19 stand behind it; the reference counts the comma
  expectRows(lay(`1 2 3 4, ${from(5, 24).join(" ")}`, [], 26), [
    [[S, 1, 2, 3, 4, C, E, ...pad(19)]],
    [[S, ...from(5, 24), E, ...pad(4)]],
  ]);
  expectRows(lay(`1 2 3, ${from(4, 24).join(" ")}`, [], 26), [
    [[S, 1, 2, 3, C, ...from(4, 23), E]],
    [[S, 24, E, ...pad(23)]],
  ]);
});

describe("embeddings", () => {
  const two = embedding(2, "e");
  const at = (chunks: ReturnType<typeof lay>) =>
    chunks.map(({ insertions }) => insertions.map((one) => [one.at, one.embedding.triggers[0]]));

  test.each<readonly [string, readonly Row[], readonly (readonly (readonly [number, string])[])[]]>([
    ["1 e 2", [[[S, 1, 0, 0, 2, E, P, P]]], [[[2, "e"]]]],
    ["e", [[[S, 0, 0, E, P, P, P, P]]], [[[1, "e"]]]],
    [
      "1 (e:1.5)",
      [
        [
          [S, 1, 0, 0, E, P, P, P],
          [1, 1, 1.5, 1.5, 1, 1, 1, 1],
        ],
      ],
      [[[2, "e"]]],
    ],
    [
      "e e",
      [[[S, 0, 0, 0, 0, E, P, P]]],
      [
        [
          [1, "e"],
          [3, "e"],
        ],
      ],
    ],
    // at the border: whole in the one chunk or in the other
    ["1 2 3 4 e", [[[S, 1, 2, 3, 4, 0, 0, E]]], [[[5, "e"]]]],
    ["1 2 3 4 5 e 6", [[[S, 1, 2, 3, 4, 5, E, P]], [[S, 0, 0, 6, E, P, P, P]]], [[], [[1, "e"]]]],
    // carried along with what follows a comma
    ["1 2, e 3 4", [[[S, 1, 2, C, E, P, P, P]], [[S, 0, 0, 3, 4, E, P, P]]], [[], [[1, "e"]]]],
    ["e, 1 e 2", [[[S, 0, 0, C, E, P, P, P]], [[S, 1, 0, 0, 2, E, P, P]]], [[[1, "e"]], [[2, "e"]]]],
  ])("%j", (prompt, rows, insertions) => {
    const chunks = lay(prompt, [two]);
    expectRows(chunks, rows);
    expect(at(chunks)).toEqual(insertions);
  });

  test("of trigger words that begin alike the longest counts, and each of an embedding's words is one", () => {
    const chunks = lay("e x, e, y", [two, embedding(1, "e x", "y")], 12);
    expectRows(chunks, [[[S, 0, C, 0, 0, C, 0, E, P, P, P, P]]]);
    expect(at(chunks)).toEqual([
      [
        [1, "e x"],
        [3, "e"],
        [6, "e x"],
      ],
    ]);
  });

  test.each([
    [[embedding(7, "e")], "/e.pt: expected at most 6 vectors, which is what a chunk holds, got 7"],
    [[two, embedding(1, "x", "e")], '/x.pt: expected a trigger word of its own, got "e" as in /e.pt'],
    [[embedding(1, "-")], '/-.pt: expected a trigger word, got "-"'],
  ])("that cannot be used are refused (%#)", (embeddings, message) => {
    expect(() => lay("1 e", embeddings)).toThrow(new UsageError(message));
  });
});

test("a prompt has an end", () => {
  expect(lay("1 ".repeat(6 * 64))).toHaveLength(64);
  expect(() => lay("1 ".repeat(6 * 64 + 1))).toThrow("prompt: expected at most 64 chunks of 6 tokens, got more");
});

test("the window is the tokenizer's, and padding is its padding", async () => {
  const tokenizer = await openClipTokenizer(
    fileURLToPath(new URL("../fixtures/models/tiny-sd/tokenizer", import.meta.url)),
  );
  // vocab.json: start 598, end and padding 599
  const [a] = tokenizer.tokenize("a") as [number];
  const chunks = layOutChunks(parseAttention("a ".repeat(19)), tokenizer);
  expect(chunks.map(({ ids }) => ids)).toEqual([
    [598, ...Array<number>(18).fill(a), 599],
    [598, a, 599, ...Array<number>(17).fill(599)],
  ]);
  expect(tokenizer.encode("a (b) c").ids).toEqual(
    layOutChunks([{ kind: "text", text: "a (b) c", weight: 1 }], tokenizer)[0]!.ids,
  );
});
