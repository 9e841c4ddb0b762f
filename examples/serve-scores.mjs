/** @file A server that other programs ask for scores, asked by one of them over HTTP. */

/** @typedef {{ key: string, results: { rank: number, score: number, words: string }[], kept: number[] }} Ranking */

import { encodePng, openDevice, openRewards, serveScores } from "laurel";

/** A picture of one colour, as a PNG file. */
async function picture(/** @type {number} */ red, /** @type {number} */ green, /** @type {number} */ blue) {
  const data = new Uint8Array(64 * 64 * 3);
  for (let i = 0; i < data.length; i += 3) data.set([red, green, blue], i);
  return new Blob([await encodePng({ width: 64, height: 64, data })]);
}

// opened at the start, and again after its memory was given back
const server = await serveScores(
  async () => {
    const device = openDevice();
    return { reward: await openRewards(device, { rewards: [], heldOut: [] }), close: () => device.close() };
  },
  { port: 0 },
);

const form = new FormData();
form.append("prompt", "a red circle on a white background");
form.append("image", await picture(255, 255, 255), "white.png");
form.append("image", await picture(0, 0, 0), "black.png");
form.append("keep", "1");
const answer = await fetch(`${server.url}/v1/rank`, { method: "POST", body: form });
const { key, results, kept } = /** @type {Ranking} */ (await answer.json());
for (const { rank, score, words } of results) console.log(`${rank}. ${key}: ${score.toFixed(3)}, ${words}`);
console.log(`kept: ${kept.join(", ")}`);

const unloaded = await fetch(`${server.url}/v1/unload`, { method: "POST" });
console.log(`unload: ${await unloaded.text()}`.trim());
await server.close();
