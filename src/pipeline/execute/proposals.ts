/** @file proposals.jsonl: what refiners proposed in a run, so that a run that goes on asks for nothing twice. */

import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { ProposalJournal, ProposalRecord } from "../../strategies/refine/llm.js";
import { redact } from "../../util/secret.js";
import { keepLines, readRecords } from "../recover.js";
import { PIPELINE_FILES } from "./manifest.js";

const whole = z.number().int().nonnegative();

/** One line: what was proposed for an item, in one round of one step. */
export const proposalLineSchema = z.strictObject({
  schemaVersion: z.literal(1),
  item: whole,
  step: whole,
  round: whole,
  proposals: z.array(z.strictObject({ prompt: z.string(), parent: z.string(), edit: z.string() })),
  warnings: z.array(z.string()),
  tokens: z.number().nonnegative(),
  /** In the currency of the chat configuration's price; 0 without one. */
  money: z.number().nonnegative(),
});

/** The proposals of a run. */
export class ProposalLines {
  readonly #file: FileHandle;
  /** Of items that are not finished, by item and step. */
  readonly #known: Map<string, ProposalRecord[]>;
  /** Ends when the last line is written: lines go one after the other. */
  #writing: Promise<void> = Promise.resolve();

  private constructor(file: FileHandle, known: Map<string, ProposalRecord[]>) {
    this.#file = file;
    this.#known = known;
  }

  /**
   * Opens the list in a run's folder, whose lock is held; lines that a kill tore are removed.
   * @param isFinished items whose proposals are not needed any more
   */
  static async open(directory: string, isFinished: (item: number) => boolean): Promise<ProposalLines> {
    const path = join(directory, PIPELINE_FILES.proposals);
    const known = new Map<string, ProposalRecord[]>();
    const kept = new Set<number>();
    for await (const { record, offset } of readRecords(path, proposalLineSchema)) {
      kept.add(offset);
      const { item, step, round, proposals, warnings, tokens, money } = record;
      if (isFinished(item)) continue;
      const one = { round, proposals, warnings, tokens, money };
      known.set(keyOf(item, step), [...(known.get(keyOf(item, step)) ?? []), one]);
    }
    await keepLines(path, kept);
    return new ProposalLines(await open(path, "a"), known);
  }

  /** The journal of one refinement. */
  of(item: number, step: number): ProposalJournal {
    const key = keyOf(item, step);
    const records = this.#known.get(key) ?? [];
    this.#known.delete(key);
    return {
      records,
      add: async (record) => {
        const line = { schemaVersion: 1, item, step, ...record };
        await this.#write(`${redact(JSON.stringify(line))}\n`);
        records.push(record);
      },
    };
  }

  /** Closes the file. */
  async close(): Promise<void> {
    await this.#writing;
    await this.#file.close();
  }

  #write(text: string): Promise<void> {
    const written = this.#writing.then(async () => {
      await this.#file.appendFile(text);
      // an answer may have cost money
      await this.#file.datasync();
    });
    this.#writing = written.catch(() => undefined);
    return written;
  }
}

function keyOf(item: number, step: number): string {
  return `${item}.${step}`;
}
