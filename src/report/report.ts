/** @file Writes the pages of a run: report.html and grid.png. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { contactSheet } from "../image/contact-sheet.js";
import { decodeRgb } from "../image/decode.js";
import type { RgbImage } from "../image/types.js";
import { readInputs } from "../pipeline/inputs.js";
import type { InputRecord } from "../pipeline/manifest.js";
import { type RankedCandidate, rankedCandidates } from "../pipeline/ranked.js";
import { RUN_FILES, type RunSnapshot } from "../pipeline/run-store.js";
import { referenceScores } from "../pipeline/score-references.js";
import { readSearch } from "../pipeline/search-trace.js";
import { writeFileAtomic } from "../util/files.js";
import { format } from "./distribution.js";
import { embed, type EmbeddedImage } from "./embed.js";
import { type EmbeddedInputs, reportPage } from "./page.js";

/** Most pictures on the page, and on the contact sheet. */
const MOST_ON_PAGE = 200;
const MOST_ON_SHEET = 36;

/** Writes `grid.png` and `report.html` into the run's folder; returns their absolute paths. A run without candidates gets no grid. */
export async function writeReport(
  run: RunSnapshot,
): Promise<{ readonly report: string; readonly grid: string | undefined }> {
  const ranking = rankedCandidates(run);
  const report = join(run.directory, RUN_FILES.report);
  const grid = ranking.length === 0 ? undefined : join(run.directory, RUN_FILES.grid);
  if (grid !== undefined) await writeFileAtomic(grid, await sheet(run, ranking.filter(shownAmong(MOST_ON_SHEET))));
  const shown = ranking.filter(shownAmong(MOST_ON_PAGE));
  const embedded = await Promise.all(shown.map((line) => embed(join(run.directory, line.image), line, line.rank > 1)));
  const images = new Map(shown.map((line, position) => [line.index, embedded[position] as EmbeddedImage]));
  await writeFileAtomic(
    report,
    reportPage(
      run,
      images,
      await embedInputs(run),
      await referenceScores(run.manifest.models.reward),
      await readSearch(run.directory),
    ),
  );
  return { report, grid };
}

/** The best so many, and what is kept beside them. */
function shownAmong(most: number): (line: RankedCandidate) => boolean {
  return ({ rank, kept }) => rank <= most || kept;
}

async function sheet(run: RunSnapshot, ranking: readonly RankedCandidate[]): Promise<Uint8Array> {
  const images = await Promise.all(
    ranking.map(async (line) => decodeRgb(await readFile(join(run.directory, line.image)), line.image)),
  );
  const labels = ranking.map((line) => `${line.rank}  ${line.score === null ? "no score" : format(line.score)}`);
  const columns = Math.ceil(Math.sqrt(ranking.length));
  const highlighted = new Set(ranking.flatMap((line, position) => (line.kept ? position : [])));
  return contactSheet(images, { columns, labels, highlighted });
}

/** The pictures that the run started from. @throws UsageError when they are not those any more */
async function embedInputs({ directory, manifest: { inputs } }: RunSnapshot): Promise<EmbeddedInputs> {
  const { init, mask } = await readInputs(directory, inputs);
  const shown = async (image: RgbImage | undefined, record: InputRecord | null): Promise<EmbeddedImage | undefined> =>
    image === undefined || record === null ? undefined : embed(join(directory, record.path), image, true);
  return { init: await shown(init, inputs.init), mask: await shown(mask, inputs.mask) };
}
