/** @file `npm run bench [-- NAME...]`: runs the benchmarks, one JSON line per figure. */

const BENCHES = ["help", "generate", "training-step"];

const chosen = process.argv.slice(2).filter((argument) => !argument.startsWith("--"));
for (const name of chosen.length > 0 ? chosen : BENCHES) {
  if (!BENCHES.includes(name)) {
    process.stderr.write(`bench: expected one of ${BENCHES.join(", ")}, got ${name}\n`);
    process.exit(2);
  }
  const { run } = await import(`./${name}.js`);
  await run(process.argv.slice(2).filter((argument) => argument.startsWith("--")));
}
