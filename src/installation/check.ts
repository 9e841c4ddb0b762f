/** @file What a check of the installation finds. */

import { EXIT, LaurelError } from "../errors.js";

/** One finding. */
export interface Check {
  /** Short and stable: `node`, `self-test`. */
  readonly name: string;
  /** `warn`: Laurel works, but something will be slower or missing. `fail`: something will not work. */
  readonly status: "ok" | "warn" | "fail";
  readonly detail: string;
  /** What to do about it. */
  readonly hint?: string;
  /** The same for programs. */
  readonly facts?: Readonly<Record<string, unknown>>;
  /** Exit code of a failure. @default 1 */
  readonly exitCode?: number;
}

/** The finding of a check that could not be done. */
export function failure(name: string, error: unknown, hint?: string): Check {
  const detail = error instanceof Error ? error.message : String(error);
  const exitCode = error instanceof LaurelError ? error.exitCode : EXIT.unexpected;
  return { name, status: "fail", detail, exitCode, ...(hint === undefined ? {} : { hint }) };
}
