/** @file Good files to begin with. */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Absolute path of a fixture. */
export const fixture = (name: string): string => fileURLToPath(new URL(`../../fixtures/${name}`, import.meta.url));
/** Bytes of a fixture. */
export const read = (name: string): Buffer => readFileSync(fixture(name));
/** A value as JSON. */
export const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
