/** @file What `laurel sort` takes. */

import { SORT_MODES } from "../../library/pictures/sort-pictures.js";
import { SORT_FOLDERS } from "../../library/pictures/sorted-names.js";
import { choice, decimal, declare, type FlagsOf, folder, otherwise, toggle } from "../declare.js";
import { OUTPUT_OPTIONS, REWARD_OPTION, SESSION_OPTIONS } from "../options.js";
import { PICTURES_ARGUMENT, PICTURES_OPTIONS } from "./pictures.options.js";

export const SORT = declare({
  heading: "Pictures",
  summary: "put the images of folders that score well into another folder",
  arguments: [PICTURES_ARGUMENT],
  options: {
    to: folder("folder they go to"),
    mode: otherwise("copy", choice("copy, move, link (symbolic) or list", "what", SORT_MODES)),
    by: otherwise("prompt", choice("a folder for each prompt, one for each range of scores (score), or none", "what", SORT_FOLDERS)), // prettier-ignore
    bucket: decimal("width of a range of scores (default: a tenth of the reward's usual range)", 1e-6, 1e6, "score"),
    ...PICTURES_OPTIONS,
    unique: toggle("of near-duplicates only the best"),
    reject: otherwise("leave", choice("what becomes of scored images that are not chosen: leave, delete", "what", ["leave", "delete"])), // prettier-ignore
    yes: toggle("allow --reject delete", "y"),
    dryRun: toggle("say what would be done, and do nothing"),
    ...REWARD_OPTION,
    jsonl: toggle("print one JSON object a line and image"),
    ...SESSION_OPTIONS,
    ...OUTPUT_OPTIONS,
  },
  examples: [
    "laurel sort stable-diffusion-webui/outputs --to best --top-k 4",
    "laurel sort ComfyUI/output --to good --min 0.5 --by score --mode link",
    "laurel sort photos --prompts sidecar --to sorted --mode move --unique --dry-run",
    'laurel sort photos --prompt "a lighthouse at dusk" --top-k 10 --mode list --jsonl',
  ],
  notes:
    "Nothing is overwritten, and nothing is deleted but with --reject delete --yes. The same command again goes on where it was interrupted.",
});

/** Options of `laurel sort`. */
export type SortFlags = FlagsOf<typeof SORT.options>;
