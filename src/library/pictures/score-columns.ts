/** @file The columns of a table of scored pictures. */

import type { TableColumn } from "../../export/table.js";
import type { RewardRecords } from "../models.js";
import type { RankedPicture } from "./scored-pictures.js";

/** The columns: those of every table, then one for each member of an ensemble (`score.<name>`) and each held-out reward (`held_out.<name>`). */
export function scoreColumns({ reward, members = [], heldOut = [] }: RewardRecords): TableColumn<RankedPicture>[] {
  const text = (name: string, value: (row: RankedPicture) => string | null): TableColumn<RankedPicture> => ({
    name,
    type: "STRING",
    value,
  });
  const number = (
    name: string,
    type: "DOUBLE" | "INT64",
    value: (row: RankedPicture) => number | null,
  ): TableColumn<RankedPicture> => ({ name, type, value });
  return [
    text("path", (row) => row.path),
    text("prompt", (row) => row.prompt),
    text("prompt_from", (row) => row.promptFrom),
    text("reward", () => reward.name),
    number("score", "DOUBLE", (row) => row.score),
    number("rank", "INT64", (row) => row.rank),
    number("rank_of_all", "INT64", (row) => row.rankOfAll),
    number("width", "INT64", (row) => row.width),
    number("height", "INT64", (row) => row.height),
    number("bytes", "INT64", (row) => row.bytes),
    text("modified", (row) => timeText(row.modified)),
    text("sha256", (row) => row.digest),
    text("look", (row) => row.look),
    text("duplicate_of", (row) => row.duplicateOf),
    number("duplicate_distance", "INT64", (row) => row.duplicateDistance),
    text("problem", (row) => row.problem ?? null),
    text("error", (row) => row.error ?? null),
    ...members.map(({ name }) => number(`score.${name}`, "DOUBLE", (row) => row.scores?.[name] ?? null)),
    ...heldOut.map(({ name }) => number(`held_out.${name}`, "DOUBLE", (row) => row.heldOut?.[name] ?? null)),
  ];
}

/** A time as ISO 8601 has it; null for none, and for one that is beyond the calendar. */
function timeText(milliseconds: number | null): string | null {
  const time = new Date(milliseconds ?? Number.NaN);
  return Number.isNaN(time.getTime()) ? null : time.toISOString();
}
