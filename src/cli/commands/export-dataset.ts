/** @file Writing a dataset out of runs with a progress bar, and what is said of it afterwards. */

import { EXIT, UsageError } from "../../errors.js";
import type { ExportedDataset, ExportOptions } from "../../library/export-datasets.js";
import { findRun } from "../../library/run-folder.js";
import type { CommandContext } from "../context.js";
import type { FlagsOf } from "../declare.js";
import { byteCount, printJson, shownPath, warnTo } from "../output.js";
import { openProgress } from "../progress.js";
import type { DATASET_OPTIONS } from "./export-dataset.options.js";

type DatasetFlags<Format> = FlagsOf<typeof DATASET_OPTIONS> & { readonly format: Format };

/** Runs `act` with the options that the flags say; prints what was written, or with `--json` one object. @returns the exit code */
export async function exportDataset<Format extends string>(
  { terminal, signal }: CommandContext,
  names: readonly string[],
  flags: DatasetFlags<Format>,
  unit: string,
  act: (runs: readonly string[], options: ExportOptions<Format>) => Promise<ExportedDataset>,
): Promise<number> {
  const { out, format, by, split, shardSize, force, quiet } = flags;
  if (out === undefined) throw new UsageError("--out: expected the file or folder to write, got none");
  const runs: string[] = [];
  for (const name of names) runs.push(await findRun(flags.runs, name));
  const progress = await openProgress(terminal, { quiet, unit });
  let total = 0;
  let dataset: ExportedDataset;
  try {
    dataset = await act(runs, {
      format,
      out,
      by,
      split,
      shardBytes: shardSize === undefined ? undefined : shardSize * 1e6,
      force,
      signal,
      onSelected: (rows) => (total = rows),
      onRow: (finished) => progress.update({ finished, total }),
    });
  } finally {
    progress.stop();
  }
  dataset.warnings.forEach(warnTo(terminal));
  if (flags.json === true) printJson(terminal, { schemaVersion: 1, format, ...dataset });
  else terminal.stdout.write(`${shownPath(placeOf(dataset, format))}\n`);
  if (quiet !== true && flags.json !== true) {
    const { rows, prompts, candidates, reward, bytes } = dataset;
    terminal.stderr.write(
      `${rows} ${unit} of ${prompts} prompt${prompts === 1 ? "" : "s"}, out of ${candidates} candidates scored by ${reward.name}; ${byteCount(bytes)}\n`,
    );
  }
  return EXIT.ok;
}

/** The file that a reader is pointed to: of a folder of pictures the metadata, of shards the first. */
function placeOf({ files }: ExportedDataset, format: string): string {
  return (format === "imagefolder" ? files.at(-1) : files[0]) ?? "";
}
