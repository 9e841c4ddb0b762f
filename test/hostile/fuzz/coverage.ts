/** @file Which code of dist/ has been reached, asked of V8 through its inspector. */

import { Session } from "node:inspector/promises";

/** Precise block coverage: a block of one of Laurel's files that ran and never ran before is news. */
export class Coverage {
  readonly #session = new Session();
  #started = false;
  readonly #seen = new Set<string>();

  /** True when code of Laurel ran since the last question that never ran before. */
  async hasNew(): Promise<boolean> {
    if (!this.#started) {
      this.#session.connect();
      await this.#session.post("Profiler.enable");
      await this.#session.post("Profiler.startPreciseCoverage", { callCount: false, detailed: true });
      this.#started = true;
    }
    const { result } = await this.#session.post("Profiler.takePreciseCoverage");
    let isNew = false;
    for (const { url, functions } of result) {
      if (!url.includes("/dist/")) continue;
      for (const { ranges } of functions) {
        for (const { startOffset, endOffset, count } of ranges) {
          const range = `${url} ${startOffset} ${endOffset}`;
          if (count === 0 || this.#seen.has(range)) continue;
          this.#seen.add(range);
          isNew = true;
        }
      }
    }
    return isNew;
  }

  async stop(): Promise<void> {
    if (!this.#started) return;
    await this.#session.post("Profiler.stopPreciseCoverage");
    this.#session.disconnect();
  }
}
