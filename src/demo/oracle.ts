/** @file The oracle: reads a picture back without any model, and judges a description against what it read. */

import type { Background, Colour, Description, Shape, ShapeDescription, Size } from "./grammar.js";
import { BACKGROUNDS, COLOURS, SHAPES } from "./grammar.js";
import { HUES, inside, LEVELS } from "./render.js";
import type { Box } from "./scene.js";
import { RELATION_GAP, relationHolds } from "./scene.js";

/** Eight-bit RGB pixels; any size, though the thresholds are those of 64x64 pictures. */
export interface ReadablePicture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** A shape as read; a property the oracle cannot tell is undefined, never guessed. `box` is in pixels. */
export interface ReadShape {
  readonly shape: Shape | undefined;
  readonly colour: Colour | undefined;
  readonly size: Size | undefined;
  readonly box: Box;
}

/** What a picture shows. `problems` says in words what could not be read. */
export interface Reading {
  readonly background: Background | undefined;
  readonly shapes: readonly ReadShape[];
  readonly problems: readonly string[];
}

/** All thresholds in one place. Chroma is max(R,G,B) - min(R,G,B), 0..255; shapes have >= 200, backgrounds about 0. */
const LIMIT = {
  /** A pixel belongs to a shape above this chroma; half of a pure colour's, so that edges are cut at half coverage. */
  chroma: 105,
  /** A background pixel has at most this chroma and lies within `level` of a background's grey. */
  backgroundChroma: 60,
  level: 45,
  /** Shares of the picture's uncoloured pixels that must agree with the background. */
  backgroundShare: 0.93,
  /** Components of fewer pixels are noise; of fewer than `debris` they are something that should not be there. */
  speck: 6,
  debris: 80,
  /** Overlap with the best-fitting shape, and its lead over the second. */
  overlap: 0.7,
  lead: 0.05,
  /** Share of a component's inner pixels that have its colour. */
  uniform: 0.9,
  /** A hue within this share of the way to the neighbouring colour is that colour's. */
  hueShare: 0.44,
  /** Extents in pixels read as small and as large. */
  small: [13, 18.6],
  large: [21.2, 27],
} as const;

/** Hue in degrees of an RGB triple with some chroma. */
function hueOf(r: number, g: number, b: number): number {
  const high = Math.max(r, g, b);
  const chroma = high - Math.min(r, g, b);
  const sector = high === r ? (g - b) / chroma : high === g ? 2 + (b - r) / chroma : 4 + (r - g) / chroma;
  return (60 * sector + 360) % 360;
}

/** Signed difference of two hues in (-180, 180]. */
function hueDifference(a: number, b: number): number {
  return ((((a - b + 180) % 360) + 360) % 360) - 180;
}

/** The colour whose hue is clearly nearest, or undefined between two. */
function nameHue(hue: number): Colour | undefined {
  for (let i = 0; i < COLOURS.length; i++) {
    const colour = COLOURS[i] as Colour;
    const offset = hueDifference(hue, HUES[colour]);
    const neighbour = COLOURS[(i + (offset > 0 ? 1 : COLOURS.length - 1)) % COLOURS.length] as Colour;
    if (Math.abs(offset) <= LIMIT.hueShare * Math.abs(hueDifference(HUES[neighbour], HUES[colour]))) return colour;
  }
  return undefined;
}

const chromaAt = (picture: ReadablePicture, pixel: number): number => {
  const r = picture.data[3 * pixel] ?? 0;
  const g = picture.data[3 * pixel + 1] ?? 0;
  const b = picture.data[3 * pixel + 2] ?? 0;
  return Math.max(r, g, b) - Math.min(r, g, b);
};

/** The background, when nearly all pixels away from shapes have its grey. */
function readBackground(picture: ReadablePicture, mask: Uint8Array): Background | undefined {
  const { width, height, data } = picture;
  const counts = new Map<Background | undefined, number>();
  let total = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (nearMask(mask, width, height, x, y)) continue;
      const at = 3 * (y * width + x);
      const grey = ((data[at] ?? 0) + (data[at + 1] ?? 0) + (data[at + 2] ?? 0)) / 3;
      const plain = chromaAt(picture, y * width + x) <= LIMIT.backgroundChroma;
      const name = plain ? BACKGROUNDS.find((each) => Math.abs(LEVELS[each] - grey) <= LIMIT.level) : undefined;
      counts.set(name, (counts.get(name) ?? 0) + 1);
      total++;
    }
  }
  return BACKGROUNDS.find((name) => (counts.get(name) ?? 0) >= LIMIT.backgroundShare * total && total > 0);
}

