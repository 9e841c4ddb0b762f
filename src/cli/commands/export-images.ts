/** @file `laurel export images`: the candidates that score well, as a set to fine-tune on. */

import { exportImages as write } from "../../library/export-datasets.js";
import type { Action } from "../context.js";
import { exportDataset } from "./export-dataset.js";
import type { ExportImagesFlags } from "./export-images.entry.js";

export const exportImages: Action<ExportImagesFlags> = (context, names, flags) => {
  const { minScore, topK } = flags;
  return exportDataset(context, names, flags, "pictures", (runs, options) =>
    write(runs, { ...options, minScore, topK }),
  );
};
