/** @file Streams of training and evaluation material: scenes of one side of the split, groups of near misses, prompts. */

import type { Description } from "./grammar.js";
import { BACKGROUNDS, COLOURS, printDescription, SHAPES, SIZES } from "./grammar.js";
import type { Random } from "./random.js";
import { createRandom } from "./random.js";
import type { Mutation, Scene } from "./scene.js";
import { describe, MUTATIONS, mutateScene, sampleScene } from "./scene.js";
import { isHeldOut, isHeldOutScene } from "./split.js";

/** A random scene that training may render. */
export function sampleTrainingScene(random: Random, count?: 1 | 2): Scene {
  for (;;) {
    const scene = sampleScene(random, count);
    if (!isHeldOutScene(scene)) return scene;
  }
}

/** A description of a training scene that is not itself held out (a diagonal pair has two relations). */
export function describeForTraining(random: Random, scene: Scene, keep?: number): Description {
  for (;;) {
    const description = describe(random, scene, keep);
    if (!isHeldOut(description)) return description;
  }
}

/** Bindings and relations are hardest to learn and drawn most. */
const WEIGHTS: Readonly<Record<Mutation, number>> = {
  "swap-colours": 3, "swap-shapes": 3, "swap-places": 3, turn: 3, shape: 3, colour: 2, size: 2, background: 1, count: 1, move: 1,
}; // prettier-ignore
const BAG = MUTATIONS.flatMap((mutation) => Array.from({ length: WEIGHTS[mutation] }, () => mutation));

/** A training scene and `size - 1` near misses of it, one change each (sometimes two). */
export function sampleGroup(random: Random, size: number): Scene[] {
  const scene = sampleTrainingScene(random, random.chance(0.75) ? 2 : 1);
  const group = [scene];
  while (group.length < size) {
    let near = mutateScene(random, scene, random.pick(BAG));
    if (random.chance(0.2)) near = mutateScene(random, near, random.pick(BAG));
    if (!isHeldOutScene(near)) group.push(near);
  }
  return group;
}

/** The held-out descriptions of one shape: full ones only, in a fixed order. */
export function heldOutSingles(): Description[] {
  return COLOURS.flatMap((colour) =>
    SHAPES.flatMap((shape) =>
      SIZES.flatMap((size) => BACKGROUNDS.map((background) => ({ first: { size, colour, shape }, background }))),
    ),
  ).filter(isHeldOut);
}

/**
 * Canonical prompts for evaluation, all held out: even places name two shapes and a relation (all different), odd places
 * one shape. There are fewer held-out single shapes than places, so these recur (with other seeds).
 */
export function evaluationPrompts(count = 200, seed = 2026): string[] {
  const random = createRandom(seed);
  const singles = heldOutSingles();
  const pairs = new Set<string>();
  while (pairs.size < Math.ceil(count / 2)) {
    const description = describe(random, sampleScene(random, 2), 0.4);
    if (isHeldOut(description)) pairs.add(printDescription(description));
  }
  const pairList = [...pairs];
  return Array.from({ length: count }, (_, i) =>
    i % 2 === 0
      ? (pairList[i / 2] as string)
      : printDescription(singles[((i - 1) / 2) % singles.length] as Description),
  );
}

/** Canonical prompts to train on, none of them held out; a prompt may come more than once. */
export function trainingPrompts(count = 2000, seed = 4242): string[] {
  const random = createRandom(seed);
  return Array.from({ length: count }, () =>
    printDescription(describeForTraining(random, sampleTrainingScene(random))),
  );
}
