/** @file The language of the demo world: what a scene can contain, and the canonical prompt that states it. */

import { UsageError } from "../errors.js";

/** Shapes, upright, each filling its square box. */
export const SHAPES = ["circle", "square", "triangle"] as const;
/** Colour names in the order of their hues. */
export const COLOURS = ["red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink"] as const;
/** Sizes: 16 and 24 pixels across. */
export const SIZES = ["small", "large"] as const;
/** Backgrounds, all without hue. */
export const BACKGROUNDS = ["white", "grey", "black"] as const;
/** Relations of the first named shape to the second. */
export const RELATIONS = ["left of", "right of", "above", "below"] as const;

export type Shape = (typeof SHAPES)[number];
export type Colour = (typeof COLOURS)[number];
export type Size = (typeof SIZES)[number];
export type Background = (typeof BACKGROUNDS)[number];
export type Relation = (typeof RELATIONS)[number];

/** What a prompt says of one shape; an absent size is free. */
export interface ShapeDescription {
  readonly size?: Size;
  readonly colour: Colour;
  readonly shape: Shape;
}

/** What a prompt says of a scene. One shape means exactly one; what is not said is free. */
export interface Description {
  readonly first: ShapeDescription;
  readonly pair?: { readonly relation: Relation; readonly second: ShapeDescription };
  readonly background?: Background;
}

/** The relation seen from the other shape: `a above b` is `b below a`. */
export const INVERSE: Readonly<Record<Relation, Relation>> = {
  "left of": "right of",
  "right of": "left of",
  above: "below",
  below: "above",
};

function printShape(description: ShapeDescription): string {
  const words = [description.size, description.colour, description.shape].filter((word) => word !== undefined);
  return `${words[0] === "orange" ? "an" : "a"} ${words.join(" ")}`;
}

/** The canonical prompt: `a [size] COLOUR SHAPE [RELATION a [size] COLOUR SHAPE] [on a BACKGROUND background]` ("an" before orange). */
export function printDescription(description: Description): string {
  const { first, pair, background } = description;
  let text = printShape(first);
  if (pair !== undefined) text += ` ${pair.relation} ${printShape(pair.second)}`;
  if (background !== undefined) text += ` on a ${background} background`;
  return text;
}

const alternatives = (words: readonly string[]): string => words.join("|");
const SHAPE_PATTERN = `an? (?:(${alternatives(SIZES)}) )?(${alternatives(COLOURS)}) (${alternatives(SHAPES)})`;
const PATTERN = new RegExp(
  `^${SHAPE_PATTERN}(?: (${alternatives(RELATIONS)}) ${SHAPE_PATTERN})?(?: on a (${alternatives(BACKGROUNDS)}) background)?$`,
);

/**
 * Reads a canonical prompt (any case, any spacing, "a" or "an").
 * @returns the description, or undefined when the text is not canonical.
 */
export function parseDescription(text: string): Description | undefined {
  const match = PATTERN.exec(text.trim().toLowerCase().replace(/\s+/g, " "));
  if (match === null) return undefined;
  const shapeAt = (group: number): ShapeDescription => {
    const size = match[group] as Size | undefined;
    return {
      ...(size === undefined ? {} : { size }),
      colour: match[group + 1] as Colour,
      shape: match[group + 2] as Shape,
    };
  };
  const relation = match[4] as Relation | undefined;
  const background = match[8] as Background | undefined;
  return {
    first: shapeAt(1),
    ...(relation === undefined ? {} : { pair: { relation, second: shapeAt(5) } }),
    ...(background === undefined ? {} : { background }),
  };
}

/** As {@link parseDescription}. @throws UsageError when the text is not canonical. */
export function requireDescription(text: string): Description {
  const description = parseDescription(text);
  if (description === undefined) {
    throw new UsageError(
      `demo prompt: expected "a [small|large] COLOUR SHAPE [RELATION a [small|large] COLOUR SHAPE] [on a BACKGROUND background]", got ${JSON.stringify(text)}`,
    );
  }
  return description;
}
