/** @file `laurel demo refine`: what refinement brings on the demo models, by the oracle. */

import { EXIT } from "../../errors.js";
import { measureRefinement, refinementFigures } from "../../library/demo-refinement.js";
import { vocabularyFile } from "../../library/refiners.js";
import { createEvolve } from "../../strategies/refine/evolve.js";
import { refineWith } from "../../strategies/refine/refine.js";
import { readVocabulary } from "../../strategies/refine/vocabulary.js";
import { unlessAborted } from "../../util/abort.js";
import type { Interval } from "../../util/statistics.js";
import type { Action } from "../context.js";
import { printJson, table } from "../output.js";
import { openProgress } from "../progress.js";
import { useSession } from "../use-session.js";
import type { DemoRefineFlags } from "./demo-refine.entry.js";

/** Prints a table, or with `--json` one object with every figure and its 95 % interval. */
export const demoRefine: Action<DemoRefineFlags> = async (context, _, flags) => {
  const { terminal, signal } = context;
  const { phrasings, budget, split = "held-out", vocabulary = "shapes", keep } = flags;
  const strategy = refineWith(createEvolve(await readVocabulary(vocabularyFile(vocabulary))));
  return useSession(context, async (session) => {
    const opening = Promise.all([session.openBackend(null), session.openReward(null)]);
    const [backend, reward] = await unlessAborted(opening, signal);
    const progress = await openProgress(terminal, { quiet: flags.quiet, unit: "phrasings" });
    const measured = await measureRefinement({
      models: { backend, reward },
      strategy,
      vocabulary,
      phrasings,
      budget,
      split,
      file: keep,
      signal,
      onProgress: (finished) => progress.update({ finished, total: phrasings }),
    }).finally(() => progress.stop());
    const figures = refinementFigures(measured);
    if (flags.json === true) {
      printJson(terminal, { schemaVersion: 1, split, vocabulary, ...figures, measured });
      return EXIT.ok;
    }
    const { chosen, single, score, replaced } = figures;
    const rows = [
      ["chosen picture, all stated facts hold, %", ...[chosen.bestOfN, chosen.refine, chosen.difference].map(percent)],
      [
        "unchosen picture, all stated facts hold, %",
        ...[single.bestOfN, single.refine, single.difference].map(percent),
      ],
      ["score of the chosen picture", ...[score.bestOfN, score.refine, score.difference].map(plain)],
      ["prompts replaced, %", "", percent(replaced), ""],
    ];
    const columns = [`best of ${budget}`, `refine with ${budget}`, "difference"];
    terminal.stdout.write(table([{ title: "figure (95 % interval)" }, ...columns.map((title) => ({ title }))], rows));
    return EXIT.ok;
  });
};

function percent({ estimate, low, high }: Interval): string {
  return [estimate, low, high].map((value) => (100 * value).toFixed(1)).reduce(interval);
}

function plain({ estimate, low, high }: Interval): string {
  return [estimate, low, high].map((value) => value.toFixed(3)).reduce(interval);
}

/** Joins an estimate with its bounds: `3 (1`, then `3 (1 to 5)`. */
function interval(text: string, bound: string, place: number): string {
  return place === 1 ? `${text} (${bound}` : `${text} to ${bound})`;
}
