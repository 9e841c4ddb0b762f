/** @file CLIP's shipped vocabulary: the ids of open_clip's own tokenizer. */

import { expect, test } from "vitest";
import { openStandardClipTokenizer } from "#laurel/tokenizers/clip-standard";

/** open_clip_torch 3.3.0: `get_tokenizer("ViT-H-14")([text])`, without its padding by 0. */
const IDS: Readonly<Record<string, readonly number[]>> = {
  "a photo of a cat": [49406, 320, 1125, 539, 320, 2368, 49407],
  "Ça va? naïve café 3.14 it's!!": [
    49406, 22711, 1892, 286, 1097, 35689, 563, 15304, 274, 269, 272, 275, 585, 568, 748, 49407,
  ],
  "<3 the QUICK brown fox's_tail; don't": [
    49406, 283, 274, 518, 3712, 2866, 3240, 568, 318, 4132, 282, 847, 713, 49407,
  ],
};

test.each(Object.entries(IDS))("%s", async (text, ids) => {
  const tokenizer = await openStandardClipTokenizer("!");
  expect(tokenizer.vocabularySize).toBe(49_408);
  expect(tokenizer.encode(text).ids).toEqual([...ids, ...new Array<number>(77 - ids.length).fill(0)]);
  expect((await openStandardClipTokenizer()).encode(text).ids.at(-1)).toBe(49_407);
});
