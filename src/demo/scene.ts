/** @file Concrete scenes: shapes with places on the 8-pixel grid, which relations hold, sampling and small changes. */

import type { Background, Colour, Description, Relation, Shape, Size } from "./grammar.js";
import { BACKGROUNDS, COLOURS, RELATIONS, SHAPES, SIZES } from "./grammar.js";
import type { Random } from "./random.js";

/** Pixels along a side of every picture. */
export const PICTURE_SIZE = 64;
/** Shapes' boxes start at multiples of this many pixels, so that each 8x8 latent cell shows one of few patterns. */
export const GRID = 8;
/** Pixels across for each size. */
export const EXTENT: Readonly<Record<Size, number>> = { small: 16, large: 24 };
/** A relation holds when the boxes are at least this many pixels apart along its axis. */
export const RELATION_GAP = 4;

/** A shape with its box: `x`, `y` are the box's left and top in pixels, multiples of {@link GRID}. */
export interface PlacedShape {
  readonly shape: Shape;
  readonly colour: Colour;
  readonly size: Size;
  readonly x: number;
  readonly y: number;
}

/** A full scene: one or two shapes on a background. */
export interface Scene {
  readonly background: Background;
  readonly shapes: readonly [PlacedShape] | readonly [PlacedShape, PlacedShape];
}

/** A box in pixels. */
export interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** Whether box `a` stands in `relation` to box `b`: the near edges lie {@link RELATION_GAP} pixels apart or more. */
export function relationHolds(a: Box, relation: Relation, b: Box, gap: number = RELATION_GAP): boolean {
  switch (relation) {
    case "left of":
      return a.right + gap <= b.left;
    case "right of":
      return b.right + gap <= a.left;
    case "above":
      return a.bottom + gap <= b.top;
    case "below":
      return b.bottom + gap <= a.top;
    default:
      throw relation satisfies never;
  }
}

/** The box of a placed shape. */
export function boxOf(shape: PlacedShape): Box {
  const extent = EXTENT[shape.size];
  return { left: shape.x, top: shape.y, right: shape.x + extent, bottom: shape.y + extent };
}

/** The relations of the first shape to the second; one or, when they stand diagonally, two. Empty for a single shape. */
export function relationsOf(scene: Scene): Relation[] {
  const [first, second] = scene.shapes;
  if (second === undefined) return [];
  return RELATIONS.filter((relation) => relationHolds(boxOf(first), relation, boxOf(second)));
}

/** True when two boxes leave at least one grid cell between them along an axis. */
function apart(a: PlacedShape, b: PlacedShape): boolean {
  return RELATIONS.some((relation) => relationHolds(boxOf(a), relation, boxOf(b), GRID));
}

function samplePlace(random: Random, size: Size): { x: number; y: number } {
  const places = (PICTURE_SIZE - EXTENT[size]) / GRID + 1;
  return { x: GRID * random.below(places), y: GRID * random.below(places) };
}

function sampleShape(random: Random): PlacedShape {
  const size = random.pick(SIZES);
  return { shape: random.pick(SHAPES), colour: random.pick(COLOURS), size, ...samplePlace(random, size) };
}

/** Gives both shapes new places such that `relation` holds between them. */
function place(random: Random, a: PlacedShape, relation: Relation, b: PlacedShape): [PlacedShape, PlacedShape] {
  for (;;) {
    const first = { ...a, ...samplePlace(random, a.size) };
    const second = { ...b, ...samplePlace(random, b.size) };
    if (relationHolds(boxOf(first), relation, boxOf(second), GRID)) return [first, second];
  }
}

/** A random scene, balanced over shapes, colours, sizes, backgrounds and relations; six in ten have two shapes. */
export function sampleScene(random: Random, count: 1 | 2 = random.chance(0.6) ? 2 : 1): Scene {
  const background = random.pick(BACKGROUNDS);
  const first = sampleShape(random);
  if (count === 1) return { background, shapes: [first] };
  return { background, shapes: place(random, first, random.pick(RELATIONS), sampleShape(random)) };
}

