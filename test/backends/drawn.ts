/** @file A request for pictures with nothing left open, and all that a backend draws for it. */

import type { GeneratedGroup, GeneratedImage, ImageBackend, ImageRequest } from "#laurel/backends/contract";

/** Three small pictures from seed 40. */
export function request(change: Partial<ImageRequest> = {}): ImageRequest {
  return {
    prompt: "a cat",
    negativePrompt: undefined,
    seed: 40,
    count: 3,
    batch: 2,
    sampler: undefined,
    init: undefined,
    mask: undefined,
    strength: undefined,
    width: 64,
    height: 64,
    steps: 4,
    guidance: 5,
    ...change,
  } as ImageRequest;
}

/** What `backend` draws for `asked`, with each warning as often as it was told. */
export async function drawn(
  backend: ImageBackend,
  asked: ImageRequest,
): Promise<{ images: GeneratedImage[]; warnings: string[] }> {
  const groups: GeneratedGroup[] = [];
  for await (const group of backend.generate(asked)) groups.push(group);
  return { images: groups.flatMap((one) => one.images), warnings: groups.flatMap((one) => one.warnings) };
}
