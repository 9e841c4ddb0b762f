/** @file `laurel export preferences`: pairs of candidates for preference training. */

import { exportPreferences as write } from "../../library/export-datasets.js";
import type { Action } from "../context.js";
import { exportDataset } from "./export-dataset.js";
import type { ExportPreferencesFlags } from "./export-preferences.entry.js";

export const exportPreferences: Action<ExportPreferencesFlags> = (context, names, flags) => {
  const { margin, rankMargin, maxPairsPerPrompt } = flags;
  return exportDataset(context, names, flags, "pairs", (runs, options) =>
    write(runs, { ...options, margin, rankMargin, maxPairsPerPrompt }),
  );
};
