/**
 * @file Writes training material of the demo world for the Python trainer, so that TypeScript stays the only renderer.
 *
 *   node test/reference/demo/dump.mjs --out DIR [--count N] [--seed S] [--group G] [--captions C] [--prompts train|held-out]
 *
 * DIR/images.u8     N pictures, 64x64x3 bytes each (with --group G: N groups of one scene and G-1 near misses)
 * DIR/meta.jsonl    a line per picture: { s: scene, c: [[canonical text, description]...], f: [[free text, description]...] }
 * With --prompts only DIR/prompts.jsonl is written: { text, description, free }.
 * Scene: [count, background, (shape, colour, size, x, y) x 2]; description: [size, colour, shape, relation, size, colour,
 * shape, background]; all as indices into the grammar's lists, -1 for absent.
 */
import { closeSync, mkdirSync, openSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

const dist = new URL("../../../dist/demo/", import.meta.url);
const { BACKGROUNDS, COLOURS, parseDescription, printDescription, RELATIONS, SHAPES, SIZES } = await import(
  new URL("grammar.js", dist)
);
const { describeForTraining, evaluationPrompts, sampleGroup, sampleTrainingScene } = await import(
  new URL("dataset.js", dist)
);
const { phrase, phrasingTexts } = await import(new URL("phrasings.js", dist));
const { createRandom } = await import(new URL("random.js", dist));
const { renderScene } = await import(new URL("render.js", dist));

const { values } = parseArgs({
  options: {
    out: { type: "string" },
    count: { type: "string", default: "1000" },
    seed: { type: "string", default: "1" },
    group: { type: "string", default: "0" },
    captions: { type: "string", default: "3" },
    prompts: { type: "string" },
    words: { type: "boolean", default: false },
  },
});
const { out, prompts, words } = values;
const [count, seed, group, captions] = [values.count, values.seed, values.group, values.captions].map(Number);
mkdirSync(out, { recursive: true });
const random = createRandom(seed);

const encodeScene = ({ background, shapes }) => {
  const numbers = [shapes.length, BACKGROUNDS.indexOf(background)];
  for (const i of [0, 1]) {
    const s = shapes[i];
    numbers.push(
      ...(s
        ? [SHAPES.indexOf(s.shape), COLOURS.indexOf(s.colour), SIZES.indexOf(s.size), s.x, s.y]
        : [-1, -1, -1, -1, -1]),
    );
  }
  return numbers;
};
const encodeShape = (s) =>
  s ? [SIZES.indexOf(s.size), COLOURS.indexOf(s.colour), SHAPES.indexOf(s.shape)] : [-1, -1, -1];
const encodeDescription = (d) => [
  ...encodeShape(d.first),
  d.pair ? RELATIONS.indexOf(d.pair.relation) : -1,
  ...encodeShape(d.pair?.second),
  BACKGROUNDS.indexOf(d.background),
];

function writer(name) {
  const path = join(out, name);
  const file = openSync(`${path}.tmp`, "w");
  return {
    write: (data) => writeSync(file, data),
    close: () => {
      closeSync(file);
      renameSync(`${path}.tmp`, path);
    },
  };
}

if (words) {
  const file = writer("words.txt");
  for (const text of phrasingTexts()) file.write(`${text}\n`);
  file.close();
} else if (prompts !== undefined) {
  const file = writer("prompts.jsonl");
  const texts =
    prompts === "held-out"
      ? evaluationPrompts(count)
      : Array.from({ length: count }, () =>
          printDescription(describeForTraining(random, sampleTrainingScene(random, random.chance(0.7) ? 2 : 1), 0.4)),
        );
  for (const text of texts) {
    const description = parseDescription(text);
    const free = phrase(random, description, prompts);
    file.write(`${JSON.stringify({ text, description: encodeDescription(description), free })}\n`);
  }
  file.close();
} else {
  const images = writer("images.u8");
  const meta = writer("meta.jsonl");
  for (let i = 0; i < count; i++) {
    for (const scene of group > 0 ? sampleGroup(random, group) : [sampleTrainingScene(random)]) {
      images.write(renderScene(scene, random).data);
      const canonical = [];
      const free = [];
      for (let k = 0; k < captions; k++) {
        const d = describeForTraining(random, scene, 0.4);
        // "a orange" is what the bare grammar says; both articles occur.
        const text = random.chance(0.2) ? printDescription(d).replaceAll("an orange", "a orange") : printDescription(d);
        canonical.push([text, encodeDescription(d)]);
        const e = describeForTraining(random, scene, 0.4);
        free.push([phrase(random, e, "train"), encodeDescription(e)]);
      }
      meta.write(`${JSON.stringify({ s: encodeScene(scene), c: canonical, f: free })}\n`);
    }
  }
  images.close();
  meta.close();
}
