/** @file What `laurel score` takes. */

import { choice, declare, type FlagsOf, toggle } from "../declare.js";
import { OUTPUT_OPTIONS, REWARD_OPTION, SESSION_OPTIONS } from "../options.js";

export const SCORE = declare({
  heading: "Pictures",
  summary: "score images against a prompt and rank them",
  arguments: [
    { name: "prompt", help: "what the images should show", what: "a prompt", completion: "nothing" },
    {
      name: "image",
      help: "files, folders (searched through) or quoted globs",
      what: "an image",
      variadic: true,
      completion: "file",
    },
  ],
  options: {
    ...REWARD_OPTION,
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
  ],
  notes: "An image that cannot be read is listed in its place, and the exit code is 4.",
});

/** Options of `laurel score`. */
export type ScoreFlags = FlagsOf<typeof SCORE.options>;
