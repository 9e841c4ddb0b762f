/** @file Which code of dist/ has been reached, asked of V8 through its inspector. */

import { Session } from "node:inspector/promises";

/** Precise block coverage, in the mode in which V8 reports each block once: an answer that names one of Laurel's files is news. */
export class Coverage {
  readonly #session = new Session();
  #started = false;

  /** True when code of Laurel ran since the last question that never ran before. */
  async hasNew(): Promise<boolean> {
    if (!this.#started) {
      this.#session.connect();
      await this.#session.post("Profiler.enable");
      await this.#session.post("Profiler.startPreciseCoverage", { callCount: false, detailed: true });
      this.#started = true;
    }
    const { result } = await this.#session.post("Profiler.takePreciseCoverage");
    return result.some(
      ({ url, functions }) =>
        url.includes("/dist/") && functions.some(({ ranges }) => ranges.some(({ count }) => count > 0)),
    );
  }

  async stop(): Promise<void> {
    if (!this.#started) return;
    await this.#session.post("Profiler.stopPreciseCoverage");
    this.#session.disconnect();
  }
}
