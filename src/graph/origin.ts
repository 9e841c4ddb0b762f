/** @file Where in the model code a node is being built: the first stack frame outside the layers that build for others. */

import { fileURLToPath } from "node:url";

/** The folder that holds graph/, nn/ and the rest, with its trailing separator. */
const ROOT = fileURLToPath(new URL("..", import.meta.url));
const BUILDERS = ["graph", "nn", "autodiff"].map((folder) => new RegExp(`^${folder}[\\\\/]`));
const DEPTH = 24;

let override: string | undefined;
const places = new Map<string, string | null>();

/** Nodes made during `build` carry `origin`; a gradient node points to the node it differentiates. */
export function withOrigin<T>(origin: string, build: () => T): T {
  const outer = override;
  override = origin;
  try {
    return build();
  } finally {
    override = outer;
  }
}

/** The file as messages name it, or null for a frame that builds on behalf of others. */
function place(file: string): string | null {
  let result = places.get(file);
  if (result === undefined) {
    const path = file.startsWith("file:") ? fileURLToPath(file) : file;
    const relative = path.startsWith(ROOT) ? path.slice(ROOT.length) : path.split(/[\\/]/).slice(-2).join("/");
    const builds = path.startsWith(ROOT) && BUILDERS.some((folder) => folder.test(relative));
    result = builds || path.startsWith("node:") ? null : relative;
    places.set(file, result);
  }
  return result;
}

/** `file:line` of the model code that is running now. */
export function currentOrigin(): string {
  if (override !== undefined) return override;
  const { prepareStackTrace, stackTraceLimit } = Error;
  Error.stackTraceLimit = DEPTH;
  let found = "unknown";
  Error.prepareStackTrace = (_error, frames) => {
    for (const frame of frames) {
      const file = frame.getFileName();
      const name = file ? place(file) : null;
      if (name !== null) return (found = `${name}:${frame.getLineNumber() ?? 0}`);
    }
    return found;
  };
  const holder: { stack?: unknown } = {};
  Error.captureStackTrace(holder, currentOrigin);
  // Reading the property runs the function above.
  const origin = holder.stack;
  Error.prepareStackTrace = prepareStackTrace;
  Error.stackTraceLimit = stackTraceLimit;
  return typeof origin === "string" ? origin : found;
}
