/** @file What the commands that write datasets out of runs take alike. */

import { otherwise, textual, toggle, whole } from "../declare.js";
import { OUTPUT_OPTIONS } from "../options.js";

export const RUNS_ARGUMENT = {
  name: "run",
  help: "folders of runs, or their names in --runs",
  what: "a run",
  variadic: true,
  completion: "directory",
} as const;

export const DATASET_OPTIONS = {
  out: textual("the file (parquet, jsonl) or folder to write", "path", "a file or folder", "file"),
  by: textual("reward whose scores count: its name, or how its digest begins", "reward", "a reward's name"),
  split: otherwise("train", textual("name of the part, for imagefolder and webdataset", "name", "a name")),
  shardSize: whole("size of a shard of webdataset, MB (default: 1000)", 1, 1_000_000, "mb"),
  force: toggle("replace a dataset that is there"),
  runs: otherwise("outputs", textual("folder that holds the runs", "dir", "a folder", "directory")),
  ...OUTPUT_OPTIONS,
};
