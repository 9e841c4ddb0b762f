/** @file `npm run fuzz -- [--minutes n] [--seed s] [--coverage] [parser...]`: fuzzes for a while and prints what was tried. */

import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { fuzz } from "./engine.js";
import { makeTargets } from "./targets.js";

const FAILURES = "outputs/fuzz";
/** An input that takes longer is taken for one that never ends. */
const HANG_SECONDS = 30;

/** Runs the command; resolves to its exit code. */
export async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      minutes: { type: "string", default: "1" },
      seed: { type: "string", default: "1" },
      coverage: { type: "boolean", default: false },
    },
  });
  const [minutes, seed] = [Number(values.minutes), Number(values.seed)];
  const { targets, dispose } = makeTargets();
  const unknown = positionals.filter((name) => !targets.some((target) => target.name === name));
  if (unknown.length > 0 || !(minutes > 0) || !Number.isSafeInteger(seed)) {
    process.stderr.write(
      `fuzz: expected --minutes above 0, a whole --seed and parsers of\n  ${targets.map(({ name }) => name).join("\n  ")}\n`,
    );
    return 2;
  }
  const chosen = targets.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
  const state = new Int32Array(new SharedArrayBuffer(8));
  const watchdog = watch(
    state,
    chosen.map(({ name }) => name),
    seed,
  );
  let failures = 0;
  process.stdout.write(
    `| parser | inputs | answers | accepted | kept | slowest |\n| --- | ---: | ---: | ---: | ---: | ---: |\n`,
  );
  for (const [index, target] of chosen.entries()) {
    const until = performance.now() + (minutes * 60_000) / chosen.length;
    const onInput = (input: number): void => {
      state[0] = index;
      state[1] = input;
    };
    const result = await fuzz(target, { seed, inputs: 1, until, coverage: values.coverage, onInput });
    const { name, inputs, outcomes, accepted, corpus, slowestMs, failure } = result;
    process.stdout.write(
      `| ${name} | ${inputs} | ${outcomes} | ${accepted} | ${corpus} | ${Math.round(slowestMs)} ms |\n`,
    );
    if (failure === undefined) continue;
    failures++;
    mkdirSync(FAILURES, { recursive: true });
    const file = resolve(join(FAILURES, `${name.replaceAll(/[^\w.]+/g, "-")}-${seed}-${failure.index}.bin`));
    writeFileSync(file, failure.input);
    process.stderr.write(`${name}: input ${failure.index} of seed ${seed}, kept as ${file}: ${failure.reason}\n`);
  }
  await watchdog.terminate();
  dispose();
  return failures === 0 ? 0 : 1;
}

/** Ends the process, saying where it was, when one input takes too long: code that never returns cannot be stopped otherwise. */
function watch(state: Int32Array, names: readonly string[], seed: number): Worker {
  const code = `
    const { workerData: { state, names, seed, seconds } } = require("node:worker_threads");
    let last = "", still = 0;
    setInterval(() => {
      const now = state.join();
      still = now === last ? still + 1 : 0;
      last = now;
      if (still < seconds) return;
      require("node:fs").writeSync(2, names[state[0]] + ": input " + state[1] + " of seed " + seed + " takes more than " + seconds + " s\\n");
      process.kill(process.pid, "SIGKILL");
    }, 1000);`;
  return new Worker(code, { eval: true, workerData: { state, names, seed, seconds: HANG_SECONDS } });
}
