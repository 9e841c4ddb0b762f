/** @file The words that edits of prompts draw on: a YAML file, checked and with its patterns parsed. */

import { z } from "zod";
import { DocumentError, type Fault, type Located, placeAt } from "../../util/yaml/located.js";
import { readLocated } from "../../util/yaml/parse.js";
import { validateLocated } from "../../util/yaml/validate.js";
import { type Element, type Group, type Names, type Output, parseOutput, parsePattern } from "./patterns.js";
import { type Token, tokenize } from "./words.js";

const text = z.string().min(1).max(500);
const name = z.string().regex(/^[a-z][\w-]*$/iu, "expected a name of letters, digits, _ and -");
/** Each entry is a list of phrases that mean the same, the plain one first. */
const lists = z.record(name, z.array(z.array(text).min(1)).min(1));

/** The file. */
export const vocabularySchema = z.strictObject({
  version: z.literal(1),
  description: z.string().optional(),
  /** Words and phrases by kind; each may be replaced by the others of its entry. */
  words: lists.default({}),
  /** As `words`, but only for patterns: to replace one by another would change the meaning. */
  forms: lists.default({}),
  /** Patterns by name, for use in other patterns; each may use the names above it. */
  phrases: z.record(name, z.array(text).min(1)).default({}),
  /** Words that connect others. */
  glue: z.array(text).default([]),
  /** The lists above are all the words that matter: others may be left out. */
  closed: z.boolean().default(false),
  /** Phrases that say nothing about the picture. */
  fillers: z.array(text).default([]),
  /** Other ways to say something, told as patterns. */
  rewrites: z.array(z.strictObject({ from: text, to: text })).default([]),
  /** What may be added at the end, by kind. */
  modifiers: z.record(name, z.array(text).min(1)).default({}),
});

/** A rewrite, parsed. */
export interface Rewrite {
  readonly from: readonly Element[];
  readonly to: readonly Output[];
}

/** A vocabulary ready for use. */
export interface Vocabulary {
  readonly names: Names;
  /** Entries of `words`. */
  readonly synonyms: readonly Group[];
  /** All that the vocabulary knows: words, forms and glue. */
  readonly known: readonly Group[];
  readonly closed: boolean;
  readonly fillers: readonly Group[];
  readonly rewrites: readonly Rewrite[];
  readonly modifiers: readonly string[];
}

/** Reads a vocabulary. @throws UsageError when the file cannot be read; DocumentError with every fault and its place */
export async function readVocabulary(path: string): Promise<Vocabulary> {
  return parseVocabulary(await readLocated(path));
}

/** @throws DocumentError with every fault and its place */
export function parseVocabulary(located: Located): Vocabulary {
  const document = validateLocated(vocabularySchema, located);
  const faults: Fault[] = [];
  const attempt = <T>(path: readonly PropertyKey[], parse: () => T): T[] => {
    try {
      return [parse()];
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      faults.push({ place: placeAt(located, path), message: `${path.map(String).join(".")}: ${error.message}` });
      return [];
    }
  };
  const groupsOf = (section: "words" | "forms"): (readonly [string, readonly Group[]])[] =>
    Object.entries(document[section]).map(([kind, entries]) => [
      kind,
      entries.map((entry, i) => entry.flatMap((phrase) => attempt([section, kind, i], () => filled(tokenize(phrase))))),
    ]);
  const [words, forms] = [groupsOf("words"), groupsOf("forms")];
  for (const kind of Object.keys(document.forms)) {
    if (Object.hasOwn(document.words, kind)) {
      faults.push({
        place: placeAt(located, ["forms", kind], true),
        message: `forms.${kind}: words has this name already`,
      });
    }
  }
  const listNames = new Set([...words, ...forms].map(([kind]) => kind));
  const phrases = new Map<string, readonly (readonly Element[])[]>();
  for (const [kind, patterns] of Object.entries(document.phrases)) {
    const above = new Set(phrases.keys());
    const parsed = patterns.flatMap((pattern, i) =>
      attempt(["phrases", kind, i], () => parsePattern(pattern, listNames, above)),
    );
    phrases.set(kind, parsed);
  }
  const rewrites = document.rewrites.flatMap(({ from, to }, i) =>
    attempt(["rewrites", i, "from"], () => parsePattern(from, listNames, new Set(phrases.keys()))).flatMap((pattern) =>
      attempt(["rewrites", i, "to"], () => ({ from: pattern, to: parseOutput(to, pattern) })),
    ),
  );
  const single = (section: "glue" | "fillers"): Group[] =>
    document[section].flatMap((phrase, i) => attempt([section, i], () => [filled(tokenize(phrase))]));
  const [glue, fillers] = [single("glue"), single("fillers")];
  if (faults.length > 0) throw new DocumentError(faults);
  const synonyms = words.flatMap(([, groups]) => groups);
  return {
    names: { lists: new Map([...words, ...forms]), phrases },
    synonyms,
    known: [...synonyms, ...forms.flatMap(([, groups]) => groups), ...glue],
    closed: document.closed,
    fillers,
    rewrites,
    modifiers: Object.values(document.modifiers).flat(),
  };
}

function filled(tokens: readonly Token[]): readonly Token[] {
  if (tokens.length === 0) throw new RangeError("expected words, got none");
  return tokens;
}
