/** @file What the commands that work on existing pictures take alike. */

import { PROMPT_ORIGINS } from "../../library/pictures/picture-score.js";
import { choice, decimal, file, textual, whole } from "../declare.js";

export const PICTURES_ARGUMENT = {
  name: "image",
  help: "files, folders (searched through) or quoted globs",
  what: "an image",
  variadic: true,
  completion: "file",
} as const;

export const PICTURES_OPTIONS = {
  prompt: textual("score all against this text; then every argument is an image", "text", "a prompt"),
  prompts: choice(
    "score each against its own prompt: any, metadata or sidecar (a .txt or .json beside it); then every argument is an image",
    "where",
    PROMPT_ORIGINS,
  ),
  index: file("file that remembers scores, or none (default: .laurel-scores.jsonl in the one folder that is named)"),
  min: decimal("only pictures that score at least this", -1e6, 1e6, "score"),
  max: decimal("only pictures that score at most this", -1e6, 1e6, "score"),
  topK: whole("only the best so many of each prompt", 1, 1_000_000),
  near: whole("bits of 64 in which near-duplicates may differ (default: 4)", 0, 7, "bits"),
};
