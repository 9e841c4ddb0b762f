/** @file What `laurel export images` takes. */

import { IMAGE_FORMATS } from "../../export/datasets/formats.js";
import { choice, decimal, declare, type FlagsOf, otherwise, whole } from "../declare.js";
import { DATASET_OPTIONS, RUNS_ARGUMENT } from "./export-dataset.options.js";

export const EXPORT_IMAGES = declare({
  summary: "write candidates that score well as a set to fine-tune on",
  arguments: [RUNS_ARGUMENT],
  options: {
    format: otherwise("imagefolder", choice("imagefolder, jsonl, webdataset", "name", IMAGE_FORMATS)),
    minScore: decimal("least score (default: any)", -1e6, 1e6, "score"),
    topK: whole("pictures of a prompt, the best first (default: all)", 1, 1_000_000),
    ...DATASET_OPTIONS,
  },
  examples: [
    "laurel export images outputs/20261122-183301-a-red-circle-9f3a --top-k 4 --out good",
    "laurel export images RUN OTHER --min-score 0.8 --format webdataset --out shards",
  ],
  notes: "Runs of any kind. The prompt of a picture is the one that it was scored against.",
});

/** Options of `laurel export images`. */
export type ExportImagesFlags = FlagsOf<typeof EXPORT_IMAGES.options>;
