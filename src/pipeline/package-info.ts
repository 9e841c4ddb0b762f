/** @file Where this package lies and what it is called: its version, and the checkpoints that ship inside it. */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = new URL("../../", import.meta.url);

/** Laurel's version, as in its package.json. */
export function packageVersion(): string {
  return packageJson().version;
}

/** The versions of Node that Laurel is made for: `>=20.19`. */
export function requiredNode(): string {
  return packageJson().engines.node;
}

/** The package's folder, absolute. */
export const PACKAGE_FOLDER = fileURLToPath(root);

function packageJson(): { readonly version: string; readonly engines: { readonly node: string } } {
  return JSON.parse(readFileSync(new URL("package.json", root), "utf8")) as ReturnType<typeof packageJson>;
}

/** Folders of the models that ship inside, absolute. They are found relative to the package, never to the working folder. */
export const EMBEDDED_MODELS = {
  /** Stable Diffusion of the demo world. */
  generator: fileURLToPath(new URL("models/demo/stable-diffusion", root)),
  /** ImageReward of the demo world. */
  reward: fileURLToPath(new URL("models/demo/image-reward", root)),
  /** CLIP dual encoder of the demo world, which serves as a held-out reward. */
  judge: fileURLToPath(new URL("models/demo/clip", root)),
} as const;

/** Digests of the models that ship inside, and what they gave where these were recorded. */
export const EMBEDDED_REFERENCE = fileURLToPath(new URL("models/demo/self-test.json", root));

/** How the rewards that ship inside score the pictures that the generator draws. */
export const EMBEDDED_SCORES = fileURLToPath(new URL("models/demo/reference-scores.json", root));