/** Whether a shape's pixel lies within two pixels. */
function nearMask(mask: Uint8Array, width: number, height: number, x: number, y: number): boolean {
  for (let v = Math.max(0, y - 2); v <= Math.min(height - 1, y + 2); v++) {
    for (let u = Math.max(0, x - 2); u <= Math.min(width - 1, x + 2); u++) {
      if (mask[v * width + u] === 1) return true;
    }
  }
  return false;
}

/** Connected groups (four neighbours) of mask pixels, each as pixel indices. */
function components(mask: Uint8Array, width: number): number[][] {
  const seen = new Uint8Array(mask.length);
  const found: number[][] = [];
  for (let start = 0; start < mask.length; start++) {
    if (mask[start] !== 1 || seen[start] === 1) continue;
    const group = [start];
    seen[start] = 1;
    for (let next = 0; next < group.length; next++) {
      const pixel = group[next] as number;
      const x = pixel % width;
      for (const step of [x > 0 ? -1 : 0, x < width - 1 ? 1 : 0, -width, width]) {
        const neighbour = pixel + step;
        if (mask[neighbour] !== 1 || seen[neighbour] === 1) continue;
        seen[neighbour] = 1;
        group.push(neighbour);
      }
    }
    found.push(group);
  }
  return found;
}

function boxOfPixels(pixels: readonly number[], width: number): Box {
  let [left, top, right, bottom] = [Infinity, Infinity, 0, 0];
  for (const pixel of pixels) {
    const x = pixel % width;
    const y = Math.floor(pixel / width);
    left = Math.min(left, x);
    right = Math.max(right, x + 1);
    top = Math.min(top, y);
    bottom = Math.max(bottom, y + 1);
  }
  return { left, top, right, bottom };
}

/** Overlap (intersection over union) of the pixels with `shape` drawn in `box`. */
function overlapWith(shape: Shape, own: ReadonlySet<number>, box: Box, width: number): number {
  const [w, h] = [box.right - box.left, box.bottom - box.top];
  let both = 0;
  let either = 0;
  for (let y = box.top; y < box.bottom; y++) {
    for (let x = box.left; x < box.right; x++) {
      const drawn = inside(shape, (x + 0.5 - box.left) / w, (y + 0.5 - box.top) / h);
      const here = own.has(y * width + x);
      if (drawn && here) both++;
      if (drawn || here) either++;
    }
  }
  return both / either;
}

/** The shape that clearly fits best; a box far from square fits none. */
function readShapeKind(pixels: readonly number[], box: Box, width: number): Shape | undefined {
  const [w, h] = [box.right - box.left, box.bottom - box.top];
  if (Math.max(w, h) > 1.3 * Math.min(w, h)) return undefined;
  const own = new Set(pixels);
  const fits = SHAPES.map((shape) => ({ shape, overlap: overlapWith(shape, own, box, width) }));
  const [best, second] = fits.sort((a, b) => b.overlap - a.overlap);
  if (best === undefined || second === undefined) return undefined;
  return best.overlap >= LIMIT.overlap && best.overlap - second.overlap >= LIMIT.lead ? best.shape : undefined;
}

/** The colour, when nearly all inner pixels agree on it. */
function readColour(picture: ReadablePicture, pixels: readonly number[]): Colour | undefined {
  const inner = pixels.filter((pixel) => chromaAt(picture, pixel) >= 1.5 * LIMIT.chroma);
  if (inner.length < pixels.length / 3) return undefined;
  const hues = inner.map((pixel) =>
    hueOf(picture.data[3 * pixel] ?? 0, picture.data[3 * pixel + 1] ?? 0, picture.data[3 * pixel + 2] ?? 0),
  );
  // The mean direction, then the mean offset from it: exact enough and safe across 0 degrees.
  const radians = hues.map((hue) => (hue * Math.PI) / 180);
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  const mean = (Math.atan2(sum(radians.map(Math.sin)), sum(radians.map(Math.cos))) * 180) / Math.PI;
  const agreeing = hues.filter((hue) => Math.abs(hueDifference(hue, mean)) <= 20).length;
  return agreeing >= LIMIT.uniform * hues.length ? nameHue((mean + 360) % 360) : undefined;
}

function readSize(shape: Shape | undefined, box: Box): Size | undefined {
  if (shape === undefined) return undefined;
  const [w, h] = [box.right - box.left, box.bottom - box.top];
  // A blurred triangle loses its tip: its base tells the size.
  const extent = shape === "triangle" ? Math.max(w, h) : (w + h) / 2;
  if (extent >= LIMIT.small[0] && extent <= LIMIT.small[1]) return "small";
  if (extent >= LIMIT.large[0] && extent <= LIMIT.large[1]) return "large";
  return undefined;
}

