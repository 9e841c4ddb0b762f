/** @file The options that the evaluations of rewards share. */

import { file, folder, several, textual } from "../declare.js";
import { SESSION_OPTIONS } from "../options.js";

/** What is evaluated, and where its scores are kept. */
export const EVALUATED_OPTIONS = {
  reward: several(textual("reward to evaluate, by name or path; may be given again", "name|path", "a reward", "file")),
  scores: several(file("file of scores to evaluate instead of a reward; may be given again")),
  keep: folder(
    "folder that keeps the scores, so that an interrupted evaluation goes on (default: in outputs/evaluations)",
  ),
  ...SESSION_OPTIONS,
};