const other = <T>(random: Random, items: readonly T[], than: T): T =>
  random.pick(items.filter((item) => item !== than));

/** The small changes {@link mutateScene} makes; the ones that keep the parts and change their binding are the hard ones. */
export const MUTATIONS = [
  "swap-colours", "swap-shapes", "swap-places", "turn", "shape", "colour", "size", "background", "count", "move",
] as const; // prettier-ignore
export type Mutation = (typeof MUTATIONS)[number];

/** A scene that differs by one change. Binding changes (first four) need two shapes and fall back to `shape`. */
export function mutateScene(random: Random, scene: Scene, mutation: Mutation): Scene {
  const [a, b] = scene.shapes;
  const replaceOne = (change: (shape: PlacedShape) => PlacedShape): Scene => {
    for (;;) {
      if (b === undefined) return { ...scene, shapes: [change(a)] };
      const changed: [PlacedShape, PlacedShape] = random.chance(0.5) ? [change(a), b] : [a, change(b)];
      if (apart(...changed)) return { ...scene, shapes: changed };
    }
  };
  const changeShape = (): Scene => replaceOne((s) => ({ ...s, shape: other(random, SHAPES, s.shape) }));
  switch (mutation) {
    case "swap-colours":
      if (b === undefined) return changeShape();
      return { ...scene, shapes: [{ ...a, colour: b.colour }, { ...b, colour: a.colour }] }; // prettier-ignore
    case "swap-shapes":
      if (b === undefined) return changeShape();
      return { ...scene, shapes: [{ ...a, shape: b.shape }, { ...b, shape: a.shape }] }; // prettier-ignore
    case "swap-places": {
      if (b === undefined) return changeShape();
      const first = { ...b, shape: a.shape, colour: a.colour };
      return { ...scene, shapes: [first, { ...a, shape: b.shape, colour: b.colour }] };
    }
    case "turn": {
      if (b === undefined) return changeShape();
      const held = relationsOf(scene);
      return { ...scene, shapes: place(random, a, random.pick(RELATIONS.filter((r) => !held.includes(r))), b) };
    }
    case "shape":
      return changeShape();
    case "colour":
      return replaceOne((s) => ({ ...s, colour: other(random, COLOURS, s.colour) }));
    case "size":
      return replaceOne((s) => {
        const size = other(random, SIZES, s.size);
        return { ...s, size, ...samplePlace(random, size) };
      });
    case "background":
      return { ...scene, background: other(random, BACKGROUNDS, scene.background) };
    case "count":
      if (b !== undefined) return { ...scene, shapes: [random.pick([a, b])] };
      return { ...scene, shapes: place(random, a, random.pick(RELATIONS), sampleShape(random)) };
    case "move":
      if (b === undefined) return { ...scene, shapes: [{ ...a, ...samplePlace(random, a.size) }] };
      return { ...scene, shapes: place(random, a, random.pick(relationsOf(scene)), b) };
    default:
      throw mutation satisfies never;
  }
}

/** A true description of `scene`: a true relation, either shape first, each optional word kept with probability `keep`. */
export function describe(random: Random, scene: Scene, keep = 0.5): Description {
  const turned = scene.shapes.length === 2 && random.chance(0.5);
  const [a, b] = turned ? [scene.shapes[1], scene.shapes[0]] : [scene.shapes[0], scene.shapes[1]];
  const shapeDescription = ({ size, colour, shape }: PlacedShape) =>
    random.chance(keep) ? { size, colour, shape } : { colour, shape };
  const first = shapeDescription(a as PlacedShape);
  const background = random.chance(keep) ? { background: scene.background } : {};
  if (b === undefined) return { first, ...background };
  const relation = random.pick(RELATIONS.filter((r) => relationHolds(boxOf(a as PlacedShape), r, boxOf(b))));
  return { first, pair: { relation, second: shapeDescription(b) }, ...background };
}
