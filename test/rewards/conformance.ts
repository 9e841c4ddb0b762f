/** @file What every reward has to hold: call `rewardConformance` in a reward's test file. */

import { describe, expect, test } from "vitest";
import { CancelledError } from "#laurel/errors";
import type { RgbImage, SourceImage } from "#laurel/image/types";
import type { Reward } from "#laurel/rewards/contract";

/** A reward under test. */
export interface Subject {
  /** Opens it with the given batch; called for each batch. */
  open(batch?: number): Promise<Reward>;
  /** At least five different images. */
  images(): Promise<readonly (RgbImage | SourceImage)[]>;
  readonly prompt: string;
  /** False for a reward that reads no prompt. @default true */
  readonly readsText?: boolean;
  /** A prompt that is longer than the reward reads, and a word of the part that is cut; of a reward that reads text. */
  readonly longPrompt?: { readonly text: string; readonly cut: string };
}

/** A steady pattern, different for each seed. */
function pattern(seed: number): RgbImage {
  const [width, height] = [40 + 3 * seed, 64];
  const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * (7 + seed) + (i >> 4) * 13) & 255);
  return { width, height, data };
}

/** The shared suite. */
export function rewardConformance(name: string, subject: Subject): void {
  describe(`${name} keeps the reward contract`, () => {
    test("one finite score an image, in the order of the images", async () => {
      const reward = await subject.open();
      const images = await subject.images();
      const forwards = await reward.score(subject.prompt, images);
      expect(forwards.scores).toHaveLength(images.length);
      expect(forwards.scores.every(Number.isFinite)).toBe(true);
      expect(new Set(forwards.scores).size).toBeGreaterThan(1);
      const backwards = await reward.score(subject.prompt, [...images].reverse());
      expect(backwards.scores).toEqual([...forwards.scores].reverse());
      expect(forwards.warnings).toEqual([]);
      await reward.dispose();
    });

    test("a score does not depend on the images beside it, bit for bit", async () => {
      const images = [...(await subject.images()), ...[0, 1, 2, 3, 4, 5].map(pattern)];
      const expected: number[] = [];
      const single = await subject.open(1);
      for (const image of images) expected.push(...(await single.score(subject.prompt, [image])).scores);
      for (const batch of [2, 3, 8, 64]) {
        const reward = await subject.open(batch);
        expect((await reward.score(subject.prompt, images)).scores).toEqual(expected);
        await reward.dispose();
      }
      await single.dispose();
    });

    test.runIf(subject.readsText === false)("no prompt changes a score or is warned of", async () => {
      const reward = await subject.open();
      const image = pattern(1);
      const short = await reward.score("", [image]);
      expect(await reward.score("words ".repeat(200), [image])).toEqual(short);
      expect(short.warnings).toEqual([]);
      await reward.dispose();
    });

    test.skipIf(subject.readsText === false)("the prompt matters, and the empty one is allowed", async () => {
      const reward = await subject.open();
      const image = pattern(1);
      const [first] = (await reward.score(subject.prompt, [image])).scores;
      const [second] = (await reward.score("", [image])).scores;
      expect(first).not.toBe(second);
      await reward.dispose();
    });

    test.skipIf(subject.longPrompt === undefined)(
      "a prompt that is cut is reported once, with what was cut",
      async () => {
        const { text, cut } = subject.longPrompt!;
        const reward = await subject.open(1);
        const { warnings } = await reward.score(text, [pattern(1), pattern(2)]);
        expect(warnings).toHaveLength(1);
        expect(warnings[0]).toContain("not read");
        expect(warnings[0]).toContain(cut);
        await reward.dispose();
      },
    );

    test("no images, no scores", async () => {
      const reward = await subject.open();
      expect(await reward.score(subject.prompt, [])).toMatchObject({ scores: [], warnings: [] });
      await reward.dispose();
    });

    test("an aborted signal rejects with CancelledError; afterwards it works", async () => {
      const reward = await subject.open(1);
      const controller = new AbortController();
      controller.abort();
      const images = [pattern(1), pattern(2)];
      await expect(reward.score(subject.prompt, images, { signal: controller.signal })).rejects.toBeInstanceOf(
        CancelledError,
      );
      expect((await reward.score(subject.prompt, images)).scores).toHaveLength(2);
      await reward.dispose();
    });

    test("a disposed reward can be asked again, and gives the same", async () => {
      const reward = await subject.open();
      const before = await reward.score(subject.prompt, [pattern(1)]);
      await reward.dispose();
      expect(await reward.score(subject.prompt, [pattern(1)])).toEqual(before);
      await reward.dispose();
    });

    test("name and range say how to show it", async () => {
      const reward = await subject.open();
      expect(reward.name).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/);
      expect(reward.range[0]).toBeLessThan(reward.range[1]);
      await reward.dispose();
    });
  });
}