/** Reads a picture: background, and each coloured shape with its kind, colour and size. */
export function readScene(picture: ReadablePicture): Reading {
  const { width, height } = picture;
  const mask = Uint8Array.from({ length: width * height }, (_, pixel) =>
    chromaAt(picture, pixel) >= LIMIT.chroma ? 1 : 0,
  );
  const problems: string[] = [];
  const shapes: ReadShape[] = [];
  for (const pixels of components(mask, width)) {
    if (pixels.length < LIMIT.speck) continue;
    const box = boxOfPixels(pixels, width);
    if (pixels.length < LIMIT.debris) {
      problems.push(`a fragment of ${pixels.length} pixels at ${box.left},${box.top}`);
      continue;
    }
    const shape = readShapeKind(pixels, box, width);
    const read = { shape, colour: readColour(picture, pixels), size: readSize(shape, box), box };
    if (read.shape === undefined) problems.push(`an unclear shape at ${box.left},${box.top}`);
    else if (read.size === undefined) problems.push(`a ${read.shape} of unclear size at ${box.left},${box.top}`);
    if (read.colour === undefined) problems.push(`an unclear colour at ${box.left},${box.top}`);
    shapes.push(read);
  }
  const background = readBackground(picture, mask);
  if (background === undefined) problems.push("an unclear background");
  return { background, shapes, problems };
}

/** A fact a description states, and whether it holds; undefined when it cannot be read. */
export interface Fact {
  readonly name: string;
  readonly holds: boolean | undefined;
}

/** "holds": all facts are read and true. "fails": one is false. "unreadable": none is false, but not all can be read. */
export interface Judgement {
  readonly verdict: "holds" | "fails" | "unreadable";
  readonly facts: readonly Fact[];
}

const matches = <T>(stated: T, read: T | undefined): boolean | undefined =>
  read === undefined ? undefined : stated === read;

function shapeFacts(which: string, stated: ShapeDescription, read: ReadShape | undefined): Fact[] {
  const facts: Fact[] = [
    { name: `${which} colour`, holds: read === undefined ? false : matches(stated.colour, read.colour) },
    { name: `${which} shape`, holds: read === undefined ? false : matches(stated.shape, read.shape) },
  ];
  if (stated.size !== undefined) {
    facts.push({ name: `${which} size`, holds: read === undefined ? false : matches(stated.size, read.size) });
  }
  return facts;
}

function judgeWith(description: Description, reading: Reading, a?: ReadShape, b?: ReadShape): Fact[] {
  const { first, pair, background } = description;
  const facts = shapeFacts("first", first, a);
  if (pair !== undefined) {
    facts.push(...shapeFacts("second", pair.second, b));
    const related = a !== undefined && b !== undefined && relationHolds(a.box, pair.relation, b.box, RELATION_GAP - 1);
    facts.push({ name: "relation", holds: related });
  }
  if (background !== undefined) facts.push({ name: "background", holds: matches(background, reading.background) });
  const fragments = reading.problems.some((problem) => problem.startsWith("a fragment"));
  const count = reading.shapes.length === (pair === undefined ? 1 : 2);
  facts.push({ name: "count", holds: count && fragments ? undefined : count });
  return facts;
}

/** A description's facts beside the shapes they were read from, in the order in which it names them; undefined where there is none. */
export interface MatchedShapes {
  readonly facts: readonly Fact[];
  readonly shapes: readonly (ReadShape | undefined)[];
}

/** Finds the shapes that `description` names; of the ways to match shapes to names, the one with most facts true counts. */
export function matchShapes(description: Description, reading: Reading): MatchedShapes {
  const { shapes } = reading;
  const trueFacts = (facts: readonly Fact[]): number => facts.filter((fact) => fact.holds === true).length;
  let best: MatchedShapes | undefined;
  for (let i = 0; i < Math.max(1, shapes.length); i++) {
    for (let j = 0; j < Math.max(1, shapes.length); j++) {
      if (i === j && shapes.length > 1) continue;
      const [a, b] = [shapes[i], i === j ? undefined : shapes[j]];
      const facts = judgeWith(description, reading, a, b);
      if (best === undefined || trueFacts(facts) > trueFacts(best.facts)) {
        best = { facts, shapes: description.pair === undefined ? [a] : [a, b] };
      }
    }
  }
  return best ?? { facts: [], shapes: [] };
}

/** Judges `description` by a reading, its shapes matched as {@link matchShapes} does. */
export function judgeReading(description: Description, reading: Reading): Judgement {
  const { facts } = matchShapes(description, reading);
  if (facts.some((fact) => fact.holds === false)) return { verdict: "fails", facts };
  return { verdict: facts.every((fact) => fact.holds === true) ? "holds" : "unreadable", facts };
}

/** Reads `picture` and judges `description` by it. */
export function judge(description: Description, picture: ReadablePicture): Judgement {
  return judgeReading(description, readScene(picture));
}
