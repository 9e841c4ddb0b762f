#!/usr/bin/env node
/** @file The executable: connects the command line to this process. */

import { listenForInterruption } from "./interrupt.js";

// A reader that goes away (`laurel … | head`) ends the output, not the work.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}

// First of all, so that Ctrl-C is heard while the rest is imported.
const interruption = listenForInterruption();
const { flushed } = await import("./output.js");
const { runProgram } = await import("./program.js");
const exitCode = await runProgram(process.argv.slice(2), {
  terminal: { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, environment: process.env },
  signal: interruption.signal,
  openSession: async (options) => (await import("./session.js")).openModelSession(options),
});
interruption.stop();
await Promise.all([flushed(process.stdout), flushed(process.stderr)]);
// Not left to the event loop: after a cancellation, a device may still be busy with work nobody waits for.
process.exit(interruption.exitCode() ?? exitCode);
