/** @file `npm run bench [-- NAME...] [--FLAG...]`: runs the benchmarks, one JSON line per figure. Names come before flags. */

import { parseArgs } from "node:util";

/** In the order they run when none is named. */
const BENCHES = ["help", "images", "generate", "training-step", "image-reward"];
/** Run only when named: minutes and gigabytes. */
const LARGE = ["stable-diffusion", "kill", "pipeline", "finetune-memory", "refl-step", "refl-full-size"];

function refuse(problem) {
  process.stderr.write(`bench: ${problem}\n`);
  process.exit(2);
}

const given = process.argv.slice(2);
const firstFlag = given.findIndex((argument) => argument.startsWith("-"));
const names = firstFlag < 0 ? given : given.slice(0, firstFlag);
const unknown = names.filter((name) => ![...BENCHES, ...LARGE].includes(name));
if (unknown.length > 0) refuse(`expected some of ${[...BENCHES, ...LARGE].join(", ")}, got ${unknown.join(", ")}`);
const benches = await Promise.all((names.length > 0 ? names : BENCHES).map((name) => import(`./${name}.js`)));
let flags;
try {
  const options = Object.assign({}, ...benches.map((bench) => bench.options));
  flags = parseArgs({ args: given.slice(names.length), options }).values;
} catch (error) {
  refuse(error.message);
}
for (const { run, options = {} } of benches) {
  await run(Object.fromEntries(Object.keys(options).map((name) => [name, flags[name] ?? options[name].default])));
}
