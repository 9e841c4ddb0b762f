/** @file Starts the fuzzer, which is TypeScript like the tests, without building it. What it fuzzes is dist/. */

import { register } from "node:module";

register("./typescript-hooks.mjs", import.meta.url);
const { main } = await import("./main.ts");
process.exitCode = await main(process.argv.slice(2));
