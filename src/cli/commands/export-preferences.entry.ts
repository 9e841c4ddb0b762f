/** @file What `laurel export preferences` takes. */

import { PREFERENCE_FORMATS } from "../../export/datasets/formats.js";
import { choice, decimal, declare, type FlagsOf, otherwise, whole } from "../declare.js";
import { DATASET_OPTIONS, RUNS_ARGUMENT } from "./export-dataset.options.js";

export const EXPORT_PREFERENCES = declare({
  summary: "write pairs of candidates of the same prompt, the higher score preferred",
  arguments: [RUNS_ARGUMENT],
  options: {
    format: otherwise(
      "pickapic",
      choice("pickapic (parquet), imagefolder, jsonl, webdataset", "name", PREFERENCE_FORMATS),
    ),
    margin: decimal("least difference of the scores of a pair (default: any)", 0, 1e6, "score"),
    rankMargin: whole("least difference of the ranks within a prompt (default: 1)", 1, 1_000_000),
    maxPairsPerPrompt: whole("pairs of a prompt, the widest first (default: all)", 1, 1_000_000),
    ...DATASET_OPTIONS,
  },
  examples: [
    "laurel export preferences outputs/20261122-183301-a-red-circle-9f3a --out pairs.parquet",
    "laurel export preferences RUN OTHER --margin 0.5 --max-pairs-per-prompt 4 --out pairs.parquet",
    "laurel export preferences RUN --format imagefolder --out pairs --split validation",
  ],
  notes:
    "Runs of any kind; candidates of the same prompt are pairs across runs, too. Equal scores are never a pair. The parquet file has the columns of Pick-a-Pic.",
});

/** Options of `laurel export preferences`. */
export type ExportPreferencesFlags = FlagsOf<typeof EXPORT_PREFERENCES.options>;
