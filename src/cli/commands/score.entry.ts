/** @file What `laurel score` takes. */

import { choice, declare, type FlagsOf, textual, toggle } from "../declare.js";
import { OUTPUT_OPTIONS, REWARD_OPTION, SESSION_OPTIONS } from "../options.js";
import { PICTURES_ARGUMENT, PICTURES_OPTIONS } from "./pictures.options.js";

export const SCORE = declare({
  heading: "Pictures",
  summary: "score images against a prompt and rank them, or folders of any size against the images' own prompts",
  arguments: [
    {
      name: "prompt",
      help: "what the images should show; alone, it is an image or a folder whose images have prompts of their own",
      what: "a prompt",
      completion: "file",
    },
    { ...PICTURES_ARGUMENT, optional: true },
  ],
  options: {
    ...REWARD_OPTION,
    ...PICTURES_OPTIONS,
    out: textual("write a table: a file ending in .csv, .jsonl or .parquet", "file", "a file", "file"),
    force: toggle("replace a table that is there"),
    writeMetadata: toggle("write each score into its image's metadata; the pixels stay as they are"),
    duplicates: toggle("look for images that are the same, or nearly"),
    thresholds: toggle("print which thresholds keep how many of the images, too"),
    dtype: choice("int8 is about twice as fast, with slightly other scores; how they agree is printed first", "dtype", [
      "float32",
      "int8",
    ]),
    jsonl: toggle("print one JSON object a line and image, as soon as it is scored, without ranks"),
    ...SESSION_OPTIONS,
    ...OUTPUT_OPTIONS,
  },
  examples: [
    'laurel score "a red circle above a blue square" first.png second.jpg',
    'laurel score "a red circle above a blue square" outputs/20261122-183301-a-red-circle-9f3a/images',
    'laurel score "a lighthouse at dusk" "photos/**/*.webp" --reward-model ~/models/ImageReward.pt --json',
    'laurel score "a lighthouse at dusk" photos --thresholds',
    'laurel score "a lighthouse at dusk" photos --jsonl | jq "select(.score > 1) | .path"',
    "laurel score stable-diffusion-webui/outputs --out scores.csv --duplicates",
    "laurel score ComfyUI/output --top-k 4 --write-metadata",
    "laurel score photos more-photos --prompts sidecar --index scores.jsonl --out scores.parquet",
  ],
  notes: "An image that cannot be read, or has no prompt, is listed in its place, and the exit code is 4.",
});

/** Options of `laurel score`. */
export type ScoreFlags = FlagsOf<typeof SCORE.options>;
