/** @file `--set key=value`, as several commands take it. */

import { UsageError } from "../errors.js";

/** `key=value` texts as a table. @throws UsageError for one without `=` */
export function changesOf(set: readonly string[] = []): Readonly<Record<string, string>> {
  return Object.fromEntries(
    set.map((text) => {
      const at = text.indexOf("=");
      if (at < 1) throw new UsageError(`--set: expected key=value, got ${JSON.stringify(text)}`);
      return [text.slice(0, at).trim(), text.slice(at + 1)] as const;
    }),
  );
}
