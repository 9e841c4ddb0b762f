/** @file A Python process that answers requests, one JSON line each way: the reference beside what is measured. */

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** Time for the threads of one side to stop waiting actively before the other side is measured. */
const PAUSE_MS = 300;

/**
 * Starts `interpreter test/reference/<script> ...args`.
 * @param pauseMs time before and after a request
 */
export async function openPeer(interpreter, script, args, { pauseMs = PAUSE_MS } = {}) {
  const path = fileURLToPath(new URL(`../test/reference/${script}`, import.meta.url));
  const child = spawn(interpreter, [path, ...args], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const failure = new Promise((_, reject) => child.on("error", reject));
  failure.catch(() => undefined); // reported by the request that meets it
  return {
    /** One request, one answer. */
    async ask(request) {
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      child.stdin.write(JSON.stringify(request) + "\n");
      const { value, done } = await Promise.race([lines.next(), failure]);
      if (done) throw new Error(`${script}: expected an answer, got the end of the process`);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      return JSON.parse(value);
    },
    close() {
      child.kill();
    },
  };
}
