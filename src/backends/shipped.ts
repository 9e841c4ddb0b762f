/** @file The configurations of servers that ship inside: image backends and language models lie in one folder. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Where they lie. */
export const SHIPPED = fileURLToPath(new URL("../../configs/backends", import.meta.url));

/** Names of those that configure a `kind`. */
export function shippedConfigs(kind: "backend" | "chat"): string[] {
  if (!existsSync(SHIPPED)) return [];
  return readdirSync(SHIPPED)
    .filter((name) => name.endsWith(".yaml"))
    .filter((name) => new RegExp(`^${kind}:`, "m").test(readFileSync(join(SHIPPED, name), "utf8")))
    .map((name) => basename(name, ".yaml"));
}
