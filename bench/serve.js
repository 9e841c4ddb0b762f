/**
 * @file What asking a server for scores costs beside asking the library: time of a picture, and the memory that unloading gives back.
 *
 * npm run bench -- serve [--rounds 5] [--pictures 32] [--reward NAME]
 */

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { decodeImage, encodePng, openDevice, openRewards, parseRewards } from "../dist/index.js";
import { LAUREL, median, report } from "./measure.js";

export const options = {
  rounds: { type: "string", default: "5" },
  pictures: { type: "string", default: "32" },
  reward: { type: "string" },
};

const PROMPT = "a red circle above a blue square";
/** Callers at once. */
const CALLERS = 8;

/** A picture of 512 x 512 that no codec makes small. */
function picture(seed) {
  const data = new Uint8Array(512 * 512 * 3);
  for (let i = 0, state = seed + 1; i < data.length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    data[i] = (i % 255) ^ (state >>> 29);
  }
  return encodePng({ width: 512, height: 512, data });
}

export async function run(flags) {
  const rounds = Number(flags.rounds);
  const count = Number(flags.pictures);
  const files = await Promise.all(Array.from({ length: count }, (_, i) => picture(i)));
  const inside = await inLibrary(files, rounds, flags.reward);
  const args = [
    "serve",
    "--score",
    "--port",
    "0",
    "--json",
    "--quiet",
    ...(flags.reward ? ["--reward", flags.reward] : []),
  ];
  const server = spawn(process.execPath, [LAUREL, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  server.stdout.on("data", (part) => (text += part));
  while (!text.endsWith("}\n")) await once(server.stdout, "data");
  const { url, reward } = JSON.parse(text);
  const ask = async (path, images) => {
    const body = JSON.stringify({ prompt: PROMPT, images: images.map((one) => Buffer.from(one).toString("base64")) });
    const answer = await fetch(url + path, { method: "POST", headers: { "content-type": "application/json" }, body });
    return answer.json();
  };
  try {
    await ask("/v1/score", files.slice(0, 4));
    const one = await timed(rounds, count, async () => {
      for (const file of files) await ask("/v1/score", [file]);
    });
    const many = await timed(rounds, count, () => ask("/v1/score", files));
    const share = Math.ceil(count / CALLERS);
    const callers = await timed(rounds, count, () =>
      Promise.all(Array.from({ length: CALLERS }, (_, k) => ask("/v1/score", files.slice(k * share, (k + 1) * share)))),
    );
    const details = { reward: reward.name, libraryMs: inside, pictures: count, rounds };
    report("a picture of 512x512 scored over HTTP, one a request", one, "ms", null, {
      ...details,
      ratio: one / inside,
    });
    report("the same, all in a request", many, "ms", null, { ...details, ratio: many / inside });
    report("the same, eight callers at once", callers, "ms", null, { ...details, ratio: callers / inside });
    const loaded = memory(server.pid);
    await ask("/v1/unload", []);
    while (children(server.pid).length > 0) await new Promise((resolve) => setTimeout(resolve, 10));
    const unloaded = memory(server.pid);
    const started = performance.now();
    await ask("/v1/score", files.slice(0, 1));
    const again = performance.now() - started;
    report("memory of the server's processes after unloading", unloaded, "MB", null, {
      loaded,
      firstScoreAfterMs: again,
    });
  } finally {
    server.kill();
    await once(server, "close");
  }
}

/** Milliseconds a picture, decoded and scored in this process four at a time, as the server does. */
async function inLibrary(files, rounds, name) {
  const device = openDevice();
  const reward = await openRewards(device, { rewards: name ? parseRewards([name]) : [], heldOut: [] });
  const score = async () => {
    for (let start = 0; start < files.length; start += 4) {
      const images = await Promise.all(files.slice(start, start + 4).map((file) => decodeImage(file, "picture")));
      await reward.score(PROMPT, images);
    }
  };
  await score();
  const milliseconds = await timed(rounds, files.length, score);
  await device.close();
  return milliseconds;
}

/** The median of rounds, in milliseconds a picture. */
async function timed(rounds, pictures, work) {
  const times = [];
  for (let i = 0; i < rounds; i++) {
    const started = performance.now();
    await work();
    times.push((performance.now() - started) / pictures);
  }
  return median(times);
}

function children(pid) {
  const { stdout } = spawnSync("ps", ["-o", "pid=", "--ppid", String(pid)], { encoding: "utf8" });
  return stdout.trim().split(/\s+/).filter(Boolean).map(Number);
}

/** Resident megabytes of a process and its children. */
function memory(pid) {
  const resident = (one) => Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${one}/status`, "utf8"))?.[1]) / 1000;
  return [pid, ...children(pid)].reduce((sum, one) => sum + resident(one), 0);
}
