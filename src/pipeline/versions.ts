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
