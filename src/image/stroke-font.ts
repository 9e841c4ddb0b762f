/**
 * @file A small stroke font, so that labels on contact sheets look the same on every machine and need no installed fonts.
 *
 * Coordinates: y 0 is the top of a capital, 2 the top of an x, 7 the baseline, 9 the bottom of a g; x from 0 to the glyph's width.
 */

/** A stroke's points, `x, y` after each other; strokes are drawn with round ends. */
export type Polyline = readonly number[];

/** A character's strokes and its width without spacing. */
export interface Glyph {
  readonly width: number;
  readonly strokes: readonly Polyline[];
}

/** From the top of a capital to the baseline. */
export const CAP_HEIGHT = 7;

const BOWL_LEFT = "@1.8,2 3,2.6 3.5,4.5 3,6.4 1.8,7 .6,6.4 0,4.5 .6,2.6";
const BOWL_RIGHT = "@1.7,2 2.9,2.6 3.5,4.5 2.9,6.4 1.7,7 .5,6.4 0,4.5 .5,2.6";
const ARCH = "~0,3.8 .6,2.5 1.7,2 2.9,2.5 3.2,3.8|3.2,3.8 3.2,7";
const ROUND_CAPITAL = "@2.3,0 3.9,.9 4.6,3.5 3.9,6.1 2.3,7 .7,6.1 0,3.5 .7,.9";
const OPEN_CAPITAL = "~4.1,1.5 3.4,.4 2.2,0 .7,.9 0,3.5 .7,6.1 2.2,7 3.4,6.6 4.1,5.5";
const UPPER_LOOP = "2,0 0,0 0,7|~2,0 3.5,.5 3.9,1.9 3.5,3.3 2,3.8|0,3.8 2,3.8";

