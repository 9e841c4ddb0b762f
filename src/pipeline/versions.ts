/** @file The versions a result depends on. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { RunManifest } from "./manifest.js";
import { packageVersion } from "./package-info.js";

/** Versions of Laurel, Node and ONNX Runtime, and the platform. ONNX Runtime itself is not loaded for it. */
export function runtimeVersions(): RunManifest["versions"] {
  return {
    laurel: packageVersion(),
    node: process.versions.node,
    onnxruntime: installedVersion("onnxruntime-node"),
    platform: `${process.platform}-${process.arch}`,
  };
}

/** What a run's results may depend on and has changed since it was made, as warnings. Node itself computes nothing of an image. */
export function changedVersions(then: RunManifest["versions"]): string[] {
  const now = runtimeVersions();
  return (["laurel", "onnxruntime", "platform"] as const)
    .filter((name) => then[name] !== now[name])
    .map((name) => `${name} is ${now[name]} and was ${then[name]} when the run was made: images may differ`);
}

/** A package's version from its own package.json, which its `exports` may hide: looked up beside where it resolves to. */
function installedVersion(name: string): string {
  const folders = createRequire(import.meta.url).resolve.paths(name) ?? [];
  for (const folder of folders) {
    try {
      const text = readFileSync(join(folder, name, "package.json"), "utf8");
      return (JSON.parse(text) as { version: string }).version;
    } catch {
      continue;
    }
  }
  return "unknown";
}
