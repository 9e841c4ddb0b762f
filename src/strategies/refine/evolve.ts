/** @file The embedded refiner: a population of edits drawn from a vocabulary, which learns from the scores which of them help. */

import { smallRandom } from "../../util/statistics.js";
import type { PromptRecord, Proposal, Refiner, RefineState } from "./contract.js";
import { EDIT_KINDS, type EditKind, editsOf, simplify } from "./edits.js";
import type { Vocabulary } from "./vocabulary.js";
import { MAXIMUM_WORDS, tokenize } from "./words.js";

/** Prompts that edits start from, beside the original. */
const PARENTS = 3;
/** What an edit is expected to gain before anything is known, in units of the spread between prompts. */
const PRIOR: Readonly<Record<EditKind, number>> = {
  order: 0.3,
  drop: 0.25,
  word: 0.25,
  add: 0.15,
  stress: 0.1,
  clause: 0,
  variant: -0.1,
};
/** Measurements that the prior counts for. */
const PRIOR_WEIGHT = 2;
/** Standard deviation of the noise that makes the choice vary, in the same units. */
const CURIOSITY = 0.1;
/** What a proposal loses for each one already chosen that does the same kinds of things. */
const CROWDING = 0.15;
const SEPARATOR = "; ";

/** A proposal, and what is expected of it. */
interface Prospect extends Proposal {
  readonly labels: readonly string[];
  readonly expected: number;
}

/** The refiner `evolve`. It keeps nothing: what it proposes follows from the state alone. */
export function createEvolve(vocabulary: Vocabulary): Refiner {
  return {
    name: "evolve",
    propose: (state, count) => Promise.resolve({ proposals: propose(state, count, vocabulary), ...warningsOf(state) }),
  };
}

function warningsOf({ original }: RefineState): { readonly warnings: readonly string[] } {
  const words = tokenize(original).length;
  if (words <= MAXIMUM_WORDS) return { warnings: [] };
  return { warnings: [`evolve: expected a prompt of at most ${MAXIMUM_WORDS} words, got ${words}; it is not edited`] };
}

function propose(state: RefineState, count: number, vocabulary: Vocabulary): Proposal[] {
  const { original, history, seed, round, promptSyntax } = state;
  const random = smallRandom(seed * 31 + round);
  const known = new Set([original, ...history.map(({ prompt }) => prompt)]);
  const learnt = learn(history);
  const parents = parentsOf(state);
  const prospects = new Map<string, Prospect>();
  const offer = (parent: PromptRecord | null, prompt: string, labels: readonly string[]): void => {
    if (labels.length === 0 || known.has(prompt)) return;
    const gain = labels.reduce((sum, label) => sum + learnt.gainOf(label), 0);
    const expected = (parent?.mean ?? learnt.center) + gain + CURIOSITY * learnt.spread * normal(random);
    const before = prospects.get(prompt);
    if (before !== undefined && before.expected >= expected) return;
    prospects.set(prompt, {
      prompt,
      parent: parent?.prompt ?? original,
      edit: labels.join(SEPARATOR),
      labels,
      expected,
    });
  };
  for (const parent of parents) {
    const text = parent?.prompt ?? original;
    const kinds: (readonly EditKind[])[] = [["drop", "word", "order"], ["drop", "word"], ["drop"], ["word"], ["order"]];
    for (const some of kinds) {
      const simple = simplify(text, vocabulary, promptSyntax, some);
      offer(parent, simple.prompt, simple.labels);
    }
    const edits = editsOf(text, vocabulary, promptSyntax);
    for (const { prompt, label } of edits) offer(parent, prompt, [label]);
    // two edits at once: what one of them allows, the other may need
    const promising = [...edits].sort((a, b) => learnt.gainOf(b.label) - learnt.gainOf(a.label)).slice(0, 4);
    for (const first of promising) {
      for (const second of editsOf(first.prompt, vocabulary, promptSyntax)) {
        if (random() < 0.25) offer(parent, second.prompt, [first.label, second.label]);
      }
    }
  }
  for (const [to, from] of pairs(parents)) {
    const crossed = cross(to.prompt, chainOf(from, history), vocabulary, state);
    offer(to, crossed.prompt, crossed.labels);
  }
  return choose([...prospects.values()], count, CROWDING * learnt.spread);
}

