/** @file Free phrasings of a description: sentence templates, split into train and held-out ones, and synonyms. */

import type { Background, Colour, Description, Relation, Shape, ShapeDescription, Size } from "./grammar.js";
import { INVERSE } from "./grammar.js";
import type { Random } from "./random.js";

/** Which templates to draw from. Words are shared; only sentence templates are held out. */
export type PhrasingSplit = "train" | "held-out";

const SHAPE_WORDS: Readonly<Record<Shape, readonly string[]>> = {
  circle: ["circle", "circle", "disc", "round shape"],
  square: ["square", "square", "box", "block"],
  triangle: ["triangle", "triangle", "three-sided shape"],
};
const COLOUR_WORDS: Readonly<Record<Colour, readonly string[]>> = {
  red: ["red", "red", "scarlet"],
  orange: ["orange"],
  yellow: ["yellow", "yellow", "lemon yellow"],
  green: ["green", "green", "grass green"],
  cyan: ["cyan", "cyan", "turquoise"],
  blue: ["blue"],
  purple: ["purple", "purple", "violet"],
  pink: ["pink", "pink", "magenta"],
};
const SIZE_WORDS: Readonly<Record<Size, readonly string[]>> = {
  small: ["small", "little", "tiny"],
  large: ["large", "big", "huge"],
};
const BACKGROUND_WORDS: Readonly<Record<Background, readonly string[]>> = {
  white: ["white"],
  grey: ["grey", "gray"],
  black: ["black"],
};
const RELATION_WORDS: Readonly<Record<Relation, readonly string[]>> = {
  "left of": ["left of", "to the left of", "on the left side of"],
  "right of": ["right of", "to the right of", "on the right side of"],
  above: ["above", "over", "higher than"],
  below: ["below", "under", "beneath", "lower than"],
};
/** Where the other shape is, said from a shape already named: "... with B above it". */
const PLACE_WORDS: Readonly<Record<Relation, readonly string[]>> = {
  "left of": ["to the left of it", "on its left"],
  "right of": ["to the right of it", "on its right"],
  above: ["above it", "over it"],
  below: ["below it", "under it"],
};

/** A, B: the shapes with article; R: A's relation to B; P: where A is, seen from B. */
const PAIR_TEMPLATES: Readonly<Record<PhrasingSplit, readonly string[]>> = {
  train: [
    "A R B", "A that is R B", "A sits R B", "A placed R B", "there is A R B", "a picture of A R B",
    "please draw A R B", "B with A P", "B and A P", "there is B and A P", "I want A, and it should be R B",
    "show me B with A P", "an image where A is R B", "two shapes: A R B",
  ],
  "held-out": ["A can be seen R B", "draw B, then A P", "a drawing with A positioned R B", "we see B with A P"],
}; // prettier-ignore
const SINGLE_TEMPLATES: Readonly<Record<PhrasingSplit, readonly string[]>> = {
  train: [
    "A", "just A", "one shape: A", "a picture of A", "please draw A", "there is only A", "I want A", "show me A",
    "an image of A and nothing else", "A alone",
  ],
  "held-out": ["a drawing of A", "nothing but A", "we see A", "A by itself"],
}; // prettier-ignore
/** G: the background's word; S: the sentence without background. */
const BACKGROUND_TEMPLATES: Readonly<Record<PhrasingSplit, readonly string[]>> = {
  train: ["S on a G background", "S on G", "S against a G backdrop", "on a G background, S", "S, with G behind"],
  "held-out": ["S in front of a G background", "against G, S", "S on a G canvas"],
};

function shapePhrase(random: Random, { size, colour, shape }: ShapeDescription): string {
  const words = [
    ...(size === undefined ? [] : [random.pick(SIZE_WORDS[size])]),
    random.pick(COLOUR_WORDS[colour]),
    random.pick(SHAPE_WORDS[shape]),
  ].join(" ");
  return `${/^[aeiou]/.test(words) ? "an" : "a"} ${words}`;
}

/** Says `description` in one of many ways with the same meaning. */
export function phrase(random: Random, description: Description, split: PhrasingSplit): string {
  const { first, pair, background } = description;
  const a = shapePhrase(random, first);
  let sentence: string;
  if (pair === undefined) {
    sentence = random.pick(SINGLE_TEMPLATES[split]).replace(/\bA\b/, a);
  } else {
    const b = shapePhrase(random, pair.second);
    const words: Record<string, string> = {
      A: a,
      B: b,
      R: random.pick(RELATION_WORDS[pair.relation]),
      P: random.pick(PLACE_WORDS[pair.relation]),
    };
    sentence = random.pick(PAIR_TEMPLATES[split]).replace(/\b[ABRP]\b/g, (letter) => words[letter] ?? letter);
  }
  if (background === undefined) return sentence;
  const grey = random.pick(BACKGROUND_WORDS[background]);
  return random.pick(BACKGROUND_TEMPLATES[split]).replace(/\b[SG]\b/g, (letter) => (letter === "S" ? sentence : grey));
}

/** The same description with the other shape named first; a single shape is returned unchanged. */
export function turnDescription(description: Description): Description {
  const { first, pair, background } = description;
  if (pair === undefined) return description;
  return {
    first: pair.second,
    pair: { relation: INVERSE[pair.relation], second: first },
    ...(background === undefined ? {} : { background }),
  };
}

/** All words the phrasings can use, for building vocabularies. */
export function phrasingTexts(): string[] {
  return [
    ...[SHAPE_WORDS, COLOUR_WORDS, SIZE_WORDS, BACKGROUND_WORDS, RELATION_WORDS, PLACE_WORDS].flatMap((words) =>
      Object.values(words).flat(),
    ),
    ...[PAIR_TEMPLATES, SINGLE_TEMPLATES, BACKGROUND_TEMPLATES].flatMap((templates) => Object.values(templates).flat()),
  ];
}
