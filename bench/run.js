/**
 * @file `npm run bench [-- NAME... --FLAG...]`: runs the benchmarks, one JSON line per figure. With `--python INTERPRETER` and no name it runs those that measure
 * PyTorch beside Laurel.
 */

import { parseArgs } from "node:util";

/** In the order they run when none is named. */
const BENCHES = ["help", "images", "generate", "training-step", "image-reward"];
/** Run only when named: minutes and gigabytes. */
const LARGE = [
  "storage",
  "serve",
  "stable-diffusion",
  "low-memory",
  "kill",
  "pipeline",
  "finetune-memory",
  "refl-step",
  "refl-full-size",
  "workers-kill",
  "workers-scaling",
  "workers-memory",
  "pictures",
];
/** The rows of docs/performance.md. */
const BESIDE_PYTORCH = [
  "score",
  "score-int8",
  "denoiser",
  "decoder",
  "text-encoder",
  "first-step",
  "generating",
  "pixel-gradient",
];
const ALL = [...BENCHES, ...LARGE, ...BESIDE_PYTORCH];

function refuse(problem) {
  process.stderr.write(`bench: ${problem}\n`);
  process.exit(2);
}

const load = (name) => import(BESIDE_PYTORCH.includes(name) ? `./full-size/${name}.js` : `./${name}.js`);

/** Which names and flags the command line has; flags of any benchmark are understood. */
async function readCommandLine() {
  const options = Object.assign({}, ...(await Promise.all(ALL.map(load))).map((bench) => bench.options));
  const types = Object.fromEntries(Object.entries(options).map(([name, { type }]) => [name, { type }]));
  try {
    return parseArgs({ options: types, allowPositionals: true });
  } catch (error) {
    return refuse(error.message);
  }
}

const { values, positionals } = await readCommandLine();
const unknown = positionals.filter((name) => !ALL.includes(name));
if (unknown.length > 0) refuse(`expected some of ${ALL.join(", ")}, got ${unknown.join(", ")}`);
const byDefault = values.python === undefined ? BENCHES : BESIDE_PYTORCH;
const benches = await Promise.all((positionals.length > 0 ? positionals : byDefault).map(load));
const known = new Set(benches.flatMap(({ options = {} }) => Object.keys(options)));
const foreign = Object.keys(values).filter((name) => !known.has(name));
if (foreign.length > 0) refuse(`expected some of the flags ${[...known].join(", ")}, got ${foreign.join(", ")}`);

const flagsOf = ({ options = {} }) =>
  Object.fromEntries(Object.keys(options).map((name) => [name, values[name] ?? options[name].default]));
try {
  for (const bench of benches) await bench.run(flagsOf(bench));
} finally {
  // files that several share go when the last is done
  for (const bench of new Set(benches.map(({ finish }) => finish))) {
    await bench?.(flagsOf(benches.find(({ finish }) => finish === bench)));
  }
}