/** The best prospects one after the other; each makes those that do the same kinds of things less attractive. */
function choose(prospects: Prospect[], count: number, crowding: number): Proposal[] {
  const taken = new Map<string, number>();
  const chosen: Proposal[] = [];
  const kinds = ({ labels }: Prospect): string => [...new Set(labels.map(kindOf))].sort().join();
  const left = new Set(prospects);
  while (chosen.length < count && left.size > 0) {
    let best: Prospect | undefined;
    let value = -Infinity;
    for (const one of left) {
      const worth = one.expected - crowding * (taken.get(kinds(one)) ?? 0);
      if (worth > value) [best, value] = [one, worth];
    }
    if (best === undefined) break;
    left.delete(best);
    taken.set(kinds(best), (taken.get(kinds(best)) ?? 0) + 1);
    const { prompt, parent, edit } = best;
    chosen.push({ prompt, parent, edit });
  }
  return chosen;
}

/** The original (null while it has no score) and the best of the others. */
function parentsOf({ original, history }: RefineState): (PromptRecord | null)[] {
  const first = history.find(({ prompt }) => prompt === original) ?? null;
  const others = history
    .filter(({ prompt, mean, excluded }) => prompt !== original && mean !== null && excluded === null)
    .sort((a, b) => (b.mean ?? 0) - (a.mean ?? 0));
  return [first, ...others.slice(0, PARENTS)];
}

function pairs(parents: readonly (PromptRecord | null)[]): (readonly [PromptRecord, PromptRecord])[] {
  const edited = parents.flatMap((one) => (one === null || one.parent === null ? [] : [one]));
  return edited.flatMap((a) => edited.flatMap((b) => (a === b ? [] : [[a, b] as const])));
}

/** Crossover: the edits that led to one prompt, made to another where they still apply. */
function cross(
  prompt: string,
  labels: readonly string[],
  vocabulary: Vocabulary,
  { promptSyntax }: RefineState,
): { readonly prompt: string; readonly labels: readonly string[] } {
  let current = prompt;
  const made: string[] = [];
  for (const label of labels) {
    const edit = editsOf(current, vocabulary, promptSyntax).find((one) => one.label === label);
    if (edit === undefined) continue;
    current = edit.prompt;
    made.push(label);
  }
  return { prompt: current, labels: made };
}

/** Labels of the edits that led from the original to a prompt. */
function chainOf(record: PromptRecord, history: readonly PromptRecord[]): string[] {
  const labels: string[] = [];
  const seen = new Set<string>();
  let one: PromptRecord | undefined = record;
  while (one !== undefined && one.parent !== null && !seen.has(one.prompt)) {
    seen.add(one.prompt);
    labels.unshift(...labelsOf(one));
    const { parent }: PromptRecord = one;
    one = history.find(({ prompt }) => prompt === parent);
  }
  return labels;
}

/** What the scores say of edits. */
interface Learnt {
  /** Expected gain of the edit of this label. */
  gainOf(label: string): number;
  /** Standard deviation of the prompts' means; 1 while it cannot be told. */
  readonly spread: number;
  /** Mean of the prompts' means. */
  readonly center: number;
}

/** A gain measured for several edits together counts in equal parts for each; an edit leans on its kind, a kind on its prior. */
function learn(history: readonly PromptRecord[]): Learnt {
  const means = history.flatMap(({ mean }) => mean ?? []);
  const center = means.reduce((sum, mean) => sum + mean, 0) / Math.max(1, means.length);
  const variance = means.reduce((sum, mean) => sum + (mean - center) ** 2, 0) / Math.max(1, means.length - 1);
  const spread = variance > 0 ? Math.sqrt(variance) : 1;
  const sums = new Map<string, { sum: number; count: number }>();
  for (const record of history) {
    if (record.gain === null) continue;
    const labels = labelsOf(record);
    for (const label of labels) {
      for (const key of [label, kindOf(label)]) {
        const known = sums.get(key) ?? { sum: 0, count: 0 };
        sums.set(key, { sum: known.sum + record.gain.estimate / labels.length, count: known.count + 1 });
      }
    }
  }
  const shrunk = (key: string, prior: number): number => {
    const { sum, count } = sums.get(key) ?? { sum: 0, count: 0 };
    return (prior * PRIOR_WEIGHT + sum) / (PRIOR_WEIGHT + count);
  };
  return {
    spread,
    center,
    gainOf: (label) => shrunk(label, shrunk(kindOf(label), spread * PRIOR[kindOf(label)])),
  };
}

function labelsOf({ edit }: PromptRecord): string[] {
  return edit === null ? [] : edit.split(SEPARATOR);
}

function kindOf(label: string): EditKind {
  const kind = label.slice(0, label.indexOf(":"));
  return EDIT_KINDS.find((one) => one === kind) ?? "variant";
}

/** Normally distributed with mean 0 and standard deviation 1, by Box and Muller. */
function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
