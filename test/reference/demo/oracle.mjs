/**
 * @file Reads pictures with the oracle: 64x64x3 raw bytes each from a file, one line of JSON per picture on stdout.
 *
 *   node test/reference/demo/oracle.mjs IMAGES.u8 [PROMPTS.txt]
 *
 * Without prompts: { n, bg, shapes: [[shape, colour, size, left, top, right, bottom]...], problems } with -1 for unreadable.
 * With prompts (one canonical text per picture): { verdict, right, wrong, unread, facts } of the judgement.
 */
import { readFileSync } from "node:fs";

const dist = new URL("../../../dist/demo/", import.meta.url);
const { BACKGROUNDS, COLOURS, requireDescription, SHAPES, SIZES } = await import(new URL("grammar.js", dist));
const { judgeReading, readScene } = await import(new URL("oracle.js", dist));

const [imagesPath, promptsPath] = process.argv.slice(2);
const bytes = readFileSync(imagesPath);
const prompts = promptsPath === undefined ? undefined : readFileSync(promptsPath, "utf8").trimEnd().split("\n");
const size = 64 * 64 * 3;
const lines = [];
for (let i = 0; i * size < bytes.length; i++) {
  const reading = readScene({ width: 64, height: 64, data: bytes.subarray(i * size, (i + 1) * size) });
  if (prompts === undefined) {
    const shapes = reading.shapes.map((s) => [
      SHAPES.indexOf(s.shape),
      COLOURS.indexOf(s.colour),
      SIZES.indexOf(s.size),
      s.box.left,
      s.box.top,
      s.box.right,
      s.box.bottom,
    ]);
    lines.push(
      JSON.stringify({
        n: shapes.length,
        bg: BACKGROUNDS.indexOf(reading.background),
        shapes,
        problems: reading.problems,
      }),
    );
  } else {
    const { verdict, facts } = judgeReading(requireDescription(prompts[i]), reading);
    const count = (holds) => facts.filter((fact) => fact.holds === holds).length;
    lines.push(JSON.stringify({ verdict, right: count(true), wrong: count(false), unread: count(undefined), facts }));
  }
}
process.stdout.write(`${lines.join("\n")}\n`);
