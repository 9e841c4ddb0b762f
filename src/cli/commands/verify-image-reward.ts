/** @file `laurel verify image-reward`: the published scores of the published pictures, there and here. */

import { join } from "node:path";
import { EXIT, ModelError } from "../../errors.js";
import { missingPictures, type Verification, verifyScores } from "../../library/verify-image-reward.js";
import type { Reward } from "../../rewards/contract.js";
import { unlessAborted } from "../../util/abort.js";
import { modelLocation } from "../../weights/hub/location.js";
import type { Action, CommandContext } from "../context.js";
import { palette, printable, printJson, shownPath, table, warnTo } from "../output.js";
import { useSession } from "../use-session.js";
import type { VerifyImageRewardFlags } from "./verify-image-reward.entry.js";

/** The entry of the catalogue with the published weights. */
const NAME = "image-reward-v1.0";

export const verifyImageReward: Action<VerifyImageRewardFlags> = (context, _, flags) =>
  useSession(context, async (session) => {
    const { terminal, signal } = context;
    const missing = await missingPictures(flags.images);
    const opening = session.openReward(modelLocation(flags.rewardModel ?? NAME)).catch((error: unknown) => {
      if (error instanceof ModelError) return error;
      throw error;
    });
    const reward = await unlessAborted(opening, signal);
    if (reward instanceof ModelError || missing.length > 0) return tellMissing(context, flags, missing, reward);
    const verification = await verifyScores(reward, flags.images, { signal });
    verification.warnings.forEach(warnTo(terminal));
    if (flags.json === true) printJson(terminal, { schemaVersion: 1, reward: reward.model, ...verification });
    else terminal.stdout.write(verifiedTable(verification, context));
    if (flags.quiet !== true && flags.json !== true) terminal.stderr.write(conclusion(verification, reward));
    return verification.verified ? EXIT.ok : EXIT.gate;
  });

/** Says what to put where. Returns the exit code. */
function tellMissing(
  { terminal: { stderr } }: CommandContext,
  { images, rewardModel }: VerifyImageRewardFlags,
  pictures: readonly string[],
  reward: Reward | ModelError,
): number {
  if (reward instanceof ModelError) {
    stderr.write(`error: ${printable(reward.message)}
The published weights (1.8 GB) are fetched once with
  laurel models pull ${NAME}
or, where ImageReward.pt is there already, named with
  laurel verify image-reward --reward-model path/to/ImageReward.pt
with med_config.json and the vocab.txt of bert-base-uncased beside it.
`);
  }
  if (pictures.length > 0) {
    const names = pictures.map((name) => printable(join(images, name))).join(", ");
    const own = rewardModel === undefined ? "" : ` --reward-model ${printable(rewardModel)}`;
    stderr.write(`error: ${names}: expected the published pictures, got no such ${pictures.length === 1 ? "file" : "files"}
They come with
  git clone --depth 1 https://github.com/zai-org/ImageReward
and are looked for in ImageReward/assets/images below the working folder, or where
  laurel verify image-reward${own} --images path/to/ImageReward/assets/images
says.
`);
  }
  return EXIT.model;
}

function verifiedTable({ pictures }: Verification, { terminal: { stdout, environment } }: CommandContext): string {
  const style = palette(stdout, environment);
  const number = (value: number | null): string => (value === null ? "none" : value.toFixed(6));
  return table(
    [
      { title: "picture" },
      { title: "published", align: "right" },
      { title: "here", align: "right" },
      { title: "difference", align: "right" },
      { title: "" },
    ],
    pictures.map((one) => [
      shownPath(one.path),
      number(one.published),
      number(one.score),
      one.difference === null ? "" : one.difference.toExponential(1),
      printable(one.problem ?? "agrees"),
    ]),
    (text, row) => {
      if (row === "head") return style.dim(text);
      return pictures[row]?.problem === null ? style.green(text) : style.red(text);
    },
  );
}

function conclusion({ verified, pictures, tolerance }: Verification, { model }: Reward): string {
  const wrong = pictures.filter(({ problem }) => problem !== null).length;
  if (verified) return `${model.name} gives the published scores within ${tolerance}\n`;
  return `${model.name} does not give the published scores: ${wrong} of ${pictures.length} pictures are wrong\n`;
}
