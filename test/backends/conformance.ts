/** @file What every image backend must do; each backend's test calls it with its own subject. */

import { expect, test } from "vitest";
import type { GeneratedImage, ImageBackend, ImageRequest } from "#laurel/backends/contract";
import { resolveRequest } from "#laurel/backends/resolve";
import { CancelledError, UsageError } from "#laurel/errors";

/** A backend to test, cheap enough to draw about twenty pictures. */
export interface BackendSubject {
  open(): Promise<ImageBackend>;
  readonly prompt: string;
  /** Settings that keep a picture cheap. */
  readonly settings?: Partial<ImageRequest>;
}

/** Declares the tests of the ImageBackend contract. */
export function backendConformance(subject: BackendSubject): void {
  let opened: Promise<ImageBackend> | undefined;
  const open = (): Promise<ImageBackend> => (opened ??= subject.open());
  const request = async (change: Partial<ImageRequest> = {}): Promise<ImageRequest> => {
    const open_ = { prompt: subject.prompt, negativePrompt: undefined, seed: 40, count: 5, batch: 2 };
    const unset = { steps: undefined, guidance: undefined, sampler: undefined, width: undefined, height: undefined };
    return resolveRequest(await open(), { ...unset, ...open_, ...subject.settings, ...change }).request;
  };
  const draw = async (change: Partial<ImageRequest> = {}): Promise<GeneratedImage[]> => {
    const images: GeneratedImage[] = [];
    for await (const group of (await open()).generate(await request(change))) images.push(...group.images);
    return images.sort((a, b) => a.seed - b.seed);
  };

  test("its defaults are within its own capabilities", async () => {
    const resolved = resolveRequest(await open(), { ...(await request()), batch: undefined });
    expect(resolved.warnings).toEqual([]);
  });

  test("candidate i is drawn from seed + i, at the size asked for", async () => {
    const asked = await request();
    const images = await draw();
    expect(images.map((image) => image.seed)).toEqual([40, 41, 42, 43, 44]);
    for (const { image, evaluations } of images) {
      if (asked.width !== undefined) expect([image.width, image.height]).toEqual([asked.width, asked.height]);
      expect(image.data.length).toBe(image.width * image.height * 3);
      expect(evaluations).toBeGreaterThanOrEqual(0);
    }
  });

  test("a picture to start from, where it can be honoured, decides what comes out", async () => {
    const { imageToImage, size } = (await open()).capabilities;
    if (!imageToImage || size === undefined) return;
    const side = 8 * size.multiple;
    const plain = (grey: number) => ({ width: side, height: side, data: new Uint8Array(side * side * 3).fill(grey) });
    const [dark] = await draw({ count: 1, init: plain(20), strength: 0.6 });
    const [light] = await draw({ count: 1, init: plain(235), strength: 0.6 });
    expect([dark!.image.width, dark!.image.height]).toEqual([side, side]);
    expect(dark!.image.data).not.toEqual(light!.image.data);
    expect(dark!.evaluations).toBeLessThanOrEqual((await draw({ count: 1 }))[0]!.evaluations);
  });

  test("groups hold at most batch candidates", async () => {
    for await (const group of (await open()).generate(await request()))
      expect(group.images.length).toBeLessThanOrEqual(2);
  });

  test("different seeds give different pictures", async () => {
    const images = await draw({ count: 3 });
    expect(new Set(images.map(({ image }) => Buffer.from(image.data).toString("base64"))).size).toBe(3);
  });

  test("a backend with exact seeds gives equal bytes for equal seeds, whatever the group", async () => {
    if ((await open()).capabilities.seeds !== "exact") return;
    const together = await draw({ batch: 3, count: 4 });
    const alone = await draw({ seed: 42, count: 1, batch: 1 });
    const again = await draw({ seed: 42, count: 2, batch: 2 });
    expect(alone[0]?.image).toEqual(together[2]?.image);
    expect(again.map(({ image }) => image)).toEqual(together.slice(2).map(({ image }) => image));
  });

  test("progress counts up to the last step of each group", async () => {
    const seen: string[] = [];
    const onProgress = (progress: { step: number; steps: number; candidates: number }): void => {
      expect(progress.step).toBeLessThanOrEqual(progress.steps);
      if (progress.step === progress.steps) seen.push(`${progress.candidates} done`);
    };
    for await (const group of (await open()).generate(await request({ count: 3 }), { onProgress })) {
      expect(group.images.length).toBeGreaterThan(0);
    }
    const { batch } = await request();
    expect(seen.sort()).toEqual(batch === 1 ? ["1 done", "1 done", "1 done"] : ["1 done", "2 done"]);
  });

  test("an aborted signal ends it with CancelledError, before and during the work", async () => {
    const before = (await open()).generate(await request(), { signal: AbortSignal.abort() });
    await expect(before.next()).rejects.toBeInstanceOf(CancelledError);
    const controller = new AbortController();
    const during = (await open()).generate(await request(), {
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    await expect(during.next()).rejects.toBeInstanceOf(CancelledError);
  });

  test("it works again after a cancellation, and can be left early", async () => {
    for await (const group of (await open()).generate(await request())) {
      expect(group.images.length).toBeGreaterThan(0);
      break;
    }
    expect(await draw({ count: 1 })).toHaveLength(1);
  });

  test("a request outside its capabilities is refused before any work", async () => {
    const backend = await open();
    const refused = async (change: Partial<ImageRequest>): Promise<void> => {
      const wrong = { ...(await request()), ...change };
      await expect(backend.generate(wrong).next()).rejects.toBeInstanceOf(UsageError);
    };
    await refused({ seed: 2 ** 32 - 2, count: 2 });
    await refused({ seed: -1 });
    await refused({ count: 0 });
    const { size, samplers } = backend.capabilities;
    if (size !== undefined) await refused({ width: size.maximum + size.multiple });
    if (size !== undefined && size.multiple > 1) await refused({ height: size.minimum + 1 });
    if (samplers.length > 0) await refused({ sampler: "no such sampler" });
  });
}
