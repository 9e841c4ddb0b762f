/** @file The held-out tenth: which scenes and descriptions no training may render, decided by a hash of their words. */

import type { Description, Relation, ShapeDescription } from "./grammar.js";
import { INVERSE, printDescription } from "./grammar.js";
import type { Scene } from "./scene.js";
import { relationsOf } from "./scene.js";

/** FNV-1a over UTF-16 code units, finished with murmur3's mixer; a uniform 32-bit hash of `text`. */
export function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

const inTenth = (key: string): boolean => hash32(key) % 10 === 1;

/** Which shape stands how to which, sizes and background left out, written from the left or upper shape. */
function pairKey(first: ShapeDescription, relation: Relation, second: ShapeDescription): string {
  const plain = ({ colour, shape }: ShapeDescription): ShapeDescription => ({ colour, shape });
  const [a, r, b] =
    relation === "right of" || relation === "below" ? [second, INVERSE[relation], first] : [first, relation, second];
  return printDescription({ first: plain(a), pair: { relation: r, second: plain(b) } });
}

/**
 * Whether every picture that fits `description` is held out. Two shapes: by colours, shapes and relation, whatever the
 * sizes, the background and the order of naming. One shape: by the full description; one that leaves its size or the
 * background free fits pictures on both sides of the split and is not held out.
 */
export function isHeldOut(description: Description): boolean {
  const { first, pair, background } = description;
  if (pair !== undefined) return inTenth(pairKey(first, pair.relation, pair.second));
  return first.size !== undefined && background !== undefined && inTenth(printDescription(description));
}

/** Whether a true description of `scene` is held out; such scenes are never rendered in training. */
export function isHeldOutScene(scene: Scene): boolean {
  const [first, second] = scene.shapes;
  if (second === undefined) return isHeldOut({ first, background: scene.background });
  return relationsOf(scene).some((relation) => isHeldOut({ first, pair: { relation, second } }));
}