/** Strokes are separated by `|`; `~` makes a stroke smooth, `@` smooth and closed, a single point is a dot. */
const SHAPES: Readonly<Record<string, string>> = {
  "0": "@2,0 3.6,1.2 4,3.5 3.6,5.8 2,7 .4,5.8 0,3.5 .4,1.2",
  "1": ".4,1.5 2.2,0 2.2,7",
  "2": "~.2,1.8 .8,.4 2,0 3.3,.4 3.8,1.7 3.2,3.1 1.8,4.9 0,7|0,7 4,7",
  "3": "~.2,.9 1.1,.1 2.2,0 3.3,.5 3.6,1.7 3,2.8 1.7,3.2|~1.7,3.2 3.2,3.6 4,5 3.4,6.4 2,7 .8,6.7 0,5.8",
  "4": "3,7 3,0 0,4.9 4.1,4.9",
  "5": "3.7,0 .8,0 .4,3.1|~.4,3.1 1.2,2.6 2.3,2.5 3.6,3.2 4,4.8 3.4,6.3 2,7 .8,6.7 0,6",
  "6": "~3.5,.6 2.6,0 1.6,.3 .5,1.8 0,4.2 .4,6 1.2,6.8 2,7 3.3,6.5 4,4.9 3.4,3.3 2.1,2.8 .8,3.3 .1,4.6",
  "7": "0,0 4,0 1.4,7",
  "8": "@2,0 3.3,.5 3.7,1.7 3.1,2.9 2,3.3 .9,2.9 .3,1.7 .7,.5|@2,3.3 3.4,3.8 4,5.1 3.4,6.5 2,7 .6,6.5 0,5.1 .6,3.8",
  "9": "~.5,6.4 1.4,7 2.4,6.7 3.5,5.2 4,2.8 3.6,1 2.8,.2 2,0 .7,.5 0,2.1 .6,3.7 1.9,4.2 3.2,3.7 3.9,2.4",
  a: `${BOWL_LEFT}|3.5,2.1 3.5,7`,
  b: `0,0 0,7|${BOWL_RIGHT}`,
  c: "~3.3,2.9 2.6,2.2 1.8,2 .6,2.6 0,4.5 .6,6.4 1.8,7 2.6,6.8 3.3,6.1",
  d: `${BOWL_LEFT}|3.5,0 3.5,7`,
  e: "0,4.4 3.5,4.4|~3.5,4.4 3,2.7 1.8,2 .6,2.6 0,4.5 .6,6.4 1.8,7 2.7,6.8 3.3,6.2",
  f: "~2.6,.2 1.7,.1 1.1,.6 1,1.6|1,1.6 1,7|0,2.2 2.3,2.2",
  g: `${BOWL_LEFT}|3.5,2.1 3.5,7|~3.5,7 3,8.5 1.8,9 .5,8.5`,
  h: `0,0 0,7|${ARCH}`,
  i: ".4,2.1 .4,7|.4,.2",
  j: "1,2.1 1,7.6|~1,7.6 .7,8.7 -.3,8.9|1,.2",
  k: "0,0 0,7|3.1,2.1 0,5|1.2,3.9 3.3,7",
  l: ".4,0 .4,7",
  m: "0,2.1 0,7|~0,3.6 .5,2.4 1.4,2 2.3,2.4 2.6,3.6|2.6,3.6 2.6,7|~2.6,3.6 3.1,2.4 4,2 4.9,2.4 5.2,3.6|5.2,3.6 5.2,7",
  n: `0,2.1 0,7|${ARCH}`,
  o: "@1.8,2 3,2.6 3.6,4.5 3,6.4 1.8,7 .6,6.4 0,4.5 .6,2.6",
  p: `0,2.1 0,9|${BOWL_RIGHT}`,
  q: `${BOWL_LEFT}|3.5,2.1 3.5,9`,
  r: "0,2.1 0,7|~0,4 .5,2.6 1.4,2 2.2,2.1",
  s: "~2.9,2.8 2.2,2.1 1.4,2 .5,2.4 .2,3.2 .8,4.1 2.3,4.8 3,5.7 2.6,6.6 1.5,7 .6,6.8 0,6.1",
  t: "1,.6 1,5.6|~1,5.6 1.2,6.6 1.9,7 2.6,6.8|0,2.2 2.5,2.2",
  u: "0,2.1 0,5.2|~0,5.2 .3,6.5 1.5,7 2.6,6.5 3.2,5.2|3.2,2.1 3.2,7",
  v: "0,2.1 1.7,7 3.4,2.1",
  w: "0,2.1 1.3,7 2.6,2.5 3.9,7 5.2,2.1",
  x: "0,2.1 3.2,7|3.2,2.1 0,7",
  y: "0,2.1 1.7,7|3.4,2.1 1.7,7 .9,8.9",
  z: "0,2.1 3.1,2.1 0,7 3.2,7",
  A: "0,7 2.2,0 4.4,7|.8,4.7 3.6,4.7",
  B: "0,0 0,7|0,0 2,0|~2,0 3.4,.5 3.7,1.7 3.3,2.9 2,3.3|0,3.3 2,3.3|~2,3.3 3.6,3.8 4,5.1 3.6,6.5 2,7|0,7 2,7",
  C: OPEN_CAPITAL,
  D: "1.6,0 0,0 0,7 1.6,7|~1.6,0 3.4,.9 4.1,3.5 3.4,6.1 1.6,7",
  E: "3.5,0 0,0 0,7 3.6,7|0,3.4 3,3.4",
  F: "3.5,0 0,0 0,7|0,3.4 3,3.4",
  G: `${OPEN_CAPITAL}|2.5,3.9 4.2,3.9 4.2,5.6`,
  H: "0,0 0,7|4,0 4,7|0,3.4 4,3.4",
  I: ".4,0 .4,7",
  J: "2.8,0 2.8,5|~2.8,5 2.4,6.5 1.4,7 .4,6.5 0,5.3",
  K: "0,0 0,7|3.8,0 0,4.4|1.4,3 4,7",
  L: "0,0 0,7 3.4,7",
  M: "0,7 0,0 2.5,4.6 5,0 5,7",
  N: "0,7 0,0 4,7 4,0",
  O: ROUND_CAPITAL,
  P: UPPER_LOOP,
  Q: `${ROUND_CAPITAL}|2.8,5.2 4.6,7.4`,
  R: `${UPPER_LOOP}|2,3.8 4,7`,
  S: "~3.7,1.3 2.9,.3 1.8,0 .7,.5 .3,1.7 .9,2.9 2.9,3.9 3.9,5.2 3.3,6.5 2,7 .8,6.7 0,5.6",
  T: "0,0 4.2,0|2.1,0 2.1,7",
  U: "0,0 0,4.6|~0,4.6 .5,6.4 2,7 3.5,6.4 4,4.6|4,4.6 4,0",
  V: "0,0 2.1,7 4.2,0",
  W: "0,0 1.6,7 3.2,.8 4.8,7 6.4,0",
  X: "0,0 4.2,7|4.2,0 0,7",
  Y: "0,0 2.1,3.6 4.2,0|2.1,3.6 2.1,7",
  Z: "0,0 4,0 0,7 4.1,7",
  ".": ".4,6.9",
  ",": ".7,6.7 .2,8.3",
  ":": ".4,3|.4,6.9",
  "-": "0,4 2.6,4",
  "−": "0,3.8 3.6,3.8",
  "+": "0,3.8 3.8,3.8|1.9,1.9 1.9,5.7",
  "=": "0,3 3.6,3|0,4.8 3.6,4.8",
  "#": "1.5,.4 .9,6.6|3.5,.4 2.9,6.6|.1,2.3 4.2,2.3|0,4.7 4.1,4.7",
  "%": "@1,0 1.9,1.4 1,2.9 .1,1.4|@4.6,4.1 5.5,5.6 4.6,7 3.7,5.6|4.4,0 1.2,7",
  "/": "2.8,-.4 0,7.6",
  _: "0,7.6 3.8,7.6",
  "(": "~1.4,-.4 .3,1.5 0,3.6 .3,5.7 1.4,7.6",
  ")": "~0,-.4 1.1,1.5 1.4,3.6 1.1,5.7 0,7.6",
  "'": ".4,0 .4,1.6",
  "!": ".4,0 .4,4.8|.4,6.9",
  "?": "~0,1.6 .6,.4 1.8,0 3,.5 3.3,1.7 2.6,2.9 1.8,3.7 1.6,4.9|1.6,6.9",
  "·": ".4,3.8",
  "…": ".4,6.9|2.2,6.9|4,6.9",
};

