/** @file Training material of the demo world as tensors: every sample depends on the seed and its number alone, so a run can go on anywhere. */

import { describeForTraining, sampleGroup, sampleTrainingScene } from "../demo/dataset.js";
import { judge } from "../demo/oracle.js";
import { phrase } from "../demo/phrasings.js";
import type { Description } from "../demo/grammar.js";
import { printDescription } from "../demo/grammar.js";
import type { Random } from "../demo/random.js";
import { createRandom } from "../demo/random.js";
import type { Picture } from "../demo/render.js";
import { renderScene } from "../demo/render.js";
import type { Scene } from "../demo/scene.js";
import { EXTENT, GRID, PICTURE_SIZE } from "../demo/scene.js";
import { hash32 } from "../demo/split.js";
import { preprocessClip } from "../image/preprocess.js";
import type { Tensor } from "../tensor/tensor.js";
import { float32, int64 } from "../tensor/tensor.js";
import type { Tokenizer } from "../tokenizers/types.js";

/** The random choices of sample `index`. */
export function sampleRandom(seed: number, index: number): Random {
  return createRandom(hash32(`${seed}/${index}`));
}

/** A scene with its picture. */
export interface RenderedScene {
  readonly scene: Scene;
  readonly picture: Picture;
}

/** A scene that training may see, drawn. */
export function trainingSample(random: Random): RenderedScene {
  const scene = sampleTrainingScene(random);
  return { scene, picture: renderScene(scene, random) };
}

/** A canonical prompt of a scene. */
export function canonicalPrompt(random: Random, scene: Scene): string {
  return printDescription(describeForTraining(random, scene));
}

/** A prompt of a description for the readers of free text: canonical in two of five cases, else one of the training phrasings. */
export function freePrompt(random: Random, description: Description): string {
  return random.chance(0.4) ? printDescription(description) : phrase(random, description, "train");
}

/** Two pictures of one prompt, of which the first fits better. */
export interface RankedPair {
  readonly prompt: string;
  readonly better: Picture;
  readonly worse: Picture;
}

/** Share of pairs in which both pictures fit and the worse one is blurred: fidelity counts after alignment. */
const FIDELITY_SHARE = 0.1;

/** A pair of renders: a scene the prompt is true of, and a near miss that the oracle says it is not. */
export function rankedPair(random: Random): RankedPair {
  for (;;) {
    const [scene, near] = sampleGroup(random, 2) as [Scene, Scene];
    const description = describeForTraining(random, scene);
    const better = renderScene(scene, random);
    const prompt = freePrompt(random, description);
    if (random.chance(FIDELITY_SHARE)) return { prompt, better, worse: blurred(better) };
    const worse = renderScene(near, random);
    if (judge(description, worse).verdict === "fails") return { prompt, better, worse };
  }
}

/** The mean of each pixel's 3x3 neighbourhood. */
function blurred({ width, height, data }: Picture): Picture {
  const result = new Uint8Array(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let dy = -1; dy <= 1; dy++) {
          for (let dx = -1; dx <= 1; dx++) {
            const [row, column] = [Math.min(height - 1, Math.max(0, y + dy)), Math.min(width - 1, Math.max(0, x + dx))];
            sum += data[3 * (row * width + column) + c] as number;
          }
        }
        result[3 * (y * width + x) + c] = Math.round(sum / 9);
      }
    }
  }
  return { width, height, data: result };
}

/** Pixels in [-1, 1], float32 [N, 3, H, W]. */
export function imageTensor(pictures: readonly Picture[]): Tensor<"float32"> {
  const { width, height } = pictures[0] as Picture;
  const plane = width * height;
  const values = new Float32Array(pictures.length * 3 * plane);
  pictures.forEach(({ data }, n) => {
    for (let i = 0; i < plane; i++) {
      for (let c = 0; c < 3; c++) values[(3 * n + c) * plane + i] = (data[3 * i + c] as number) / 127.5 - 1;
    }
  });
  return float32([pictures.length, 3, height, width], values);
}

/** Pixels as CLIP-like networks read them, float32 [N, 3, size, size]. */
export function clipTensor(pictures: readonly Picture[], size: number): Tensor<"float32"> {
  const values = new Float32Array(pictures.length * 3 * size * size);
  pictures.forEach((picture, n) => values.set(preprocessClip(picture, size), n * 3 * size * size));
  return float32([pictures.length, 3, size, size], values);
}

/** 1 where a picture shows its background (the median colour of its border), `factor` where it shows a shape; [N, 1, H, W]. */
export function foregroundWeights(pictures: readonly Picture[], factor: number): Tensor<"float32"> {
  const { width, height } = pictures[0] as Picture;
  const values = new Float32Array(pictures.length * width * height);
  pictures.forEach(({ data }, n) => {
    const counts = new Map<number, number>();
    for (let i = 0; i < width * height; i++) {
      const key = ((data[3 * i] as number) << 16) | ((data[3 * i + 1] as number) << 8) | (data[3 * i + 2] as number);
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    const [background] = [...counts].reduce((most, entry) => (entry[1] > most[1] ? entry : most));
    for (let i = 0; i < width * height; i++) {
      const key = ((data[3 * i] as number) << 16) | ((data[3 * i + 1] as number) << 8) | (data[3 * i + 2] as number);
      values[n * width * height + i] = key === background ? 1 : factor;
    }
  });
  return float32([pictures.length, 1, height, width], values);
}

/** A square part of a picture, `side` pixels, at a multiple of the grid; three in four show a shape. */
export function cropped({ scene, picture }: RenderedScene, side: number, random: Random): Picture {
  if (side >= PICTURE_SIZE) return picture;
  const cells = (PICTURE_SIZE - side) / GRID;
  const shape = random.pick(scene.shapes);
  const around = random.chance(0.75);
  const place = (from: number, extent: number): number => {
    if (!around) return GRID * random.below(cells + 1);
    const centre = Math.round((from + extent / 2 - side / 2) / GRID) + random.below(3) - 1;
    return GRID * Math.min(cells, Math.max(0, centre));
  };
  const [left, top] = [place(shape.x, EXTENT[shape.size]), place(shape.y, EXTENT[shape.size])];
  const data = new Uint8Array(side * side * 3);
  for (let y = 0; y < side; y++) {
    const start = 3 * ((top + y) * picture.width + left);
    data.set(picture.data.subarray(start, start + 3 * side), 3 * y * side);
  }
  return { width: side, height: side, data };
}

/** Token ids and mask of prompts, int64 [N, L]. */
export function tokenTensors(
  tokenizer: Tokenizer,
  prompts: readonly string[],
): { ids: Tensor<"int64">; mask: Tensor<"int64"> } {
  const encodings = prompts.map((prompt) => tokenizer.encode(prompt));
  const shape = [prompts.length, tokenizer.maxLength];
  return {
    ids: int64(
      shape,
      encodings.flatMap(({ ids }) => ids),
    ),
    mask: int64(
      shape,
      encodings.flatMap(({ mask }) => mask),
    ),
  };
}
