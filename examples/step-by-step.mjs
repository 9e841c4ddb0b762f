/**
 * @file Goes through a diffusion step by step: looks at the half-finished pictures, drops the worse half, forks the best.
 *
 *     node examples/step-by-step.mjs [folder]
 *
 * The saved sheet shows the previews, in which the choice was made, above the finished pictures.
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { contactSheet, EMBEDDED_MODELS, openDevice, openReward, openStableDiffusion } from "laurel";

const folder = process.argv[2] ?? (await mkdtemp(join(tmpdir(), "laurel-example-")));
const prompt = "a large yellow triangle below a small purple circle";

const device = openDevice();
const diffusion = await openStableDiffusion(EMBEDDED_MODELS.generator, device);
const reward = await openReward(device);

// ddim with eta 1 draws fresh noise at each step: forks of one state part from each other.
const request = { prompt, seed: 5, count: 8, steps: 16, sampler: "ddim", eta: 1 };
let { trajectory, states } = await diffusion.begin(request);
const half = trajectory.sampler.timesteps.length / 2;
while (states[0] !== undefined && states[0].stepIndex < half) states = await diffusion.step(trajectory, states);

// What the network believes the finished pictures will look like.
const previews = await diffusion.preview(trajectory, states);
const promise = await reward.score(prompt, previews);
const order = states.map((_, i) => i).sort((a, b) => (promise.scores[b] ?? 0) - (promise.scores[a] ?? 0));
const kept = order.slice(0, 4).flatMap((i) => states[i] ?? []);
console.log(`after ${half} steps, kept seeds ${kept.map(({ seed }) => seed).join(", ")}`);

// A state is immutable: it can be gone on from more than once.
const forks = kept.flatMap((state) => [state, diffusion.fork(state, state.seed + 1000)]);
let going = forks;
while (going[0] !== undefined && going[0].stepIndex < trajectory.sampler.timesteps.length) {
  going = await diffusion.step(trajectory, going);
}
const finished = await diffusion.decode(trajectory, going);
const { scores } = await reward.score(prompt, finished);
await device.close();

scores.forEach((score, i) =>
  console.log(`seed ${going[i]?.seed}${i % 2 === 1 ? " (fork)" : ""}: score ${score.toFixed(3)}`),
);
const [before, after] = [kept[0]?.evaluations ?? 0, going[0]?.evaluations ?? 0];
const spent = states.length * before + going.length * (after - before);
console.log(`best ${Math.max(...scores).toFixed(3)} for ${spent} evaluations of the denoiser`);

const labels = [
  ...promise.scores.map((score) => `preview  ${score.toFixed(2)}`),
  ...scores.map((score) => score.toFixed(2)),
];
await writeFile(join(folder, "steps.png"), await contactSheet([...previews, ...finished], { columns: 8, labels }));
console.log(`steps.png is in ${folder}`);
if (process.argv[2] === undefined) await rm(folder, { recursive: true });
