/** @file search.jsonl: what a search inside trajectories did, a line an event, written anew by each session. */

import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { UsageError } from "../errors.js";
import type { SearchEvent, SearchPlan, StrategyEvent } from "../strategies/contract.js";
import type { StoreOptions } from "./candidate-store.js";
import { readRecords } from "./recover.js";

/** Name of the file in a run's folder. */
export const SEARCH_FILE = "search.jsonl";

const count = z.number().int().nonnegative();

/** One line of search.jsonl. */
export const searchEventSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("look"), index: count, step: count, score: z.number().nullable() }),
  z.strictObject({ type: z.literal("pruned"), index: count, step: count, reason: z.string() }),
  z.strictObject({ type: z.literal("parted"), index: count, from: count, step: count }),
  z.strictObject({
    type: z.literal("plan"),
    steps: count,
    begun: count,
    cuts: z.array(z.strictObject({ step: count, keep: z.number() })),
    previews: z
      .strictObject({
        observed: count,
        fidelity: z.array(z.strictObject({ step: count, rankCorrelation: z.number(), regret: z.number() })),
      })
      .optional(),
  }),
]) satisfies z.ZodType<SearchEvent>;

/** Whether an event is of those that search.jsonl keeps. */
export function isSearchEvent(event: StrategyEvent): event is SearchEvent {
  const { type } = event;
  return type === "look" || type === "pruned" || type === "parted" || type === "plan";
}

/** What the search of the run in `directory` did, in its order; empty where there was none. Torn lines are left out. @throws UsageError when the file is no file */
export async function readSearch(directory: string): Promise<SearchEvent[]> {
  const events: SearchEvent[] = [];
  for await (const { record } of readRecords(join(directory, SEARCH_FILE), searchEventSchema)) events.push(record);
  return events;
}

/** How the search of the run in `directory` went on; undefined where there was none, or it had not come so far. */
export async function readPlan(directory: string): Promise<SearchPlan | undefined> {
  const found = (await readSearch(directory)).find((event) => event.type === "plan");
  if (found === undefined) return undefined;
  const { steps, begun, cuts, previews } = found;
  return { steps, begun, cuts, ...(previews === undefined ? {} : { previews }) };
}

/**
 * The file of a run that this process works on. A search that is taken up is made again from its first event, so the file is too; it is made when there is
 * something to write.
 */
export class SearchTrace {
  readonly #path: string;
  readonly #durable: boolean;
  #file: FileHandle | undefined;

  constructor(directory: string, { durable = false }: StoreOptions) {
    this.#path = join(directory, SEARCH_FILE);
    this.#durable = durable;
  }

  /** Removes what an earlier session wrote. @throws UsageError where something that is no file has its name */
  async begin(): Promise<void> {
    await this.close();
    await rm(this.#path, { force: true }).catch((error: NodeJS.ErrnoException) => {
      throw new UsageError(`${this.#path}: expected a file of the run, got ${error.code ?? String(error)}`, {
        cause: error,
      });
    });
  }

  /** Writes an event. */
  async append(event: SearchEvent): Promise<void> {
    this.#file ??= await open(this.#path, "a");
    await this.#file.appendFile(`${JSON.stringify(event)}\n`);
  }

  /** Closes the file; the second time, does nothing. */
  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    if (this.#durable) await file?.datasync();
    await file?.close();
  }
}