const SPACE: Glyph = { width: 2.2, strokes: [] };
/** Stands for every character the font has not. */
const UNKNOWN = parseGlyph("0,1 3,1 3,7 0,7 0,1");
const cache = new Map<string, Glyph>();

/** The glyph of a character; a hollow box for what the font does not have. */
export function glyph(character: string): Glyph {
  if (/^\s$/u.test(character)) return SPACE;
  const known = cache.get(character);
  if (known !== undefined) return known;
  const shape = Object.hasOwn(SHAPES, character) ? SHAPES[character] : undefined;
  const parsed = shape === undefined ? UNKNOWN : parseGlyph(shape);
  cache.set(character, parsed);
  return parsed;
}

function parseGlyph(shape: string): Glyph {
  const strokes = shape.split("|").map((stroke) => {
    const points = stroke.replace(/^[~@]/, "").split(/[ ,]/).map(Number);
    if (stroke.startsWith("@")) return smooth(points, true);
    return stroke.startsWith("~") ? smooth(points, false) : points;
  });
  const width = Math.max(...strokes.flatMap((stroke) => stroke.filter((_, i) => i % 2 === 0)));
  return { width, strokes };
}

/** A Catmull-Rom curve through the points: p(t) = [1 t t^2 t^3] M [p0 p1 p2 p3] / 2. */
function smooth(points: Polyline, closed: boolean): Polyline {
  const count = points.length / 2;
  const at = (i: number, axis: 0 | 1) => {
    const index = closed ? (i + count) % count : Math.min(Math.max(i, 0), count - 1);
    return points[index * 2 + axis] as number;
  };
  const steps = 6;
  const curve: number[] = [at(0, 0), at(0, 1)];
  for (let i = 0; i < (closed ? count : count - 1); i++) {
    for (let step = 1; step <= steps; step++) {
      const t = step / steps;
      for (const axis of [0, 1] as const) {
        const [p0, p1, p2, p3] = [at(i - 1, axis), at(i, axis), at(i + 1, axis), at(i + 2, axis)];
        const square = 2 * p0 - 5 * p1 + 4 * p2 - p3;
        const cube = 3 * p1 - p0 - 3 * p2 + p3;
        curve.push(p1 + 0.5 * t * (p2 - p0 + t * (square + t * cube)));
      }
    }
  }
  return curve;
}
